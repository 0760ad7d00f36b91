//! Finding the last of numbered objects without listing them all: a day at full speed has 170,000 commits.

use super::layout;
use super::store::Store;
use crate::error::{Error, Result};
use crate::position::Seq;

/// Objects that stand in one folder, by put-if-absent and with numbers from 1 without holes.
pub(crate) struct Numbered {
    what: &'static str,
    folder: &'static str,
    key: fn(u64) -> String,
    parse: fn(&str) -> Option<u64>,
}

/// The commits.
const COMMITS: Numbered = Numbered {
    what: "commits",
    folder: layout::COMMITS,
    key: |n| layout::commit(Seq(n)),
    parse: |key| layout::parse_commit(key).map(|seq| seq.0),
};

/// The floors.
pub(crate) const FLOORS: Numbered =
    Numbered { what: "floors", folder: layout::FLOOR, key: layout::floor, parse: layout::parse_floor };

/// The manifests of the archive.
pub(crate) const MANIFESTS: Numbered = Numbered {
    what: "manifests",
    folder: layout::MANIFESTS,
    key: layout::manifest,
    parse: layout::parse_manifest,
};

impl Numbered {
    /// Number of the last one. `known` is one that exists, or 0. Those that stand beyond a missing one are not reached.
    pub(crate) async fn last(&self, store: &Store, known: u64) -> Result<u64> {
        let exists = |n| async move { store.exists(&(self.key)(n)).await };
        let (mut low, mut step) = (known, 1u64);
        let mut high = loop {
            let next = low.saturating_add(step);
            if !exists(next).await? {
                break next;
            }
            (low, step) = (next, step.saturating_mul(2));
        };
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if exists(middle).await? {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Refuses to go on after `last` where a listing shows others beyond it: the one in between is lost, and its slot
    /// must not be taken by another.
    pub(crate) async fn nothing_beyond(&self, store: &Store, last: u64) -> Result<()> {
        let beyond = store.list(self.folder, Some(&(self.key)(last))).await?;
        let Some(beyond) = beyond.iter().filter_map(|(key, _)| (self.parse)(key)).max() else {
            return Ok(());
        };
        // Another writer may have gone on since `last` was found.
        let next = (self.key)(last.saturating_add(1));
        if store.exists(&next).await? {
            return Ok(());
        }
        let what = self.what;
        Err(Error::refused(format!(
            "object {next} is missing from {store}, though {what} up to {beyond} are there"
        ))
        .advice("bring the object back from a copy of the bucket"))
    }
}

/// The last commit of the log: see [`Numbered::last`].
pub async fn last_commit(store: &Store, known: Seq) -> Result<Seq> {
    COMMITS.last(store, known.0).await.map(Seq)
}

/// Refuses to go on after a commit: see [`Numbered::nothing_beyond`].
pub async fn nothing_beyond(store: &Store, last: Seq) -> Result<()> {
    COMMITS.nothing_beyond(store, last.0).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[tokio::test]
    async fn the_last_commit_is_found_from_any_known_one() {
        let store = Store::memory();
        for seq in 0..40 {
            for known in 0..=seq {
                assert_eq!(last_commit(&store, Seq(known)).await.unwrap(), Seq(seq), "from {known}");
            }
            store.put(&layout::commit(Seq(seq + 1)), Bytes::from_static(b"x")).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_lost_commit_is_named_and_its_slot_is_not_free() {
        let store = Store::memory();
        for seq in [1, 2, 4] {
            store.put(&layout::commit(Seq(seq)), Bytes::from_static(b"x")).await.unwrap();
        }
        let error = nothing_beyond(&store, Seq(2)).await.unwrap_err();
        assert!(error.message.contains("commits/00000000000000000003.pb is missing"), "{error}");
    }
}
