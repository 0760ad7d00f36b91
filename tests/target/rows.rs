//! Changes of rows.

use std::collections::BTreeMap;

use tapedeck::change::{DefinitionChange as Change, Keys, Rows};
use tapedeck::error::Verdict;
use tapedeck::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use tapedeck::pb::milvus::proto::schema::vector_field::Data as Vector;
use tapedeck::pb::milvus::proto::schema::*;
use tapedeck::target::{Mode, Target};

use crate::stand::*;

#[tokio::test]
async fn plain_inserts_double_and_safe_ones_do_not() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    stand.people(&name).await;
    let rows = || insert(None, people_rows(&[(1, 10), (2, 20), (2, 21), (3, 30)]));
    stand.write(&name, rows(), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 4);
    for _ in 0..2 {
        stand.write(&name, rows(), Mode::Safe).await;
        assert_eq!(stand.count(&name).await, 4, "a key that stands twice keeps both rows");
    }
    stand.write(&name, rows(), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 8);
    stand.write(&name, upsert(None, people_rows(&[(1, 11), (2, 22), (4, 40), (4, 41)])), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 2 + 1 + 1 + 2);
    stand.write(&name, delete(None, Keys::Int(vec![2, 3, 4, 5])), Mode::Plain).await;
    assert_eq!(stand.ages(&name).await, BTreeMap::from([(1, 11)]));
    stand.write(&name, insert(None, people_rows(&[])), Mode::Plain).await;
    stand.write(&name, delete(None, Keys::Int(vec![])), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 1);
}

/// An Upsert of Milvus 2.3 would put them into partitions that are not those of their partition key.
#[tokio::test]
async fn rows_that_replace_others_are_found_by_their_partition_key() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("by_age");
    let mut new = people(&name);
    let age = new.schema.fields.iter_mut().find(|field| field.name == "age").unwrap();
    age.is_partition_key = true;
    new.partitions = (0..7).map(|number| format!("_default_{number}")).collect();
    stand.define(Change::CreateCollection(new)).await;
    stand.define(index(&name, "vector")).await;
    stand.define(load(&name, None)).await;
    let rows = (0..40).map(|id| (id, id % 4)).collect::<Vec<_>>();
    for (change, mode) in [
        (insert(None, people_rows(&rows)), Mode::Safe),
        (insert(None, people_rows(&rows)), Mode::Safe),
        (upsert(None, people_rows(&rows)), Mode::Plain),
        (upsert(None, people_rows(&rows)), Mode::Safe),
    ] {
        stand.write(&name, change, mode).await;
        for age in 0..4 {
            assert_eq!(stand.count_of(&name, &format!("age == {age}")).await, 10, "of age {age}");
        }
    }
}

#[tokio::test]
async fn a_partition_that_is_named_is_the_only_one_touched() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    stand.people(&name).await;
    let rows = || people_rows(&[(1, 10), (2, 20)]);
    stand.write(&name, insert(None, rows()), Mode::Plain).await;
    stand.write(&name, insert(Some("p"), rows()), Mode::Plain).await;
    stand.write(&name, upsert(Some("p"), rows()), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 4);
    stand.write(&name, delete(Some("p"), Keys::Int(vec![1])), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 3);
    stand.write(&name, delete(None, Keys::Int(vec![1, 2])), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 0);
}

#[tokio::test]
async fn drift_on_a_write_is_for_a_person() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    let write = async |change| stand.target.write(&name, &change, Mode::Plain).await.unwrap_err();
    for change in [insert(None, people_rows(&[(1, 1)])), delete(None, Keys::Int(vec![1]))] {
        let error = write(change).await;
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.advice.is_some() && error.to_string().contains(&name.collection), "{error}");
    }
    stand.define(Change::CreateCollection(people(&name))).await;
    let mut narrow = people_rows(&[(1, 1)]);
    narrow.columns.remove(1);
    for change in [insert(Some("nowhere"), people_rows(&[(1, 1)])), insert(None, narrow)] {
        let error = write(change).await;
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.advice.is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_partition_key_spreads_the_rows_itself() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("tenants");
    let tenant = FieldSchema { is_partition_key: true, ..field(101, "tenant", DataType::Int64, &[]) };
    let vector = field(102, "vector", DataType::FloatVector, &[("dim", "4")]);
    let mut new = collection(&name, vec![key(field(100, "id", DataType::Int64, &[])), tenant, vector]);
    new.partitions = (0..7).map(|number| format!("_default_{number}")).collect();
    stand.define(Change::CreateCollection(new.clone())).await;
    assert_eq!(stand.describe(&name).await.num_partitions, 7);
    stand.define(index(&name, "vector")).await;
    stand.define(load(&name, None)).await;
    let rows = |tenant: i64| Rows {
        columns: vec![
            longs("id", (0..50).collect()),
            longs("tenant", (0..50).map(|number| number * tenant).collect()),
            vectors("vector", 4, 50),
        ],
        count: 50,
    };
    stand.write(&name, insert(None, rows(1)), Mode::Plain).await;
    stand.write(&name, insert(None, rows(3)), Mode::Safe).await;
    assert_eq!(stand.count(&name).await, 50);
    stand.write(&name, delete(None, Keys::Int((0..49).collect())), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 1);
    new.partitions.pop();
    let error = stand.target.define(&Change::CreateCollection(new)).await.unwrap_err();
    assert!(error.to_string().contains("partitions by key: source 6, target 7"), "{error}");
}

