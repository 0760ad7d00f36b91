use super::*;
use crate::compare::report::RowsReport;
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::milvus::{DescribeCollectionResponse, IndexDescription};
use crate::pb::milvus::proto::schema::DataType;

fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.into(), value: value.into() }
}

fn found(partitions: &[&str], loaded: &[&str]) -> Found {
    let key = FieldSchema {
        name: "id".into(),
        is_primary_key: true,
        data_type: DataType::Int64.into(),
        ..FieldSchema::default()
    };
    let vector = FieldSchema {
        name: "vector".into(),
        data_type: DataType::FloatVector.into(),
        type_params: vec![pair("dim", "8")],
        ..FieldSchema::default()
    };
    let schema = CollectionSchema { fields: vec![key, vector], ..CollectionSchema::default() };
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Found {
        described: DescribeCollectionResponse { schema: Some(schema), shards_num: 1, ..Default::default() },
        partitions: strings(partitions),
        loaded: strings(loaded),
        indexes: Vec::new(),
    }
}

fn key(found: &mut Found) -> &mut FieldSchema {
    &mut found.described.schema.as_mut().unwrap().fields[0]
}

#[test]
fn each_difference_is_named_with_what_both_say() {
    let source = found(&["_default"], &["_default"]);
    let differs = |change: &dyn Fn(&mut Found)| {
        let mut target = source.clone();
        change(&mut target);
        differences(&source, &target).differences.join("\n")
    };
    assert_eq!(differs(&|_| {}), "");
    let says = differs(&|target| target.loaded.clear());
    assert_eq!(says, "partition _default: \"loaded\" at the source, \"not loaded\" at the target");
    let says = differs(&|target| target.described.properties.push(pair("collection.ttl.seconds", "9")));
    assert_eq!(says, "property collection.ttl.seconds: none at the source, \"9\" at the target");
    assert!(differs(&|target| target.described.aliases.push("a".into())).starts_with("alias a: none"));
    let says = differs(&|target| key(target).data_type = DataType::VarChar.into());
    assert_eq!(says, "field id, type: \"Int64\" at the source, \"VarChar\" at the target");
    let index =
        IndexDescription { index_name: "i".into(), field_name: "vector".into(), ..Default::default() };
    assert!(differs(&|target| target.indexes.push(index.clone())).starts_with("index i: none"));
    assert_eq!(differs(&|target| target.described.properties.push(pair("replicate.id", "x"))), "");
}

#[test]
fn functions_are_compared_with_what_they_make_of_what() {
    let mut source = found(&["_default"], &["_default"]);
    let bm25 = FunctionSchema {
        name: "f".into(),
        id: 7,
        r#type: 1,
        input_field_names: vec!["text".into()],
        input_field_ids: vec![101],
        output_field_names: vec!["sparse".into()],
        output_field_ids: vec![102],
        params: vec![pair("k", "1")],
        ..FunctionSchema::default()
    };
    source.described.schema.as_mut().unwrap().functions.push(bm25);
    let differs = |change: &dyn Fn(&mut FunctionSchema)| {
        let mut target = source.clone();
        change(&mut target.described.schema.as_mut().unwrap().functions[0]);
        differences(&source, &target).differences.join("\n")
    };
    let ids = |function: &mut FunctionSchema| {
        (function.id, function.input_field_ids, function.output_field_ids) = (9, vec![], vec![]);
    };
    assert_eq!(differs(&ids), "", "ids differ by nature");
    let says = differs(&|function| function.input_field_names = vec!["title".into()]);
    let [ours, theirs] = ["text", "title"].map(|from| format!("\"type 1, {from} -> sparse, {{k=1}}\""));
    assert_eq!(says, format!("function f: {ours} at the source, {theirs} at the target"));
    assert!(differs(&|function| function.name = "g".into()).contains("function g: none at the source"));
    assert_ne!(differs(&|function| function.output_field_names.clear()), "");
    assert_ne!(differs(&|function| function.r#type = 2), "");
    assert_ne!(differs(&|function| function.params.clear()), "");
}

#[test]
fn keys_that_the_target_does_not_generate_are_by_design_and_the_other_way_is_a_difference() {
    let plain = found(&["_default"], &[]);
    let mut generated = plain.clone();
    key(&mut generated).auto_id = true;
    let one = differences(&generated, &plain);
    assert_eq!((one.differences.len(), one.by_design.len()), (0, 1));
    let other = differences(&plain, &generated);
    assert_eq!((other.differences.len(), other.by_design.len()), (1, 0));
}

#[test]
fn rows_are_compared_where_both_have_them_loaded() {
    let source = found(&["_default", "p", "q"], &["_default", "p"]);
    let target = found(&["_default", "p"], &["p"]);
    let both = layout(&source, &target).unwrap();
    assert_eq!(both.partitions, [Some("p".to_owned())]);
    assert!(both.notes[0].starts_with("2 of 3 partitions"), "{:?}", both.notes);
    assert_eq!(both.fields, ["id", "vector"]);
    let none = layout(&source, &found(&["_default"], &[])).unwrap();
    assert!(none.partitions.is_empty() && none.notes[0].contains("by definition alone"));
    assert_eq!(layout(&found(&["_default"], &["_default"]), &target).unwrap().partitions, []);
    let single = found(&["_default"], &["_default"]);
    assert_eq!(layout(&single, &single).unwrap().partitions, [None]);
}

#[test]
fn rows_of_a_partition_key_are_compared_all_at_once() {
    let mut source = found(&["_default_0", "_default_1"], &["_default_0", "_default_1"]);
    key(&mut source).is_partition_key = true;
    assert_eq!(layout(&source, &source).unwrap().partitions, [None]);
}

#[test]
fn rows_of_other_keys_are_not_compared() {
    let source = found(&["_default"], &["_default"]);
    let mut target = source.clone();
    key(&mut target).data_type = DataType::VarChar.into();
    assert!(layout(&source, &target).is_none());
}

#[test]
fn what_was_read_of_rows_holds_for_the_same_two_collections_alone() {
    let source = found(&["_default"], &["_default"]);
    let rows = RowsReport::of(layout(&source, &source).unwrap());
    assert!(rows.goes_on(&layout(&source, &source).unwrap()));
    let mut again = source.clone();
    again.described.collection_id += 1;
    assert!(!rows.goes_on(&layout(&source, &again).unwrap()));
    let more = found(&["_default", "p"], &["_default", "p"]);
    assert!(!rows.goes_on(&layout(&more, &more).unwrap()));
}
