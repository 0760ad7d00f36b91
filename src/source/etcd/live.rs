//! The catalog of what exists, built from the mirror; collections, built from their keys.

use std::collections::BTreeMap;

use super::keys::{Key, NO_DATABASE};
use super::mirror::{Mirror, database};
use super::value::{Stage, Value};
use crate::catalog::{Catalog, CollectionId, DatabaseId};
use crate::error::{Error, Result};
use crate::pb::log::{Collection, Database, Index, Load, Partition, Shard};
use crate::pb::milvus::proto::meta::{CollectionInfo, FieldIndex};
use crate::pb::milvus::proto::schema::CollectionSchema;
use crate::position::Position;

/// Fields that Milvus adds to every collection: RowID and Timestamp.
const SYSTEM_FIELDS: [i64; 2] = [0, 1];
const LOAD_WHOLE: i32 = 2;
const LOADING: i32 = 1;

/// What exists at the mirror's revision.
pub(super) fn catalog(mirror: &Mirror) -> Result<Catalog> {
    let mut catalog = Catalog::default();
    let live = |(_, value): &(&Key, &Value)| value.stage() == Stage::Live;
    // the order of keys brings databases before collections, and both before all that lies in them
    for (key, value) in mirror.plain().filter(live) {
        match (key, value) {
            (Key::Database(id), Value::Database(info)) => {
                let (name, properties) = (info.name.clone(), info.properties.clone());
                catalog.databases.insert(*id, Database { id: *id, name, properties });
            }
            (Key::Collection { id, database_id }, Value::Collection(info)) => {
                let database_id = database(*database_id);
                if catalog.databases.contains_key(&database_id) {
                    let schema = schema(info, of_collection(mirror, *id));
                    let mut collection = collection(*id, database_id, info, schema)?;
                    collection.partitions = partitions(of_collection(mirror, *id), u64::MAX);
                    catalog.collections.insert(*id, collection);
                }
            }
            // an alias outlives its collection in etcd, and is dead from the drop on
            (Key::Alias { name, .. } | Key::OldAlias(name), Value::Alias(alias))
                if catalog.collections.contains_key(&alias.collection_id) =>
            {
                let database_id = match key {
                    Key::Alias { database_id, .. } => *database_id,
                    _ => NO_DATABASE,
                };
                let alias_key = (database(database_id), name.clone());
                catalog.aliases.entry(alias_key).or_insert(alias.collection_id);
            }
            (Key::Index { collection_id, id }, Value::Index(stored)) => {
                if let Some(collection) = catalog.collections.get_mut(collection_id) {
                    let index = index(*id, stored, collection)?;
                    collection.indexes.push(index);
                }
            }
            (Key::CollectionLoad(id), Value::CollectionLoad(_)) => {
                if let Some(collection) = catalog.collections.get_mut(id) {
                    collection.load = load(mirror, collection);
                }
            }
            _ => {}
        }
    }
    Ok(catalog)
}

/// A collection without partitions, indexes and load state.
pub(super) fn collection(
    id: CollectionId,
    database_id: DatabaseId,
    info: &CollectionInfo,
    schema: CollectionSchema,
) -> Result<Collection> {
    Ok(Collection {
        id,
        database_id,
        name: schema.name.clone(),
        shards: info.shards_num,
        consistency_level: info.consistency_level,
        properties: info.properties.clone(),
        channels: shards(id, info)?,
        create_tso: info.create_time,
        schema: Some(schema),
        ..Default::default()
    })
}

/// The schema with the fields and functions that stand under keys of their own, by id; without system fields. Older
/// servers kept the fields within the collection.
pub(super) fn schema<'a>(
    info: &CollectionInfo,
    keys: impl IntoIterator<Item = (&'a Key, &'a Value)>,
) -> CollectionSchema {
    let mut schema = info.schema.clone().unwrap_or_default();
    let (mut fields, mut functions) = (vec![], vec![]);
    for (_, value) in keys.into_iter().filter(|(_, value)| value.stage() == Stage::Live) {
        match value {
            Value::Field(field) => fields.push(field.as_ref().clone()),
            Value::Function(function) => functions.push(function.as_ref().clone()),
            _ => {}
        }
    }
    if !fields.is_empty() {
        schema.fields = fields;
    }
    if !functions.is_empty() {
        schema.functions = functions;
    }
    schema.fields.retain(|field| !SYSTEM_FIELDS.contains(&field.field_id));
    schema.fields.sort_by_key(|field| field.field_id);
    schema
}

