//! A definition for people: what changed, and of what. Pure.

use serde_json::{Map, Value, json};

use crate::pb::log::{Index, LoadChange, definition::Change};
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::schema::CollectionSchema;

/// The name of a change and what it concerns.
pub fn change(change: Option<&Change>) -> (&'static str, Value) {
    let Some(change) = change else { return ("unknown", json!({})) };
    match change {
        Change::CreateDatabase(it) => (
            "create_database",
            json!({ "database_id": it.id, "name": it.name, "properties": pairs(&it.properties) }),
        ),
        Change::AlterDatabase(it) => (
            "alter_database",
            json!({ "database_id": it.id, "name": it.name, "properties": pairs(&it.properties) }),
        ),
        Change::DropDatabase(it) => ("drop_database", json!({ "database_id": it.id })),
        Change::CreateCollection(it) => (
            "create_collection",
            json!({
                "collection_id": it.id,
                "database_id": it.database_id,
                "name": it.name,
                "fields": it.schema.as_ref().map(fields),
                "shards": it.shards,
                "partitions": it.partitions.iter().map(|partition| &partition.name).collect::<Vec<_>>(),
                "properties": pairs(&it.properties),
            }),
        ),
        Change::DropCollection(it) => ("drop_collection", json!({ "collection_id": it.id })),
        Change::RenameCollection(it) => (
            "rename_collection",
            json!({ "collection_id": it.id, "database_id": it.database_id, "name": it.name }),
        ),
        Change::AlterCollection(it) => (
            "alter_collection",
            json!({
                "collection_id": it.id,
                "properties": pairs(&it.properties),
                "fields": it.schema.as_ref().map(fields),
                "indexes": it.indexes.iter().map(index).collect::<Vec<_>>(),
            }),
        ),
        Change::CreatePartition(it) => (
            "create_partition",
            json!({
                "collection_id": it.collection_id,
                "partition_id": it.partition.as_ref().map(|partition| partition.id),
                "name": it.partition.as_ref().map(|partition| &partition.name),
            }),
        ),
        Change::DropPartition(it) => {
            ("drop_partition", json!({ "collection_id": it.collection_id, "partition_id": it.partition_id }))
        }
        Change::CreateIndex(it) => {
            let mut of = it.index.as_ref().map_or_else(|| json!({}), index);
            of["collection_id"] = json!(it.collection_id);
            ("create_index", of)
        }
        Change::DropIndex(it) => {
            ("drop_index", json!({ "collection_id": it.collection_id, "index_id": it.index_id }))
        }
        Change::Load(it) => ("load", load(it)),
        Change::Release(it) => ("release", load(it)),
        Change::Flush(it) => ("flush", json!({ "collection_ids": it.collection_ids })),
        Change::CreateAlias(it) => (
            "create_alias",
            json!({ "database_id": it.database_id, "name": it.name, "collection_id": it.collection_id }),
        ),
        Change::AlterAlias(it) => (
            "alter_alias",
            json!({ "database_id": it.database_id, "name": it.name, "collection_id": it.collection_id }),
        ),
        Change::DropAlias(it) => ("drop_alias", json!({ "database_id": it.database_id, "name": it.name })),
    }
}

fn fields(schema: &CollectionSchema) -> Value {
    let fields = schema.fields.iter();
    fields.map(|field| json!({ "name": field.name, "type": field.data_type().as_str_name() })).collect()
}

fn index(index: &Index) -> Value {
    json!({ "index_id": index.id, "name": index.name, "field": index.field_name, "params": pairs(&index.params) })
}

fn load(change: &LoadChange) -> Value {
    let partitions = if change.whole { json!("all") } else { json!(change.partition_ids) };
    json!({ "collection_id": change.collection_id, "partition_ids": partitions, "replicas": change.replicas })
}

fn pairs(pairs: &[KeyValuePair]) -> Value {
    Value::Object(pairs.iter().map(|pair| (pair.key.clone(), json!(pair.value))).collect::<Map<_, _>>())
}
