//! How far a replayer has come: numbered objects by put-if-absent, so that two replayers on one task cannot both go on.

use super::damage::Damage;
use super::envelope::{self, Kind};
use super::layout;
use super::store::{Created, Store};
use crate::error::{Error, Result};
use crate::pb::log::Checkpoint;
use crate::position::Seq;

/// Checkpoints that stay.
const KEPT: usize = 2;

/// The checkpoints of one replayer.
#[derive(Debug)]
pub struct Checkpoints {
    store: Store,
    folder: String,
    /// Numbers that are in the store, rising.
    numbers: Vec<u64>,
}

impl Checkpoints {
    /// The checkpoints of the task `reader`, and the last one. A replayer that starts saves one at once: that ends
    /// any other that still runs on the task.
    pub async fn open(store: Store, reader: &str) -> Result<(Checkpoints, Option<Checkpoint>)> {
        let folder = layout::reader(reader)?;
        let numbers = numbers(&store, &folder, None).await?;
        let last = match numbers.last() {
            None => None,
            Some(&last) => {
                let key = layout::checkpoint(&folder, last);
                let bytes = store.get(&key).await?.ok_or_else(|| {
                    Error::retry(format!("{key} has just been replaced in {store}"))
                        .advice("another replayer is at work")
                })?;
                Some(open(&folder, last, bytes)?)
            }
        };
        Ok((Checkpoints { store, folder, numbers }, last))
    }

    /// Saves the next checkpoint; its number is filled in here. `Fenced` when another replayer has saved one since.
    /// After a `Retry` error the same or a newer one may be saved. Cancel safe.
    pub async fn save(&mut self, checkpoint: Checkpoint) -> Result<()> {
        loop {
            let n = self.numbers.last().map_or(1, |last| last.saturating_add(1));
            let sealed = envelope::seal(Kind::Checkpoint, &Checkpoint { n, ..checkpoint.clone() });
            match self.store.create(&layout::checkpoint(&self.folder, n), sealed).await? {
                Created::Yes => {
                    self.no_later_one(n).await?;
                    self.numbers.push(n);
                    self.delete_old().await;
                    return Ok(());
                }
                // An earlier save of this replayer, whose answer was lost.
                Created::No(existing)
                    if open(&self.folder, n, existing.clone())?.replayer == checkpoint.replayer =>
                {
                    self.numbers.push(n);
                }
                Created::No(_) => return Err(self.fenced(n)),
            }
        }
    }

    /// A replayer that slept may find its slot free again because the one that took over has deleted it since.
    async fn no_later_one(&self, n: u64) -> Result<()> {
        match numbers(&self.store, &self.folder, Some(n)).await?.last() {
            Some(&later) => Err(self.fenced(later)),
            None => Ok(()),
        }
    }

    fn fenced(&self, n: u64) -> Error {
        Error::fenced(format!(
            "another replayer has saved {} in {}",
            layout::checkpoint(&self.folder, n),
            self.store
        ))
        .advice("two replayers run on this task: stop one of the two")
    }

    async fn delete_old(&mut self) {
        while self.numbers.len() > KEPT
            && let Some(&n) = self.numbers.first()
        {
            let key = layout::checkpoint(&self.folder, n);
            if let Err(error) = self.store.delete(&key).await {
                tracing::warn!(%error, "an old checkpoint stays");
            }
            self.numbers.remove(0);
        }
    }
}

async fn numbers(store: &Store, folder: &str, after: Option<u64>) -> Result<Vec<u64>> {
    let after = after.map(|n| layout::checkpoint(folder, n));
    let listed = store.list(folder, after.as_deref()).await?;
    Ok(listed.iter().filter_map(|(key, _)| layout::parse_checkpoint(folder, key)).collect())
}

/// The commit after which a replayer needs everything; none: it has come to the end that it was given, and needs nothing.
pub fn pinned(checkpoint: &Checkpoint) -> Option<Seq> {
    let done = checkpoint.intent_tso > 0 && checkpoint.applied_tso == checkpoint.intent_tso;
    // Within a base it needs this and what follows, nothing of what the base stands for.
    let stands = checkpoint.ack.as_ref().map_or(0, |ack| ack.seq).max(checkpoint.base);
    // What is left out is not known to the catalogs of the log: each start goes through the definitions before it again.
    let needs = if checkpoint.skip.is_empty() { stands } else { stands.min(checkpoint.rehearsed_from) };
    (!done).then_some(Seq(needs))
}

/// The checkpoint of a reader of this log in an object's bytes.
pub(super) fn open_in(log_id: &str, folder: &str, n: u64, bytes: bytes::Bytes) -> Result<Checkpoint, Damage> {
    let checkpoint = open(folder, n, bytes)?;
    Damage::check_log(&layout::checkpoint(folder, n), &checkpoint.log_id, log_id)?;
    Ok(checkpoint)
}

/// The checkpoint in an object's bytes.
fn open(folder: &str, n: u64, bytes: bytes::Bytes) -> Result<Checkpoint, Damage> {
    let key = layout::checkpoint(folder, n);
    let checkpoint: Checkpoint = envelope::open(Kind::Checkpoint, &key, bytes)?;
    if checkpoint.n != n {
        return Err(Damage::new(&key, None, format!("is checkpoint {}", checkpoint.n)));
    }
    Ok(checkpoint)
}
