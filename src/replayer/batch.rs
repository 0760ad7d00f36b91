//! Row changes of one lane gathered into few large requests. Pure.
//!
//! A batch is sent as deletes, then upserts, then inserts. That order is as good as the one in which the changes came,
//! as long as no delete or upsert names a key that the batch itself upserts or inserts: such a change waits until the
//! batch has been sent.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::change::{Keys, RowChange, Rows};
use crate::error::Result;
use crate::progress::RowCounts;
use crate::rows::Key;

/// Bytes at which a batch is sent.
const BATCH_BYTES: usize = 4 << 20;
/// Keys at which a batch of deletes is sent.
const BATCH_KEYS: usize = 16_384;

/// Changes of one collection that may be sent together.
#[derive(Default)]
pub struct Batch {
    key_field: String,
    deletes: BTreeMap<Option<String>, Keys>,
    upserts: BTreeMap<Option<String>, Rows>,
    inserts: BTreeMap<Option<String>, Rows>,
    written: HashSet<Key>,
    deleted: usize,
    bytes: usize,
}

impl Batch {
    /// Nothing, for a collection with this key field.
    pub fn new(key_field: &str) -> Batch {
        Batch { key_field: key_field.to_owned(), ..Batch::default() }
    }

    /// Whether it is time to send.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.deleted >= BATCH_KEYS
    }

    /// Whether a change has to wait until this batch has been sent.
    pub fn conflicts(&self, change: &RowChange) -> Result<bool> {
        if self.written.is_empty() {
            return Ok(false);
        }
        Ok(match change {
            RowChange::Insert { .. } => false,
            RowChange::Upsert { rows, .. } => {
                rows.keys(&self.key_field)?.iter().any(|key| self.written.contains(&key))
            }
            RowChange::Delete { keys, .. } => keys.iter().any(|key| self.written.contains(&key)),
        })
    }

    /// Adds a change that does not conflict.
    pub fn push(&mut self, change: RowChange) -> Result<()> {
        match change {
            RowChange::Delete { partition, keys, .. } => {
                self.deleted += keys.len();
                match self.deletes.get_mut(&partition) {
                    Some(known) => known.append(keys)?,
                    None => drop(self.deletes.insert(partition, keys)),
                }
            }
            RowChange::Upsert { partition, rows } => {
                self.push_rows(partition, rows, |batch| &mut batch.upserts)?
            }
            RowChange::Insert { partition, rows } => {
                self.push_rows(partition, rows, |batch| &mut batch.inserts)?
            }
        }
        Ok(())
    }

    fn push_rows(
        &mut self,
        partition: Option<String>,
        rows: Rows,
        of: impl Fn(&mut Batch) -> &mut BTreeMap<Option<String>, Rows>,
    ) -> Result<()> {
        self.bytes += rows.size();
        self.written.extend(rows.keys(&self.key_field)?.iter());
        match of(self).get_mut(&partition) {
            Some(known) => known.append(rows)?,
            None => drop(of(self).insert(partition, rows)),
        }
        Ok(())
    }

    /// The changes to send, in order, and what they count. The batch is empty afterwards.
    pub fn take(&mut self) -> (Vec<RowChange>, RowCounts) {
        let Batch { key_field, deletes, upserts, inserts, .. } =
            std::mem::replace(self, Batch::new(&self.key_field.clone()));
        let count = |rows: &BTreeMap<_, Rows>| rows.values().map(|rows| rows.count as u64).sum();
        let counts = RowCounts {
            inserted: count(&inserts),
            upserted: count(&upserts),
            deleted: deletes.values().map(|keys| keys.len() as u64).sum(),
        };
        let deletes = deletes.into_iter().map(|(partition, keys)| RowChange::Delete {
            partition,
            key_field: key_field.clone(),
            keys,
        });
        let upserts = upserts.into_iter().map(|(partition, rows)| RowChange::Upsert { partition, rows });
        let inserts = inserts.into_iter().map(|(partition, rows)| RowChange::Insert { partition, rows });
        (deletes.chain(upserts).chain(inserts).collect(), counts)
    }
}

/// Keys that a replay after an unclean stop has written so far, by partition: an upsert replaces rows of its own
/// partition only. Their rows may be there already, so the first insert of a key goes out as an upsert; a second insert
/// of it, legal in Milvus, is one more row and stays an insert.
#[derive(Default)]
pub struct Rewritten(HashMap<Option<String>, HashSet<Key>>);

impl Rewritten {
    /// The changes that are right whether or not `change` has been applied before.
    pub fn safe(&mut self, change: RowChange, key_field: &str) -> Result<Vec<RowChange>> {
        match change {
            RowChange::Delete { ref partition, ref keys, .. } => {
                let from = self.0.iter_mut().filter(|(name, _)| partition.is_none() || *name == partition);
                for (_, rewritten) in from {
                    for key in keys.iter() {
                        rewritten.remove(&key);
                    }
                }
                Ok(vec![change])
            }
            RowChange::Upsert { ref partition, ref rows } => {
                self.0.entry(partition.clone()).or_default().extend(rows.keys(key_field)?.iter());
                Ok(vec![change])
            }
            RowChange::Insert { partition, rows } => {
                let rewritten = self.0.entry(partition.clone()).or_default();
                let keys = rows.keys(key_field)?;
                let (first, again): (Vec<_>, Vec<_>) =
                    keys.iter().enumerate().partition(|(_, key)| rewritten.insert(key.clone()));
                let numbers =
                    |part: &[(usize, Key)]| part.iter().map(|(number, _)| *number).collect::<Vec<_>>();
                let mut changes = Vec::new();
                if !first.is_empty() {
                    let rows = rows.take(&numbers(&first))?;
                    changes.push(RowChange::Upsert { partition: partition.clone(), rows });
                }
                if !again.is_empty() {
                    changes.push(RowChange::Insert { partition, rows: rows.take(&numbers(&again))? });
                }
                Ok(changes)
            }
        }
    }
}
