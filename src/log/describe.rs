//! A definition for people: what changed, and of what. Pure.

use serde_json::{Map, Value, json};

use crate::pb::log::{CreateIndex, LoadChange, definition::Change};
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
                "fields": fields(it.schema.as_ref()),
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
        Change::AlterCollection(it) => {
            ("alter_collection", json!({ "collection_id": it.id, "properties": pairs(&it.properties) }))
        }
        Change::AlterSchema(it) => {
            ("alter_schema", json!({ "collection_id": it.id, "fields": fields(it.schema.as_ref()) }))
        }
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
        Change::CreateIndex(it) => ("create_index", index(it)),
        Change::AlterIndex(it) => ("alter_index", index(it)),
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

fn fields(schema: Option<&CollectionSchema>) -> Value {
    let fields = schema.into_iter().flat_map(|schema| &schema.fields);
    fields.map(|field| json!({ "name": field.name, "type": field.data_type().as_str_name() })).collect()
}

fn index(change: &CreateIndex) -> Value {
    json!({
        "collection_id": change.collection_id,
        "index_id": change.index.as_ref().map(|index| index.id),
        "name": change.index.as_ref().map(|index| &index.name),
        "field": change.index.as_ref().map(|index| &index.field_name),
        "params": change.index.as_ref().map(|index| pairs(&index.params)),
    })
}

fn load(change: &LoadChange) -> Value {
    let partitions = if change.whole { json!("all") } else { json!(change.partition_ids) };
    json!({ "collection_id": change.collection_id, "partition_ids": partitions, "replicas": change.replicas })
}

fn pairs(pairs: &[KeyValuePair]) -> Value {
    Value::Object(pairs.iter().map(|pair| (pair.key.clone(), json!(pair.value))).collect::<Map<_, _>>())
}
