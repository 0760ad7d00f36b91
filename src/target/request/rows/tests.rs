use super::*;
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::{DataType, JsonArray, LongArray, ScalarField};
use proptest::collection::vec;
use proptest::prelude::*;

fn column(name: &str, data_type: DataType, data: Scalar) -> FieldData {
    let field = Some(Field::Scalars(ScalarField { data: Some(data) }));
    FieldData {
        r#type: data_type.into(),
        field_name: name.to_owned(),
        field,
        field_id: 101,
        ..Default::default()
    }
}

fn longs(name: &str, data: Vec<i64>) -> FieldData {
    column(name, DataType::Int64, Scalar::LongData(LongArray { data }))
}

fn keyed(keys: &[i64]) -> Rows {
    Rows { columns: vec![longs("id", keys.to_vec())], count: keys.len() }
}

fn field(name: &str) -> FieldSchema {
    FieldSchema { name: name.to_owned(), data_type: DataType::Int64.into(), ..Default::default() }
}

fn schema(fields: &[FieldSchema]) -> CollectionSchema {
    CollectionSchema { fields: fields.to_vec(), ..Default::default() }
}

fn request(sent: Rows, schema: &CollectionSchema) -> Result<RowsRequest> {
    rows(&CollectionName::new("db", "docs"), Some("p"), sent, schema)
}

/// What Go's `strconv.Unquote` makes of the escapes that are written here.
fn unquote(literal: &str) -> String {
    let mut text = String::new();
    let mut characters = literal.strip_prefix('"').unwrap().strip_suffix('"').unwrap().chars();
    while let Some(character) = characters.next() {
        assert!(character != '"' && !character.is_ascii_control() && character <= '\u{ffff}');
        match (character, if character == '\\' { characters.next() } else { None }) {
            ('\\', Some('x')) => {
                let digits = characters.by_ref().take(2).collect::<String>();
                text.push(char::from(u8::from_str_radix(&digits, 16).unwrap()));
            }
            ('\\', Some('U')) => {
                let digits = characters.by_ref().take(8).collect::<String>();
                text.push(char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap());
            }
            ('\\', Some(escaped)) => text.push(escaped),
            (plain, _) => text.push(plain),
        }
    }
    text
}

proptest! {
    #[test]
    fn a_quoted_text_is_read_as_it_was(text in any::<String>()) {
        let mut literal = String::new();
        quote(&mut literal, &text);
        prop_assert_eq!(unquote(&literal), text);
    }

    #[test]
    fn parts_are_within_the_limit_and_together_the_whole(keys in vec(any::<i64>(), 0..200), limit in 20usize..400) {
        let parts = split(keyed(&keys), limit).unwrap();
        let mut whole = Rows::none();
        for part in parts {
            prop_assert!(part.size() <= limit || part.count == 1);
            whole.append(part).unwrap();
        }
        prop_assert_eq!(whole, keyed(&keys));
    }

    #[test]
    fn every_key_is_once_among_the_first_rows_and_no_row_is_lost(keys in vec(0i64..5, 0..20)) {
        let (first, further) = first_and_further(&keyed(&keys), "id").unwrap();
        let list = |rows: &Rows| rows.keys("id").unwrap().iter().collect::<Vec<_>>();
        let distinct = list(&first).into_iter().collect::<HashSet<_>>();
        prop_assert_eq!(distinct.len(), first.count);
        let mut all = list(&first);
        all.extend(further.iter().flat_map(list));
        let mut wanted = list(&keyed(&keys));
        all.sort();
        wanted.sort();
        prop_assert_eq!(all, wanted);
    }

    #[test]
    fn every_key_is_deleted_once_in_short_requests(count in 0..(3 * MAX_KEYS as i64)) {
        let expressions = deletes("id", &Keys::Int((0..count).collect()));
        let keys = expressions.iter().flat_map(|expression| {
            let list = expression.strip_prefix("id in [").unwrap().strip_suffix(']').unwrap();
            assert!(list.split(',').count() <= MAX_KEYS);
            list.split(',').map(|key| key.parse::<i64>().unwrap())
        });
        prop_assert_eq!(keys.collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
    }
}

#[test]
fn long_keys_end_a_delete_early() {
    let keys = Keys::Text(vec!["x".repeat(60_000); 40]);
    let expressions = deletes("id", &keys);
    assert!(expressions.len() > 1);
    assert!(expressions.iter().all(|expression| expression.len() < MAX_EXPRESSION + 70_000));
}

#[test]
fn a_request_names_everything_by_name() {
    let request = request(keyed(&[1, 2]), &schema(&[field("id")])).unwrap();
    assert_eq!((request.db_name.as_str(), request.collection_name.as_str()), ("db", "docs"));
    assert_eq!((request.partition_name.as_str(), request.num_rows), ("p", 2));
    assert_eq!(request.fields_data[0].field_id, 0);
}

#[test]
fn rows_that_do_not_fit_name_the_field() {
    let text = FieldSchema { data_type: DataType::VarChar.into(), ..field("id") };
    for (fields, word) in [(vec![field("id"), field("age")], "age"), (vec![], "id"), (vec![text], "id")] {
        let error = request(keyed(&[1]), &schema(&fields)).unwrap_err();
        assert!(error.to_string().contains(word) && !error.is_retry(), "{error}");
    }
    let optional = FieldSchema { nullable: true, ..field("age") };
    assert!(request(keyed(&[1]), &schema(&[field("id"), optional])).is_ok());
}

#[test]
fn the_dynamic_column_is_marked_and_needs_a_dynamic_collection() {
    let mut sent = keyed(&[1]);
    sent.columns.push(column(
        "$meta",
        DataType::Json,
        Scalar::JsonData(JsonArray { data: vec!["{}".into()] }),
    ));
    assert!(request(sent.clone(), &schema(&[field("id")])).is_err());
    let dynamic = CollectionSchema { enable_dynamic_field: true, ..schema(&[field("id")]) };
    assert!(request(sent, &dynamic).unwrap().fields_data[1].is_dynamic);
}

#[test]
fn computed_columns_stay_out() {
    let mut sent = keyed(&[1]);
    sent.columns.push(longs("sum", vec![3]));
    let computed = FieldSchema { is_function_output: true, ..field("sum") };
    let request = request(sent, &schema(&[field("id"), computed])).unwrap();
    assert_eq!(request.fields_data.len(), 1);
}

#[test]
fn null_rows_have_no_entry_in_a_request() {
    let mut sent = keyed(&[1, 2, 3]);
    sent.columns.push(FieldData { valid_data: vec![true, false, true], ..longs("age", vec![10, 0, 30]) });
    let nullable = FieldSchema { nullable: true, ..field("age") };
    let request = request(sent, &schema(&[field("id"), nullable])).unwrap();
    let ages = FieldData { valid_data: vec![true, false, true], field_id: 0, ..longs("age", vec![10, 30]) };
    assert_eq!(request.fields_data[1], ages);
}

#[test]
fn the_smallest_key_is_deleted_by_an_expression_that_milvus_reads() {
    let expressions = deletes("id", &Keys::Int(vec![7, i64::MIN, i64::MIN + 1]));
    assert_eq!(expressions, ["id in [7,-9223372036854775807 - 1,-9223372036854775807]"]);
}
