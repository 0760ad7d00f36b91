//! Collections as a target is asked to create them, and how one that exists differs.
//!
//! What a create request may hold: `milvus-wire.md`, 7.5.

use std::collections::BTreeMap;

use prost::Message;

use crate::change::NewCollection;
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::milvus::{CreateCollectionRequest, DescribeCollectionResponse};
use crate::pb::milvus::proto::schema::{CollectionSchema, DataType, FieldSchema, FunctionSchema};

/// The request that creates a collection.
pub fn create_collection(new: &NewCollection) -> CreateCollectionRequest {
    CreateCollectionRequest {
        db_name: new.name.database.clone(),
        collection_name: new.name.collection.clone(),
        schema: schema(new).encode_to_vec().into(),
        shards_num: new.shards,
        consistency_level: new.consistency_level,
        properties: properties(&new.properties),
        num_partitions: partition_count(new),
    }
}

/// How many partitions the target spreads keys over; 0 for a collection whose partitions have names.
fn partition_count(new: &NewCollection) -> i64 {
    if has_partition_key(&new.schema) { i64::try_from(new.partitions.len()).unwrap_or(i64::MAX) } else { 0 }
}

/// Whether the target chooses the partition of a row.
pub fn has_partition_key(schema: &CollectionSchema) -> bool {
    schema.fields.iter().any(|field| field.is_partition_key)
}

/// Properties without those by which a source's own replication marks its collections.
pub fn properties(properties: &[KeyValuePair]) -> Vec<KeyValuePair> {
    properties.iter().filter(|property| !property.key.starts_with("replicate.")).cloned().collect()
}

/// The user's fields. The target numbers them itself and adds `$meta`; the key keeps its values, so it is not
/// generated there.
pub fn schema(new: &NewCollection) -> CollectionSchema {
    let source = &new.schema;
    CollectionSchema {
        name: new.name.collection.clone(),
        description: source.description.clone(),
        fields: source.fields.iter().filter(|field| is_users(field)).map(field).collect(),
        enable_dynamic_field: is_dynamic(source),
        functions: source.functions.iter().map(function).collect(),
        ..Default::default()
    }
}

fn is_dynamic(schema: &CollectionSchema) -> bool {
    schema.enable_dynamic_field || schema.fields.iter().any(|field| field.is_dynamic)
}

/// RowID and Timestamp have the ids 0 and 1; a user's fields start at 100, or have none in a description by name.
fn is_users(field: &FieldSchema) -> bool {
    !field.is_dynamic && !matches!(field.name.as_str(), "RowID" | "Timestamp" | "$meta")
}

fn field(source: &FieldSchema) -> FieldSchema {
    FieldSchema { field_id: 0, index_params: Vec::new(), auto_id: false, state: 0, ..source.clone() }
}

fn function(source: &FunctionSchema) -> FunctionSchema {
    FunctionSchema { id: 0, input_field_ids: Vec::new(), output_field_ids: Vec::new(), ..source.clone() }
}

/// How a collection that exists differs from the one that is asked for, in words for a person; empty where it does
/// not. Properties, the consistency level and the partitions of a collection without partition key may differ: they
/// change in a collection's life.
pub fn differences(asked: &NewCollection, found: &DescribeCollectionResponse) -> Vec<String> {
    let Some(found_schema) = &found.schema else { return vec!["the target shows no schema".to_owned()] };
    let schema = schema(asked);
    let mut all = Vec::new();
    let mut note = |what: &str, asked: &dyn ToString, found: &dyn ToString| {
        let (asked, found) = (asked.to_string(), found.to_string());
        if asked != found {
            all.push(format!("{what}: source {asked}, target {found}"));
        }
    };
    note("shards", &asked.shards.max(1), &found.shards_num);
    note("dynamic fields", &schema.enable_dynamic_field, &is_dynamic(found_schema));
    if partition_count(asked) > 0 && found.num_partitions > 0 {
        note("partitions by key", &partition_count(asked), &found.num_partitions);
    }
    note("functions", &functions(&schema), &functions(found_schema));

    let ours = by_name(&schema);
    let theirs = by_name(found_schema);
    for (name, field) in &ours {
        let facts = theirs.get(name).map(|theirs| (facts(field), facts(theirs)));
        let Some((ours, theirs)) = facts else {
            note(&format!("field {name}"), &"present", &"absent");
            continue;
        };
        for ((fact, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            note(&format!("field {name}, {fact}"), ours, theirs);
        }
    }
    for name in theirs.keys().filter(|name| !ours.contains_key(*name)) {
        note(&format!("field {name}"), &"absent", &"present");
    }
    all
}

fn by_name(schema: &CollectionSchema) -> BTreeMap<&str, &FieldSchema> {
    schema.fields.iter().filter(|field| is_users(field)).map(|field| (field.name.as_str(), field)).collect()
}

/// What must agree between two fields of one name.
fn facts(field: &FieldSchema) -> [(&'static str, String); 10] {
    let kind =
        |number| DataType::try_from(number).map_or(format!("type {number}"), |kind| format!("{kind:?}"));
    [
        ("type", kind(field.data_type)),
        ("element type", kind(field.element_type)),
        ("primary key", field.is_primary_key.to_string()),
        ("generated key", field.auto_id.to_string()),
        ("partition key", field.is_partition_key.to_string()),
        ("clustering key", field.is_clustering_key.to_string()),
        ("nullable", field.nullable.to_string()),
        ("function output", field.is_function_output.to_string()),
        (
            "default",
            field.default_value.as_ref().map_or("none".to_owned(), |value| format!("{:?}", value.data)),
        ),
        ("parameters", parameters(&field.type_params)),
    ]
}

fn parameters(pairs: &[KeyValuePair]) -> String {
    let pairs = pairs.iter().map(|pair| (&pair.key, &pair.value)).collect::<BTreeMap<_, _>>();
    let pairs = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    format!("{{{}}}", pairs.join(", "))
}

fn functions(schema: &CollectionSchema) -> String {
    let mut names = schema.functions.iter().map(|function| function.name.as_str()).collect::<Vec<_>>();
    names.sort_unstable();
    format!("{names:?}")
}
