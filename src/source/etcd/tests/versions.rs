//! Values of etcd as later versions write them, made by Milvus' own package: `tests/fixtures/milvus`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::*;
use crate::pb::log::Collection;
use crate::pb::milvus::proto::schema::{DataType, FunctionSchema, value_field::Data as Default};

const FIXTURES: [(&str, &str); 2] = [
    ("2.4", include_str!("../../../../tests/fixtures/milvus/etcd-2.4.json")),
    ("2.5", include_str!("../../../../tests/fixtures/milvus/etcd-2.5.json")),
];

fn writes(fixture: &Value) -> Writes {
    let entries = fixture["entries"].as_array().unwrap();
    entries.iter().fold(Writes::default(), |writes, entry| {
        let value = BASE64_STANDARD.decode(entry["value"].as_str().unwrap()).unwrap();
        writes.put(entry["key"].as_str().unwrap(), value)
    })
}

fn pairs(pairs: &[KeyValuePair]) -> Value {
    pairs.iter().map(|pair| (pair.key.clone(), json!(pair.value))).collect::<Map<_, _>>().into()
}

fn type_name(data_type: i32) -> &'static str {
    DataType::try_from(data_type).unwrap().as_str_name()
}

fn field(field: &FieldSchema) -> Value {
    let default = match field.default_value.clone().and_then(|value| value.data) {
        Some(Default::IntData(value)) => json!(value),
        Some(Default::StringData(value)) => json!(value),
        _ => Value::Null,
    };
    json!({
        "id": field.field_id, "type": type_name(field.data_type), "element": type_name(field.element_type),
        "params": pairs(&field.type_params), "primary_key": field.is_primary_key,
        "partition_key": field.is_partition_key, "clustering_key": field.is_clustering_key,
        "nullable": field.nullable, "function_output": field.is_function_output, "dynamic": field.is_dynamic,
        "default": default,
    })
}

fn function(function: &FunctionSchema) -> Value {
    json!({
        "type": function.r#type, "inputs": function.input_field_names,
        "outputs": function.output_field_names, "params": pairs(&function.params),
    })
}

fn named<'a, T: 'a>(all: impl IntoIterator<Item = &'a T>, entry: impl Fn(&T) -> (String, Value)) -> Value {
    all.into_iter().map(entry).collect::<Map<_, _>>().into()
}

fn collection(collection: &Collection, aliases: &[&String]) -> Value {
    let schema = collection.schema.as_ref().unwrap();
    let load = collection.load.as_ref().unwrap();
    json!({
        "id": collection.id, "name": collection.name, "dynamic": schema.enable_dynamic_field,
        "consistency_level": collection.consistency_level, "properties": pairs(&collection.properties),
        "start": collection.channels[0].start.unwrap().offset, "create_tso": collection.create_tso,
        "fields": named(&schema.fields, |it| (it.name.clone(), field(it))),
        "functions": named(&schema.functions, |it| (it.name.clone(), function(it))),
        "partitions": named(&collection.partitions, |it| (it.id.to_string(), json!(it.name))),
        "aliases": aliases,
        "indexes": named(&collection.indexes, |it| (it.name.clone(), json!({
            "id": it.id, "field": it.field_name, "create_tso": it.create_tso, "params": pairs(&it.params),
        }))),
        "load": { "replicas": load.replicas, "whole": load.whole, "partitions": load.partition_ids },
    })
}

#[test]
fn what_later_versions_keep_in_etcd_means_what_milvus_packages_say() {
    for (version, text) in FIXTURES {
        let fixture = serde_json::from_str::<Value>(text).unwrap();
        let (live, _) = writes(&fixture).read();
        let database = &live.databases[&2];
        let shown = json!({ "id": 2, "name": database.name, "properties": pairs(&database.properties) });
        assert_eq!(shown, fixture["means"]["database"], "{version}");
        let aliases = live.aliases.keys().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(collection(&live.collections[&5], &aliases), fixture["means"]["collection"], "{version}");
    }
}

#[test]
fn snapshots_of_later_versions_date_their_changes() {
    for (version, text) in FIXTURES {
        let fixture = serde_json::from_str::<Value>(text).unwrap();
        let mut seen = writes(&fixture).seen();
        let (_, events) = seen.advance(delta(&writes(&fixture), &[])).unwrap();
        let fields = fixture["means"]["collection"]["fields"].as_object().unwrap().len();
        let said = events.into_iter().map(|Event { tso, object }| {
            let what = match object {
                Object::Database { id, .. } => format!("database {id}"),
                Object::Collection(it) => {
                    assert_eq!(it.schema.unwrap().fields.len(), fields, "{version} at {tso}");
                    format!("collection {}", it.name)
                }
                other => short(other),
            };
            format!("{tso} {what}")
        });
        assert_eq!(json!(said.collect::<Vec<_>>()), fixture["means"]["events"], "{version}");
    }
}
