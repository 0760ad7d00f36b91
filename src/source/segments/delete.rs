//! Deletes of a segment. A delete log's payload is a column of texts, one a deleted key: JSON such as
//! `{"pk":1,"ts":470656466589581314,"pkType":5}`, or `1,470656466589581314` of Milvus before 2.2.

use std::collections::HashMap;

use serde::Deserialize;

use super::event::{File, damaged};
use super::payload::{self, Values};
use crate::change::Keys;
use crate::error::Result;
use crate::rows::Key;
use crate::tick::Tso;

/// The content of one delta log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedKeys {
    /// The keys; one may stand there more than once.
    pub keys: Keys,
    /// When each was deleted.
    pub tsos: Vec<Tso>,
}

/// What is deleted of a segment: the last delete of each key.
#[derive(Clone, Debug, Default)]
pub struct Deletes(HashMap<Key, Tso>);

impl Deletes {
    /// Takes in a delta log.
    pub fn add(&mut self, deleted: &DeletedKeys) {
        for (key, tso) in deleted.keys.iter().zip(&deleted.tsos) {
            let last = self.0.entry(key).or_default();
            *last = (*last).max(*tso);
        }
    }

    /// Whether a row is deleted: a row with the TSO of the delete is the other half of an upsert and stays.
    pub fn cover(&self, key: &Key, tso: Tso) -> bool {
        self.0.get(key).is_some_and(|deleted| tso < *deleted)
    }
}

#[derive(Deserialize)]
struct Entry {
    pk: Pk,
    ts: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pk {
    Int(i64),
    Text(String),
}

/// Reads a delta log of `entries` keys, where that is known; `text_keys`: they are VarChar.
pub(super) fn read(path: &str, file: &File, entries: Option<usize>, text_keys: bool) -> Result<DeletedKeys> {
    let Values::Bytes(texts) = payload::read(path, &file.payloads, entries)?.values else {
        return Err(damaged(path, 0, "deletes that are no texts"));
    };
    let mut keys = if text_keys { Keys::Text(Vec::new()) } else { Keys::Int(Vec::new()) };
    let mut tsos = Vec::with_capacity(texts.len());
    for (number, text) in texts.iter().enumerate() {
        let wrong = || damaged(path, 0, format!("entry {number} is no delete of a key of this collection"));
        let Entry { pk, ts } = entry(text, text_keys).ok_or_else(wrong)?;
        match (&mut keys, pk) {
            (Keys::Int(keys), Pk::Int(key)) => keys.push(key),
            (Keys::Text(keys), Pk::Text(key)) => keys.push(key),
            _ => return Err(wrong()),
        }
        tsos.push(Tso(ts));
    }
    Ok(DeletedKeys { keys, tsos })
}

fn entry(text: &[u8], text_keys: bool) -> Option<Entry> {
    if let Ok(entry) = serde_json::from_slice(text) {
        return Some(entry);
    }
    let (key, tso) = std::str::from_utf8(text).ok()?.rsplit_once(',')?;
    let pk = if text_keys { Pk::Text(key.to_owned()) } else { Pk::Int(key.parse().ok()?) };
    Some(Entry { pk, ts: tso.parse().ok()? })
}
