//! Finding the last commit without listing them all: a day at full speed has 170,000.

use super::layout;
use super::store::Store;
use crate::error::{Error, Result};
use crate::position::Seq;

/// The last commit of the log. `known` is one that exists, or 0. Commits that stand beyond a missing one are not reached.
pub async fn last_commit(store: &Store, known: Seq) -> Result<Seq> {
    let exists = |seq| async move { store.exists(&layout::commit(Seq(seq))).await };
    let (mut low, mut step) = (known.0, 1u64);
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
    Ok(Seq(low))
}

/// Refuses to go on after `last` where a listing shows commits beyond it: the one in between is lost, and its slot
/// must not be taken by another.
pub async fn nothing_beyond(store: &Store, last: Seq) -> Result<()> {
    let beyond = store.list(layout::COMMITS, Some(&layout::commit(last))).await?;
    let Some(beyond) = beyond.iter().filter_map(|(key, _)| layout::parse_commit(key)).max() else {
        return Ok(());
    };
    // Another writer may have gone on since `last` was found.
    let next = layout::commit(last.next());
    if store.exists(&next).await? {
        return Ok(());
    }
    Err(Error::refused(format!(
        "object {next} is missing from {store}, though commits up to {beyond} are there"
    ))
    .advice("bring the object back from a copy of the bucket"))
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
