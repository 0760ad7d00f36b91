//! Objects that no commit names, found stretch by stretch, so that the names in memory do not grow with the log.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::log::layout;
use crate::log::store::Store;
use crate::position::Seq;

/// Commits of a stretch.
const STRETCH: u64 = 100_000;

/// Objects of the stretch that no commit has named so far.
#[derive(Default)]
pub struct Unnamed {
    keys: BTreeSet<String>,
    /// The first commit of the next stretch.
    next: Seq,
}

impl Unnamed {
    /// Whether a stretch begins with a commit.
    pub fn begins_at(&self, seq: Seq) -> bool {
        seq >= self.next
    }

    /// Takes in what is no object of a log at all.
    pub fn add(&mut self, key: &str) {
        self.keys.insert(key.to_owned());
    }

    /// Begins a stretch: lists the segments and catalogs that were written for its commits; `strange`: also what has
    /// no such name.
    pub async fn list(&mut self, store: &Store, first: Seq, last: Seq, strange: bool) -> Result<()> {
        self.next = Seq(first.0.saturating_add(STRETCH));
        let end = if self.next > last { Seq(u64::MAX) } else { self.next };
        for folder in [layout::SEGMENTS, layout::CATALOGS] {
            let see = |key: &str, _| {
                if written_for(key).map_or(strange, |seq| (first..end).contains(&seq)) {
                    self.keys.insert(key.to_owned());
                }
            };
            store.scan(folder, None, see).await?;
        }
        Ok(())
    }

    /// A commit names this object.
    pub fn is_named(&mut self, key: &str) {
        self.keys.remove(key);
    }

    /// Ends a stretch: what none of its commits has named. What was pruned meanwhile is left out, and what was committed
    /// after `last`.
    pub async fn take(&mut self, store: &Store, pruned: Seq, last: Seq) -> Result<Vec<String>> {
        let mut unnamed = Vec::new();
        for key in std::mem::take(&mut self.keys) {
            let passes = match written_for(&key) {
                Some(seq) if seq > last => store.exists(&layout::commit(seq)).await?,
                Some(seq) => seq <= pruned,
                None => false,
            };
            if !passes {
                unnamed.push(key);
            }
        }
        Ok(unnamed)
    }
}

fn written_for(key: &str) -> Option<Seq> {
    layout::parse_segment(key).or_else(|| layout::parse_catalog(key)).map(|named| named.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::layout::Named;
    use bytes::Bytes;

    #[tokio::test]
    async fn each_stretch_has_its_own_names_and_the_last_one_all_that_lie_beyond() {
        let store = Store::memory();
        let key = |seq| layout::segment(Named::new(1, Seq(seq), &[0; 32]));
        for seq in [1, STRETCH, STRETCH + 1, STRETCH + 7, STRETCH + 8] {
            store.put(&key(seq), Bytes::from_static(b"x")).await.unwrap();
        }
        let last = Seq(STRETCH + 5);
        let mut unnamed = Unnamed::default();
        assert!(unnamed.begins_at(Seq(1)));
        unnamed.list(&store, Seq(1), last, true).await.unwrap();
        unnamed.is_named(&key(1));
        assert_eq!(unnamed.take(&store, Seq(0), last).await.unwrap(), [key(STRETCH)]);
        assert!(!unnamed.begins_at(Seq(STRETCH)) && unnamed.begins_at(Seq(STRETCH + 1)));
        unnamed.list(&store, Seq(STRETCH + 1), last, false).await.unwrap();
        // One more commit came while the log was read.
        store.put(&layout::commit(Seq(STRETCH + 7)), Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(unnamed.take(&store, Seq(0), last).await.unwrap(), [key(STRETCH + 1), key(STRETCH + 8)]);
    }
}
