//! Dated changes, from the snapshots that root-coord keeps of its keys.
//!
//! A snapshot says what a key was from its TSO on. Creating and Created, and Dropping and the final tombstone, share
//! one snapshot: what counts is the stage an object has now at that TSO, and the stage it had before.

use std::collections::BTreeSet;

use super::keys::{Key, NO_DATABASE};
use super::live::{collection, partitions, ranges, schema};
use super::mirror::{Mirror, database};
use super::value::{Stage, Value};
use crate::catalog::CollectionId;
use crate::error::Result;
use crate::source::{Event, Object};
use crate::tick::Tso;

/// The changes behind snapshots that were written, in an order in which they can be applied.
pub(super) fn events(mirror: &Mirror, written: impl IntoIterator<Item = (Key, Tso)>) -> Result<Vec<Event>> {
    let mut events = vec![];
    let mut collections = BTreeSet::new();
    for (key, tso) in written.into_iter().collect::<BTreeSet<_>>() {
        let object = match &key {
            // many keys make one collection: each of its TSOs gives one event
            Key::Collection { id, .. } => {
                collections.insert((tso, *id));
                None
            }
            Key::Field { collection_id, .. } | Key::Function { collection_id, .. } => {
                if mirror.collection_at(*collection_id, tso) == Some(Stage::Live) {
                    collections.insert((tso, *collection_id));
                }
                None
            }
            Key::Database(id) => database_event(mirror, &key, *id, tso),
            Key::Partition { collection_id, .. } => partition_event(mirror, &key, *collection_id, tso),
            Key::Alias { .. } | Key::OldAlias(_) => alias_event(mirror, &key, tso),
            Key::Index { .. } | Key::CollectionLoad(_) | Key::PartitionLoad { .. } | Key::Other => None,
        };
        events.extend(object.map(|object| Event { tso, object }));
    }
    for (tso, id) in collections {
        events.extend(collection_event(mirror, id, tso)?.map(|object| Event { tso, object }));
    }
    events.sort_by_key(Event::order);
    Ok(events)
}

fn collection_event(mirror: &Mirror, id: CollectionId, tso: Tso) -> Result<Option<Object>> {
    match mirror.collection_at(id, tso) {
        Some(Stage::Live) => {}
        Some(Stage::Gone) if went(mirror.collection_before(id, tso)) => {
            return Ok(Some(Object::CollectionGone { id }));
        }
        _ => return Ok(None),
    }
    let Some((database_id, info)) = mirror.live_collection_at(id, tso) else { return Ok(None) };
    let at = |(from, to)| mirror.between_at(from, to, tso);
    let [fields, functions, own_partitions] = ranges(id).map(at);
    let schema = schema(info, fields.into_iter().chain(functions));
    if schema.fields.is_empty() {
        return Ok(None);
    }
    let mut created = collection(id, database_id, info, schema)?;
    created.partitions = partitions(own_partitions, info.create_time);
    Ok(Some(Object::Collection(Box::new(created))))
}

fn database_event(mirror: &Mirror, key: &Key, id: i64, tso: Tso) -> Option<Object> {
    let value = mirror.at(key, tso)?;
    match (value.stage(), value) {
        (Stage::Live, Value::Database(info)) => {
            let (name, properties) = (info.name.clone(), info.properties.clone());
            Some(Object::Database { id, name, properties })
        }
        (Stage::Gone, _) if went(mirror.before(key, tso).map(Value::stage)) => {
            Some(Object::DatabaseGone { id })
        }
        _ => None,
    }
}

/// A partition's. One that came or went with its collection has none of its own.
fn partition_event(mirror: &Mirror, key: &Key, collection_id: CollectionId, tso: Tso) -> Option<Object> {
    let Key::Partition { id, .. } = key else { return None };
    if matches!(mirror.collection_at(collection_id, tso), Some(Stage::Gone | Stage::Creating)) {
        return None;
    }
    let value = mirror.at(key, tso)?;
    match (value.stage(), value) {
        (Stage::Live, Value::Partition(info)) => {
            let created = mirror.live_collection_at(collection_id, tso).map(|(_, info)| info.create_time);
            let name = info.partition_name.clone();
            let own = created.is_none_or(|created| info.partition_created_timestamp > created);
            own.then_some(Object::Partition { collection_id, id: *id, name })
        }
        (Stage::Gone, _) if went(mirror.before(key, tso).map(Value::stage)) => {
            Some(Object::PartitionGone { collection_id, id: *id })
        }
        _ => None,
    }
}

/// An alias'. When its key goes after its collection, it was dead already.
fn alias_event(mirror: &Mirror, key: &Key, tso: Tso) -> Option<Object> {
    let (database_id, name) = match key {
        Key::Alias { database_id, name } => (database(*database_id), name.clone()),
        Key::OldAlias(name) => (database(NO_DATABASE), name.clone()),
        _ => return None,
    };
    let value = mirror.at(key, tso)?;
    match (value.stage(), value) {
        (Stage::Live, Value::Alias(alias)) => {
            Some(Object::Alias { database_id, name, collection_id: alias.collection_id })
        }
        (Stage::Gone, _) => {
            let before = mirror.before(key, tso);
            let dead = matches!(before, Some(Value::Alias(alias))
                if mirror.collection_at(alias.collection_id, tso) == Some(Stage::Gone));
            let gone = went(before.map(Value::stage)) && !dead;
            gone.then_some(Object::AliasGone { database_id, name })
        }
        _ => None,
    }
}

/// Whether an object that is gone now was there before: not if it was gone already, nor if it never came to be. Where
/// the snapshot before is no longer kept, it was.
fn went(before: Option<Stage>) -> bool {
    matches!(before, Some(Stage::Live) | None)
}