/// The live partitions that were created at `until` or before, by id.
pub(super) fn partitions<'a>(
    keys: impl IntoIterator<Item = (&'a Key, &'a Value)>,
    until: u64,
) -> Vec<Partition> {
    let live = keys.into_iter().filter(|(_, value)| value.stage() == Stage::Live);
    live.filter_map(|(key, value)| match (key, value) {
        (Key::Partition { id, .. }, Value::Partition(info)) => Some(Partition {
            id: *id,
            name: info.partition_name.clone(),
            create_tso: info.partition_created_timestamp,
        }),
        _ => None,
    })
    .filter(|partition| partition.create_tso <= until)
    .collect()
}

/// From the first to the last key of a collection's fields, functions and partitions.
pub(super) fn ranges(id: CollectionId) -> [(Key, Key); 3] {
    let (first, last) = (i64::MIN, i64::MAX);
    [
        (Key::Field { collection_id: id, id: first }, Key::Field { collection_id: id, id: last }),
        (Key::Function { collection_id: id, id: first }, Key::Function { collection_id: id, id: last }),
        (Key::Partition { collection_id: id, id: first }, Key::Partition { collection_id: id, id: last }),
    ]
}

fn of_collection(mirror: &Mirror, id: CollectionId) -> BTreeMap<&Key, &Value> {
    ranges(id).into_iter().flat_map(|(from, to)| mirror.plain_between(from, to)).collect()
}

/// Shard i is the i-th virtual channel, which lies on the i-th physical one. A start position is the message that
/// announced the collection.
fn shards(id: CollectionId, info: &CollectionInfo) -> Result<Vec<Shard>> {
    let odd = |what: &str| {
        Error::refused(format!("collection {id} in etcd {what}"))
            .advice("compare the source's version and its message queue with those that are supported")
    };
    let (virtuals, physicals) = (&info.virtual_channel_names, &info.physical_channel_names);
    if virtuals.len() != physicals.len() || virtuals.is_empty() {
        return Err(odd("does not name one physical channel for each virtual channel"));
    }
    let shard = |(virtual_channel, channel): (&String, &String)| {
        let start = info.start_positions.iter().find(|start| start.key == *channel);
        let start = start.ok_or_else(|| odd("has a channel without a start position"))?;
        let start = Position::of_queue(&start.data)
            .ok_or_else(|| odd("has a start position that is of no queue: neither offset nor message id"))?;
        Ok(Shard {
            virtual_channel: virtual_channel.clone(),
            channel: channel.clone(),
            start: Some(start.into()),
            base: None,
        })
    };
    virtuals.iter().zip(physicals).map(shard).collect()
}

/// The parameters as the user gave them, where they are kept: the others are flattened and reordered.
fn index(id: i64, stored: &FieldIndex, collection: &Collection) -> Result<Index> {
    let info = stored.index_info.clone().unwrap_or_default();
    let mut fields = collection.schema.iter().flat_map(|schema| &schema.fields);
    let field = fields.find(|field| field.field_id == info.field_id).ok_or_else(|| {
        Error::refused(format!(
            "index {id} of collection {} in etcd is on field {}, which is not in its schema",
            collection.id, info.field_id
        ))
    })?;
    // A scalar index can be made without parameters; Milvus then fills in `index_params` what it chose itself.
    let is_vector = info.index_params.iter().any(|pair| pair.key == "metric_type");
    let flattened = info.user_index_params.is_empty() && is_vector;
    let params = if flattened { info.index_params } else { info.user_index_params };
    Ok(Index {
        id,
        name: info.index_name,
        field_id: info.field_id,
        field_name: field.name.clone(),
        params,
        create_tso: stored.create_time,
    })
}

/// What is loading or loaded. The keys of partitions are the truth, not the type of the load: releasing a partition
/// leaves the type as it was. But a load of the whole writes them one after the other; until it is loaded, it stands
/// for all partitions.
fn load(mirror: &Mirror, collection: &Collection) -> Option<Load> {
    let collection_id = collection.id;
    let Some(Value::CollectionLoad(asked)) = mirror.get(&Key::CollectionLoad(collection_id)) else {
        return None;
    };
    let whole = asked.load_type == LOAD_WHOLE;
    let all = whole && asked.status == LOADING;
    let loaded = |id: &i64| all || mirror.get(&Key::PartitionLoad { collection_id, id: *id }).is_some();
    let partitions = collection.partitions.iter().map(|partition| partition.id);
    let partition_ids = partitions.filter(loaded).collect::<Vec<_>>();
    (!partition_ids.is_empty()).then_some(Load { replicas: asked.replica_number, whole, partition_ids })
}
