use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::pb::milvus::proto::schema::vector_field::Data as Vector;
use crate::pb::milvus::proto::schema::*;

const DIM: usize = 16;

/// A cell of every type for each row: what a table with all types could hold.
#[derive(Clone, Debug)]
struct Row {
    flag: bool,
    number: i32,
    key: i64,
    bytes: [u8; 64],
    text: String,
    list: Vec<i64>,
    valid: bool,
}

fn row() -> impl Strategy<Value = Row> {
    (
        any::<bool>(),
        any::<i32>(),
        any::<i64>(),
        any::<[u8; 32]>(),
        ".{0,8}",
        vec(any::<i64>(), 0..4),
        any::<bool>(),
    )
        .prop_map(|(flag, number, key, half, text, list, valid)| {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&half);
            bytes[32..].copy_from_slice(&half);
            Row { flag, number, key, bytes, text, list, valid }
        })
}

fn scalars(name: &str, kind: DataType, data: Scalar) -> FieldData {
    let field = Some(Field::Scalars(ScalarField { data: Some(data) }));
    FieldData { r#type: kind.into(), field_name: name.to_owned(), field, ..Default::default() }
}

fn vectors(name: &str, kind: DataType, data: Vector) -> FieldData {
    let field = Some(Field::Vectors(VectorField { dim: DIM as i64, data: Some(data) }));
    FieldData { r#type: kind.into(), field_name: name.to_owned(), field, ..Default::default() }
}

/// The rows as columns of every type.
fn columns(rows: &[Row]) -> Rows {
    let texts = || rows.iter().map(|row| row.text.clone()).collect::<Vec<_>>();
    let blobs = || rows.iter().map(|row| row.text.clone().into()).collect::<Vec<_>>();
    let packed = |width| rows.iter().flat_map(|row| row.bytes[..width].to_vec()).collect::<Vec<_>>().into();
    let longs = |data: Vec<i64>| ScalarField { data: Some(Scalar::LongData(LongArray { data })) };
    let arrays = ArrayArray {
        data: rows.iter().map(|row| longs(row.list.clone())).collect(),
        element_type: DataType::Int64.into(),
    };
    let sparse = SparseFloatArray { contents: blobs(), dim: DIM as i64 };
    let mut nullable = scalars("null", DataType::VarChar, Scalar::StringData(StringArray { data: texts() }));
    nullable.valid_data = rows.iter().map(|row| row.valid).collect();
    let flags = rows.iter().map(|row| row.flag).collect();
    let numbers = rows.iter().map(|row| row.number).collect();
    let keys = rows.iter().map(|row| row.key).collect();
    let mut dynamic = scalars("$meta", DataType::Json, Scalar::JsonData(JsonArray { data: blobs() }));
    dynamic.is_dynamic = true;
    let columns = vec![
        scalars("id", DataType::Int64, Scalar::LongData(LongArray { data: keys })),
        scalars("name", DataType::VarChar, Scalar::StringData(StringArray { data: texts() })),
        scalars("flag", DataType::Bool, Scalar::BoolData(BoolArray { data: flags })),
        scalars("number", DataType::Int16, Scalar::IntData(IntArray { data: numbers })),
        scalars("float", DataType::Float, Scalar::FloatData(FloatArray { data: packed(4) })),
        scalars("double", DataType::Double, Scalar::DoubleData(DoubleArray { data: packed(8) })),
        scalars("bytes", DataType::None, Scalar::BytesData(BytesArray { data: blobs() })),
        scalars("array", DataType::Array, Scalar::ArrayData(arrays)),
        vectors("dense", DataType::FloatVector, Vector::FloatVector(FloatArray { data: packed(DIM * 4) })),
        vectors("binary", DataType::BinaryVector, Vector::BinaryVector(packed(DIM / 8))),
        vectors("half", DataType::Float16Vector, Vector::Float16Vector(packed(DIM * 2))),
        vectors("brain", DataType::BFloat16Vector, Vector::Bfloat16Vector(packed(DIM * 2))),
        vectors("sparse", DataType::SparseFloatVector, Vector::SparseFloatVector(sparse)),
        nullable,
        dynamic,
    ];
    Rows { columns, count: rows.len() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn appended_parts_come_back_by_number_and_by_range(parts in vec(vec(row(), 0..5), 1..4)) {
        let mut all = Rows::none();
        for part in &parts {
            all.append(columns(part)).unwrap();
        }
        prop_assert_eq!(&all, &columns(&parts.concat()));
        let mut start = 0;
        for part in &parts {
            let numbers = (start..start + part.len()).collect::<Vec<_>>();
            prop_assert_eq!(&all.take(&numbers).unwrap(), &columns(part));
            prop_assert_eq!(&all.slice(start..start + part.len()).unwrap(), &columns(part));
            start += part.len();
        }
    }

    #[test]
    fn rows_are_taken_in_the_order_asked_for(rows in vec(row(), 1..6)) {
        let numbers = (0..rows.len()).rev().chain([0]).collect::<Vec<_>>();
        let expected = numbers.iter().map(|number| rows[*number].clone()).collect::<Vec<_>>();
        prop_assert_eq!(columns(&rows).take(&numbers).unwrap(), columns(&expected));
        prop_assert!(columns(&rows).take(&[rows.len()]).is_err());
    }

    #[test]
    fn the_size_covers_what_a_message_carries(rows in vec(row(), 0..6)) {
        let rows = columns(&rows);
        let request = crate::pb::milvus::proto::milvus::RowsRequest {
            fields_data: rows.columns.clone(), ..Default::default()
        };
        prop_assert!(rows.size() >= request.encoded_len());
        prop_assert!(rows.size() <= request.encoded_len() + 6 * rows.columns.len());
    }

    #[test]
    fn keys_are_those_of_the_rows(rows in vec(row(), 0..6)) {
        let ints = rows.iter().map(|row| Key::Int(row.key)).collect::<Vec<_>>();
        let texts = rows.iter().map(|row| Key::Text(row.text.clone())).collect::<Vec<_>>();
        let rows = columns(&rows);
        prop_assert_eq!(rows.keys("id").unwrap().iter().collect::<Vec<_>>(), ints);
        prop_assert_eq!(rows.keys("name").unwrap().iter().collect::<Vec<_>>(), texts);
        prop_assert!(rows.keys("flag").is_err());
        prop_assert!(rows.keys("nowhere").is_err());
    }

    #[test]
    fn a_column_of_another_length_is_found(rows in vec(row(), 1..6), which in 0usize..15) {
        let mut broken = columns(&rows);
        prop_assert!(broken.check().is_ok());
        broken.columns[which] = columns(&rows[1..]).columns.remove(which);
        prop_assert!(broken.check().is_err());
        prop_assert!(broken.take(&[]).is_err());
        prop_assert!(broken.slice(0..0).is_err());
    }
}

proptest! {
    #[test]
    fn nulls_that_came_without_entries_get_one_and_lose_it_again(rows in vec(row(), 1..6)) {
        for mut column in columns(&rows).columns {
            column.valid_data = rows.iter().map(|row| row.valid).collect();
            let short = without_nulls(column.clone()).unwrap();
            let whole = with_nulls(short.clone()).unwrap();
            let spread = Rows { columns: vec![whole.clone()], count: rows.len() };
            prop_assert!(spread.check().is_ok());
            prop_assert_eq!(without_nulls(whole).unwrap(), short);
            prop_assert_eq!(with_nulls(column.clone()).unwrap(), column);
        }
    }
}

fn sample() -> Rows {
    columns(&[Row {
        flag: true,
        number: 1,
        key: 7,
        bytes: [1; 64],
        text: "a".into(),
        list: vec![1],
        valid: true,
    }])
}

#[test]
fn columns_are_matched_by_name_whatever_their_order() {
    let mut other = sample();
    other.columns.reverse();
    let mut rows = sample();
    rows.append(other).unwrap();
    assert_eq!(rows.take(&[1]).unwrap(), sample());
}

#[test]
fn columns_without_names_are_matched_by_field_id() {
    let nameless = || {
        let mut rows = sample();
        for (index, column) in rows.columns.iter_mut().enumerate() {
            column.field_name.clear();
            column.field_id = 100 + index as i64;
        }
        rows
    };
    let mut other = nameless();
    other.columns.reverse();
    let mut rows = nameless();
    rows.append(other).unwrap();
    assert_eq!(rows.take(&[1]).unwrap(), nameless());
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let mut missing = sample();
    missing.columns.pop();
    assert!(sample().append(missing).is_err());

    let mut renamed = sample();
    renamed.columns[3].field_name = "other".into();
    assert!(sample().append(renamed).unwrap_err().to_string().contains("other"));

    for which in 0..15 {
        let mut retyped = sample();
        let with = if which == 0 { 1 } else { 0 };
        let name = retyped.columns[which].field_name.clone();
        retyped.columns[which] = retyped.columns[with].clone();
        retyped.columns[which].field_name = name.clone();
        assert!(sample().append(retyped).unwrap_err().to_string().contains(&name));
    }

    let mut wider = sample();
    let Some(Field::Vectors(vector)) = &mut wider.columns[8].field else { panic!() };
    vector.dim *= 2;
    assert!(sample().append(wider).is_err());
}

#[test]
fn arrays_of_clients_that_say_their_type_and_of_others_go_together() {
    let typed = |kind: DataType| {
        let mut rows = sample();
        let Some(Field::Scalars(ScalarField { data: Some(Scalar::ArrayData(arrays)) })) =
            &mut rows.columns[7].field
        else {
            panic!()
        };
        arrays.element_type = kind.into();
        rows
    };
    for parts in [[DataType::None, DataType::Int64], [DataType::Int64, DataType::None]] {
        let [mut rows, other] = parts.map(typed);
        rows.append(other).unwrap();
        assert_eq!(rows.take(&[1]).unwrap(), typed(DataType::Int64));
    }
    assert!(typed(DataType::Int64).append(typed(DataType::Int32)).is_err());
}

#[test]
fn a_dimension_that_cannot_be_is_refused() {
    for dim in [0, -1, i64::MAX, 15] {
        let mut rows = sample();
        let Some(Field::Vectors(vector)) = &mut rows.columns[8].field else { panic!() };
        vector.dim = dim;
        assert!(rows.check().is_err(), "{dim}");
        assert!(rows.take(&[0]).is_err(), "{dim}");
    }
}

#[test]
fn a_part_that_does_not_speak_of_nulls_has_none() {
    let (mut plain, mut null) = (sample(), sample());
    plain.columns[13].valid_data.clear();
    null.columns[13].valid_data = vec![false];
    let mut rows = plain.clone();
    rows.append(null).unwrap();
    rows.append(plain).unwrap();
    assert_eq!(rows.columns[13].valid_data, [true, false, true]);
}

#[test]
fn keys_of_a_delete_come_from_either_list() {
    let ids = |id_field| Some(IDs { id_field: Some(id_field) });
    let ints = ids(IdField::IntId(LongArray { data: vec![1] }));
    assert_eq!(Keys::from_pb(ints, vec![2]), Keys::Int(vec![1]));
    let texts = ids(IdField::StrId(StringArray { data: vec!["x".into()] }));
    assert_eq!(Keys::from_pb(texts, vec![]), Keys::Text(vec!["x".into()]));
    assert_eq!(Keys::from_pb(None, vec![2]), Keys::Int(vec![2]));
}

#[test]
fn keys_of_two_types_do_not_mix() {
    let mut keys = Keys::Int(vec![]);
    keys.append(Keys::Text(vec!["x".into()])).unwrap();
    keys.append(Keys::Int(vec![])).unwrap();
    assert_eq!(keys, Keys::Text(vec!["x".into()]));
    assert!(keys.append(Keys::Int(vec![1])).is_err());
    assert_eq!(keys.take(&[0, 9]), Keys::Text(vec!["x".into()]));
}
