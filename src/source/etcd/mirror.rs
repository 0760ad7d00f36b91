//! What etcd held at one revision, by key, and what its snapshots say about any TSO.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Key, NO_DATABASE, SPANS, parse};
use super::value::{Stage, Value};
use crate::catalog::{CollectionId, DatabaseId};
use crate::error::Result;
use crate::pb::milvus::proto::meta::CollectionInfo;
use crate::tick::Tso;

/// Id of the database `default`, which holds what Milvus 2.2 wrote.
pub(super) const DEFAULT_DATABASE: DatabaseId = 1;

/// A write, decoded.
#[derive(Debug)]
pub(super) struct Put {
    name: String,
    key: Key,
    tso: Option<Tso>,
    value: Option<Value>,
    revision: i64,
}

impl Put {
    /// Decodes a key (without `{root}/{meta}/`) and its value, written last at a revision.
    pub fn decode(name: &str, bytes: &[u8], revision: i64) -> Result<Put> {
        let (key, tso) = parse(name)?;
        let value = Value::decode(&key, name, bytes)?;
        Ok(Put { name: name.into(), key, tso, value, revision })
    }
    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    /// etcd's revision.
    pub revision: i64,
    /// Names of all keys, those that are not of interest too: their number tells whether one was deleted.
    names: [BTreeSet<String>; SPANS.len()],
    plain: BTreeMap<Key, Value>,
    history: BTreeMap<Key, BTreeMap<Tso, Value>>,
    shown_since: BTreeMap<CollectionId, i64>,
}

impl Mirror {
    /// Nothing yet, of a revision.
    pub fn new(revision: i64) -> Mirror {
        Mirror { revision, ..Default::default() }
    }

    /// The names of the keys in a span.
    pub fn names(&self, span: usize) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.names.get(span).unwrap_or(&NONE)
    }

    /// Takes in a write; of a snapshot, says which.
    pub fn put(&mut self, put: Put) -> Option<(Key, Tso)> {
        if let Some(names) = span_of(&put.name).and_then(|span| self.names.get_mut(span)) {
            names.insert(put.name);
        }
        let value = put.value?;
        match put.tso {
            Some(tso) => {
                // Creating and Created share the snapshot of the creation, and nothing writes it again.
                if let (Key::Collection { id, .. }, Value::Collection(info)) = (&put.key, &value)
                    && info.create_time == tso.0
                    && value.stage() == Stage::Live
                {
                    self.shown_since.insert(*id, put.revision);
                }
                self.history.entry(put.key.clone()).or_default().insert(tso, value);
                Some((put.key, tso))
            }
            None => {
                self.plain.insert(put.key, value);
                None
            }
        }
    }

    /// Forgets a key that is no longer there.
    pub fn remove(&mut self, name: &str) {
        if let Some(names) = span_of(name).and_then(|span| self.names.get_mut(span)) {
            names.remove(name);
        }
        match parse(name) {
            Ok((key, Some(tso))) => {
                let emptied = self.history.get_mut(&key).is_some_and(|history| {
                    history.remove(&tso);
                    history.is_empty()
                });
                if emptied {
                    self.history.remove(&key);
                }
                if let Key::Collection { id, .. } = key {
                    self.shown_since.remove(&id);
                }
            }
            Ok((key, None)) => {
                self.plain.remove(&key);
            }
            Err(_) => {} // never taken in
        }
    }

    /// The revision at which each collection came to be shown, as far as the snapshots of their creation are kept.
    pub fn shown_since(&self) -> &BTreeMap<CollectionId, i64> {
        &self.shown_since
    }

    /// All plain keys.
    pub fn plain(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.plain.iter()
    }

    /// One plain key.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.plain.get(key)
    }

    /// Plain keys from one to another, both inclusive.
    pub fn plain_between(&self, from: Key, to: Key) -> impl Iterator<Item = (&Key, &Value)> {
        self.plain.range(from..=to)
    }

    /// What an object was at a TSO, as far as snapshots reach back.
    pub fn at(&self, key: &Key, tso: Tso) -> Option<&Value> {
        self.history.get(key)?.range(..=tso).next_back().map(|(_, value)| value)
    }

    /// What an object was before a TSO.
    pub fn before(&self, key: &Key, tso: Tso) -> Option<&Value> {
        self.history.get(key)?.range(..tso).next_back().map(|(_, value)| value)
    }

    /// What objects between two keys were at a TSO. Where the snapshots of one no longer reach back so far, the
    /// oldest that is left stands in, or the plain key: Milvus removes old snapshots, but keeps the last.
    pub fn between_at(&self, from: Key, to: Key, tso: Tso) -> BTreeMap<&Key, &Value> {
        let mut values = self.plain.range(from.clone()..=to.clone()).collect::<BTreeMap<_, _>>();
        for (key, history) in self.history.range(from..=to) {
            let known = history.range(..=tso).next_back().or_else(|| history.iter().next());
            values.extend(known.map(|(_, value)| (key, value)));
        }
        values
    }

    /// The life of a collection at a TSO, in whatever database it was then. A tombstone in one database beside a live
    /// value in another is a move, not a drop.
    pub fn collection_at(&self, id: CollectionId, tso: Tso) -> Option<Stage> {
        self.collection_stage(id, |history| history.range(..=tso).next_back())
    }

    /// The life of a collection before a TSO.
    pub fn collection_before(&self, id: CollectionId, tso: Tso) -> Option<Stage> {
        self.collection_stage(id, |history| history.range(..tso).next_back())
    }

    /// A collection that was live at a TSO, and its database.
    pub fn live_collection_at(&self, id: CollectionId, tso: Tso) -> Option<(DatabaseId, &CollectionInfo)> {
        self.history
            .range(every_database(id))
            .filter_map(|(key, history)| Some((key, history.range(..=tso).next_back()?)))
            .filter(|(_, (_, value))| value.stage() == Stage::Live)
            .max_by_key(|(_, (since, _))| **since)
            .and_then(|(key, (_, value))| match (key, value) {
                (Key::Collection { database_id, .. }, Value::Collection(info)) => {
                    Some((database(*database_id), info.as_ref()))
                }
                _ => None,
            })
    }

    fn collection_stage<'a>(
        &'a self,
        id: CollectionId,
        pick: impl Fn(&'a BTreeMap<Tso, Value>) -> Option<(&'a Tso, &'a Value)>,
    ) -> Option<Stage> {
        let picked = self.history.range(every_database(id)).filter_map(|(_, history)| pick(history));
        picked
            .max_by_key(|(since, value)| (value.stage() == Stage::Live, **since))
            .map(|(_, value)| value.stage())
    }
}

/// The database behind an id in a key.
pub(super) fn database(id: DatabaseId) -> DatabaseId {
    if id == NO_DATABASE { DEFAULT_DATABASE } else { id }
}

fn every_database(id: CollectionId) -> std::ops::RangeInclusive<Key> {
    Key::Collection { id, database_id: i64::MIN }..=Key::Collection { id, database_id: i64::MAX }
}

fn span_of(name: &str) -> Option<usize> {
    SPANS.iter().position(|(from, to)| (*from..*to).contains(&name))
}
