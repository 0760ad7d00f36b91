//! Rows and keys as a target takes them: within its limits, and with keys once where it needs that.

use std::collections::HashSet;
use std::fmt::Write;

use crate::change::{CollectionName, Keys, Rows};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::milvus::RowsRequest;
use crate::pb::milvus::proto::schema::{CollectionSchema, FieldData, FieldSchema};
use crate::rows::{Key, without_nulls};

/// Keys in one delete request at most.
const MAX_KEYS: usize = 10_000;
/// Bytes in the expression of one delete request, at which it ends.
const MAX_EXPRESSION: usize = 1 << 20;

/// The request that inserts or upserts rows into a collection of this schema, which the target has shown. Columns that
/// the target computes stay out, and so do the entries of null rows. Rows that do not fit are an error for a person.
pub fn rows(
    name: &CollectionName,
    partition: Option<&str>,
    rows: Rows,
    schema: &CollectionSchema,
) -> Result<RowsRequest> {
    rows.check()?;
    let field_of = |column: &FieldData| schema.fields.iter().find(|field| field.name == column.field_name);
    let mut columns = Vec::with_capacity(rows.columns.len());
    for column in rows.columns {
        let is_dynamic = column.is_dynamic || column.field_name == "$meta";
        match field_of(&column) {
            Some(field) if field.is_function_output => continue,
            Some(field) if field.data_type != column.r#type => {
                return Err(misfit(&column.field_name, "another type"));
            }
            None if !(is_dynamic && schema.enable_dynamic_field) => {
                return Err(misfit(&column.field_name, "no field"));
            }
            _ => columns.push(without_nulls(FieldData { field_id: 0, is_dynamic, ..column })?),
        }
    }
    let may_miss =
        |field: &FieldSchema| field.is_function_output || field.nullable || field.default_value.is_some();
    let sent = |field: &FieldSchema| columns.iter().any(|column| column.field_name == field.name);
    if let Some(field) = schema.fields.iter().find(|field| !may_miss(field) && !sent(field)) {
        return Err(misfit(&field.name, "a field that the source does not have"));
    }
    Ok(RowsRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        partition_name: partition.unwrap_or_default().to_owned(),
        fields_data: columns,
        hash_keys: Vec::new(),
        num_rows: u32::try_from(rows.count).unwrap_or(u32::MAX),
    })
}

fn misfit(field: &str, what: &str) -> Error {
    Error::operator(format!("for {field} the target's collection has {what}"))
        .advice("the target's schema is not that of the source: compare both, or replay into an empty target")
}

/// Rows in parts of at most `limit` bytes; a single row above it stays a part of its own.
pub fn split(rows: Rows, limit: usize) -> Result<Vec<Rows>> {
    let mut whole = vec![rows];
    let mut parts = Vec::new();
    while let Some(rows) = whole.pop() {
        if rows.count <= 1 || rows.size() <= limit {
            parts.push(rows);
        } else {
            let half = rows.count / 2;
            whole.push(rows.slice(half..rows.count)?);
            whole.push(rows.slice(0..half)?);
        }
    }
    Ok(parts)
}

/// The rows in which a key stands for the first time, and the others. Within an Upsert a key stands once: the others
/// follow as Insert.
pub fn first_and_further(rows: &Rows, key_field: &str) -> Result<(Rows, Option<Rows>)> {
    let keys = rows.keys(key_field)?;
    let mut seen = HashSet::with_capacity(keys.len());
    let (first, further) =
        keys.iter().enumerate().fold((Vec::new(), Vec::new()), |mut numbers, (number, key)| {
            if seen.insert(key) {
                numbers.0.push(number)
            } else {
                numbers.1.push(number)
            }
            numbers
        });
    if further.is_empty() {
        return Ok((rows.clone(), None));
    }
    Ok((rows.take(&first)?, Some(rows.take(&further)?)))
}

/// The expressions that delete the rows of these keys: `id in [1,2]`, `id in ["a","b"]`. That form alone works on
/// a collection that is not loaded.
pub fn deletes(key_field: &str, keys: &Keys) -> Vec<String> {
    let mut all = Vec::new();
    let mut expression = String::new();
    let mut count = 0;
    for key in keys.iter() {
        if count == 0 {
            expression = format!("{key_field} in [");
        } else {
            expression.push(',');
        }
        match key {
            Key::Int(key) => write_int(&mut expression, key),
            Key::Text(key) => quote(&mut expression, &key),
        }
        count += 1;
        if count == MAX_KEYS || expression.len() >= MAX_EXPRESSION {
            expression.push(']');
            all.push(std::mem::take(&mut expression));
            count = 0;
        }
    }
    if count > 0 {
        expression.push(']');
        all.push(expression);
    }
    all
}

fn write_int(expression: &mut String, key: i64) {
    // writing to a String cannot fail
    let _ = write!(expression, "{key}");
}

/// A string literal of Milvus' expressions: in double quotes, unescaped there by Go's rules.
fn quote(expression: &mut String, text: &str) {
    expression.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => expression.extend(['\\', character]),
            '\n' => expression.push_str("\\n"),
            '\r' => expression.push_str("\\r"),
            control if control < ' ' || control == '\x7f' => {
                let _ = write!(expression, "\\x{:02x}", u32::from(control));
            }
            other => expression.push(other),
        }
    }
    expression.push('"');
}

#[cfg(test)]
mod tests {
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
            assert!(character != '"' && character != '\n' && character != '\r');
            match (character, if character == '\\' { characters.next() } else { None }) {
                ('\\', Some('n')) => text.push('\n'),
                ('\\', Some('r')) => text.push('\r'),
                ('\\', Some('x')) => {
                    let digits = characters.by_ref().take(2).collect::<String>();
                    text.push(char::from(u8::from_str_radix(&digits, 16).unwrap()));
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
            (all.sort(), wanted.sort());
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
        let ages =
            FieldData { valid_data: vec![true, false, true], field_id: 0, ..longs("age", vec![10, 30]) };
        assert_eq!(request.fields_data[1], ages);
    }
}
