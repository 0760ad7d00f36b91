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

/// Whether Milvus 2.4 and later refuse to set it on a loaded collection, also to what it is.
pub fn is_of_released(property: &KeyValuePair) -> bool {
    matches!(property.key.as_str(), "mmap.enabled" | "lazyload.enabled")
}

/// The properties of an alteration of a collection that has others already.
pub fn altered(properties: &[KeyValuePair], there: &[KeyValuePair]) -> Vec<KeyValuePair> {
    let mut all = self::properties(properties);
    all.retain(|property| !is_of_released(property) || !there.contains(property));
    all
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

/// Whether rows may have more than the schema names.
pub fn is_dynamic(schema: &CollectionSchema) -> bool {
    schema.enable_dynamic_field || schema.fields.iter().any(|field| field.is_dynamic)
}

/// RowID and Timestamp have the ids 0 and 1; a user's fields start at 100, or have none in a description by name.
pub fn is_users(field: &FieldSchema) -> bool {
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
pub fn facts(field: &FieldSchema) -> [(&'static str, String); 10] {
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

/// Pairs in the order of their keys.
pub fn parameters(pairs: &[KeyValuePair]) -> String {
    let pairs = pairs.iter().map(|pair| (&pair.key, &pair.value)).collect::<BTreeMap<_, _>>();
    let pairs = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    format!("{{{}}}", pairs.join(", "))
}

fn functions(schema: &CollectionSchema) -> String {
    let mut names = schema.functions.iter().map(|function| function.name.as_str()).collect::<Vec<_>>();
    names.sort_unstable();
    format!("{names:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::CollectionName;
    use crate::pb::milvus::proto::schema::ValueField;
    use crate::pb::milvus::proto::schema::value_field::Data as Value;

    fn pair(key: &str, value: &str) -> KeyValuePair {
        KeyValuePair { key: key.to_owned(), value: value.to_owned() }
    }

    fn named(field_id: i64, name: &str, data_type: DataType) -> FieldSchema {
        FieldSchema { field_id, name: name.to_owned(), data_type: data_type.into(), ..Default::default() }
    }

    fn source() -> NewCollection {
        let id = FieldSchema { is_primary_key: true, auto_id: true, ..named(100, "id", DataType::Int64) };
        let params = vec![pair("max_length", "10"), pair("mmap.enabled", "true")];
        let text = FieldSchema { type_params: params, ..named(101, "text", DataType::VarChar) };
        let meta = FieldSchema { is_dynamic: true, ..named(102, "$meta", DataType::Json) };
        let function = FunctionSchema {
            name: "bm25".to_owned(),
            id: 5,
            input_field_ids: vec![101],
            ..Default::default()
        };
        NewCollection {
            name: CollectionName::new("db", "docs"),
            schema: CollectionSchema {
                name: "old name".to_owned(),
                fields: vec![id, text, meta],
                functions: vec![function],
                ..Default::default()
            },
            shards: 0,
            consistency_level: 2,
            properties: vec![pair("replicate.id", "x"), pair("collection.ttl.seconds", "1")],
            partitions: vec!["_default".to_owned(), "p".to_owned()],
        }
    }

    fn created(new: &NewCollection) -> DescribeCollectionResponse {
        let request = create_collection(new);
        DescribeCollectionResponse {
            schema: Some(CollectionSchema::decode(request.schema).unwrap()),
            shards_num: request.shards_num.max(1),
            num_partitions: request.num_partitions.max(1),
            ..Default::default()
        }
    }

    #[test]
    fn a_loaded_collection_is_not_told_again_how_it_is_mapped() {
        let properties = [pair("mmap.enabled", "true"), pair("ttl", "1"), pair("replicate.id", "a")];
        assert_eq!(altered(&properties, &[]), properties[..2]);
        assert_eq!(altered(&properties, &properties), properties[1..2]);
        assert_eq!(altered(&properties, &[pair("mmap.enabled", "false")]), properties[..2]);
    }

    #[test]
    fn a_request_has_the_users_fields_without_the_sources_numbers_and_generated_keys() {
        let request = create_collection(&source());
        let schema = CollectionSchema::decode(request.schema).unwrap();
        let fields = schema.fields.iter().map(|field| (field.name.as_str(), field.field_id, field.auto_id));
        assert_eq!(fields.collect::<Vec<_>>(), [("id", 0, false), ("text", 0, false)]);
        assert_eq!(schema.name, "docs");
        assert!(schema.enable_dynamic_field);
        assert_eq!((schema.functions[0].id, schema.functions[0].input_field_ids.len()), (0, 0));
        assert_eq!(request.properties, [pair("collection.ttl.seconds", "1")]);
        assert_eq!(request.num_partitions, 0);
    }

    #[test]
    fn a_partition_key_counts_the_partitions() {
        let mut new = source();
        new.schema.fields[1].is_partition_key = true;
        assert_eq!(create_collection(&new).num_partitions, 2);
    }

    #[test]
    fn a_collection_does_not_differ_from_what_its_request_made() {
        let mut found = created(&source());
        assert_eq!(differences(&source(), &found), Vec::<String>::new());
        found.schema.as_mut().unwrap().fields.reverse();
        for field in &mut found.schema.as_mut().unwrap().fields {
            field.field_id = 200;
            field.type_params.reverse();
        }
        assert_eq!(differences(&source(), &found), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named() {
        type Alter = fn(&mut CollectionSchema);
        let alterations: [(Alter, &str); 11] = [
            (|schema| schema.enable_dynamic_field = false, "dynamic fields"),
            (|schema| schema.functions.clear(), "functions"),
            (|schema| schema.fields[0].auto_id = true, "generated key"),
            (|schema| schema.fields[0].is_primary_key = false, "primary key"),
            (|schema| schema.fields[1].nullable = true, "nullable"),
            (|schema| schema.fields[1].data_type = 999, "type 999"),
            (|schema| schema.fields[1].is_clustering_key = true, "clustering key"),
            (|schema| schema.fields[1].type_params[0].value = "11".to_owned(), "max_length=11"),
            (|schema| schema.fields[1].element_type = 5, "element type"),
            (
                |schema| schema.fields[1].default_value = Some(ValueField { data: Some(Value::IntData(1)) }),
                "default",
            ),
            (|schema| schema.fields[1].name = "other".to_owned(), "field other: source absent"),
        ];
        for (alter, word) in alterations {
            let mut found = created(&source());
            alter(found.schema.as_mut().unwrap());
            let named = differences(&source(), &found);
            assert!(named.iter().any(|difference| difference.contains(word)), "{word} in {named:?}");
        }
        let found = DescribeCollectionResponse { shards_num: 3, ..created(&source()) };
        assert_eq!(differences(&source(), &found), ["shards: source 1, target 3"]);
    }
}