#[tokio::test]
async fn text_keys_are_deleted_whatever_stands_in_them() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("texts");
    let id = key(field(100, "id", DataType::VarChar, &[("max_length", "200")]));
    let vector = field(101, "vector", DataType::FloatVector, &[("dim", "4")]);
    stand.define(Change::CreateCollection(collection(&name, vec![id, vector]))).await;
    stand.define(index(&name, "vector")).await;
    stand.define(load(&name, None)).await;
    let controls = (1u8..32).map(char::from).collect::<String>();
    let keys = [
        "plain",
        "a\"b",
        "a'b",
        "a\\b",
        "ends with \\",
        "\\n is no newline",
        "new\nline",
        "carriage\rreturn\ttab",
        "nul \0 inside",
        "del \x7f",
        controls.as_str(),
        "日本語 ünïcödé 🦀",
        "𠮷野",
        "\u{2028}\u{feff}",
        "\"] or id in [\"plain",
        "{x} %s $1 [1] `",
        "",
        " ",
    ];
    let kept = "kept";
    let all = keys.iter().copied().chain([kept]).collect::<Vec<_>>();
    let rows = Rows { columns: vec![texts("id", &all), vectors("vector", 4, all.len())], count: all.len() };
    stand.write(&name, insert(None, rows), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, all.len() as i64);
    for (number, key) in keys.iter().enumerate() {
        stand.write(&name, delete(None, Keys::Text(vec![key.to_string()])), Mode::Plain).await;
        assert_eq!(stand.count(&name).await, (all.len() - number - 1) as i64, "{key:?}");
    }
    assert_eq!(stand.texts(&name, "id in [\"kept\"]", "id").await, ["kept"]);
}

#[tokio::test]
async fn every_type_of_field_arrives() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("types");
    let array = FieldSchema {
        element_type: DataType::VarChar.into(),
        ..field(107, "array", DataType::Array, &[("max_capacity", "8"), ("max_length", "20")])
    };
    let fields = vec![
        key(field(100, "id", DataType::Int64, &[])),
        field(101, "bool", DataType::Bool, &[]),
        field(102, "int8", DataType::Int8, &[]),
        field(103, "int32", DataType::Int32, &[]),
        field(104, "float", DataType::Float, &[]),
        field(105, "double", DataType::Double, &[]),
        field(106, "json", DataType::Json, &[]),
        array,
        field(108, "text", DataType::VarChar, &[("max_length", "100")]),
        field(109, "vector", DataType::BinaryVector, &[("dim", "16")]),
    ];
    let mut new = collection(&name, fields);
    new.schema.enable_dynamic_field = true;
    stand.define(Change::CreateCollection(new)).await;
    let params = vec![pair("index_type", "BIN_FLAT"), pair("metric_type", "HAMMING"), pair("params", "{}")];
    let (field, index) = ("vector".to_owned(), "by_vector".to_owned());
    stand.define(Change::CreateIndex { name: name.clone(), field, index, params }).await;
    stand.define(load(&name, None)).await;
    let array = |data: &[&str]| {
        let data = data.iter().map(ToString::to_string).collect();
        ScalarField { data: Some(Scalar::StringData(StringArray { data })) }
    };
    let arrays =
        ArrayArray { data: vec![array(&["x", "y"]), array(&[])], element_type: DataType::VarChar.into() };
    let floats = [1.5f32, -2.5].iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let doubles = [1e300f64, -0.0].iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let json =
        |data: [&'static str; 2]| Scalar::JsonData(JsonArray { data: data.map(|text| text.into()).to_vec() });
    let columns = vec![
        longs("id", vec![1, 2]),
        scalar_column("bool", DataType::Bool, Scalar::BoolData(BoolArray { data: vec![true, false] })),
        scalar_column("int8", DataType::Int8, Scalar::IntData(IntArray { data: vec![-128, 127] })),
        scalar_column("int32", DataType::Int32, Scalar::IntData(IntArray { data: vec![i32::MIN, i32::MAX] })),
        scalar_column("float", DataType::Float, Scalar::FloatData(FloatArray { data: floats.into() })),
        scalar_column("double", DataType::Double, Scalar::DoubleData(DoubleArray { data: doubles.into() })),
        scalar_column("json", DataType::Json, json([r#"{"a":[1]}"#, "null"])),
        scalar_column("array", DataType::Array, Scalar::ArrayData(arrays)),
        texts("text", &["one", ""]),
        vector_column("vector", DataType::BinaryVector, 16, Vector::BinaryVector(vec![1, 2, 3, 4].into())),
        scalar_column("$meta", DataType::Json, json([r#"{"free":"x"}"#, "{}"])),
    ];
    let rows = Rows { columns, count: 2 };
    stand.write(&name, insert(None, rows.clone()), Mode::Plain).await;
    stand.write(&name, insert(None, rows.clone()), Mode::Safe).await;
    let names = rows.columns.iter().map(|column| column.field_name.as_str()).collect::<Vec<_>>();
    let found = stand.query(&name, "id in [1,2]", &names).await;
    for column in &rows.columns {
        let found = found.iter().find(|found| found.field_name == column.field_name).unwrap();
        assert_eq!(found.field.as_ref().map(without_empty), column.field.as_ref().map(without_empty));
    }
}

#[tokio::test]
async fn a_change_above_the_limit_goes_out_in_parts() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("large");
    let vector = field(101, "vector", DataType::FloatVector, &[("dim", "1024")]);
    let new = collection(&name, vec![key(field(100, "id", DataType::Int64, &[])), vector]);
    stand.define(Change::CreateCollection(new)).await;
    stand.define(index(&name, "vector")).await;
    stand.define(load(&name, None)).await;
    let count = 20_000; // 80 MB: Milvus itself refuses more than 64 MiB
    let columns = vec![longs("id", (0..count as i64).collect()), vectors("vector", 1024, count)];
    stand.write(&name, insert(None, Rows { columns, count }), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, count as i64);
    stand.write(&name, delete(None, Keys::Int((1..count as i64).collect())), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 1);
    stand.define(Change::DropCollection { name }).await;
}
