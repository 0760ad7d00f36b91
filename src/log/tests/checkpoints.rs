//! Checkpoints and the replayers that save them.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::error::Verdict;
use crate::log::checkpoint::Checkpoints;
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::log::store::Store;
use crate::pb::log::Checkpoint;

fn at(replayer: u8, applied_tso: u64) -> Checkpoint {
    Checkpoint { replayer: Bytes::copy_from_slice(&[replayer; 16]), applied_tso, ..Default::default() }
}

async fn last(store: &Store) -> Option<(u64, u64)> {
    let (_, last) = Checkpoints::open(store.clone(), "a").await.unwrap();
    last.map(|last| (last.n, last.applied_tso))
}

#[tokio::test]
async fn the_last_checkpoint_is_found_again_and_old_ones_go() {
    let store = Store::memory();
    let (mut checkpoints, none) = Checkpoints::open(store.clone(), "a").await.unwrap();
    assert_eq!(none, None);
    for tso in 1..=5 {
        checkpoints.save(at(1, tso)).await.unwrap();
        assert_eq!(last(&store).await, Some((tso, tso)));
    }
    let kept = store.list("readers", None).await.unwrap();
    assert_eq!(
        kept.iter().map(|(key, _)| &key[10..]).collect::<Vec<_>>(),
        ["00000000000000000004.pb", "00000000000000000005.pb"]
    );
    assert_eq!(Checkpoints::open(store, "b").await.unwrap().1, None);
}

#[tokio::test]
async fn the_first_to_save_stays_and_the_other_replayer_is_fenced() {
    let store = Store::memory();
    let (mut one, _) = Checkpoints::open(store.clone(), "a").await.unwrap();
    let (mut two, _) = Checkpoints::open(store.clone(), "a").await.unwrap();
    two.save(at(2, 1)).await.unwrap();
    assert_eq!(one.save(at(1, 1)).await.unwrap_err().verdict, Verdict::Fenced);
    two.save(at(2, 2)).await.unwrap();
    assert_eq!(last(&store).await, Some((2, 2)));
}

#[tokio::test]
async fn a_replayer_that_wakes_after_its_slot_was_deleted_is_fenced() {
    let store = Store::memory();
    let (mut asleep, _) = Checkpoints::open(store.clone(), "a").await.unwrap();
    asleep.save(at(1, 1)).await.unwrap();
    let (mut awake, _) = Checkpoints::open(store.clone(), "a").await.unwrap();
    for tso in 2..10 {
        awake.save(at(2, tso)).await.unwrap();
    }
    assert_eq!(asleep.save(at(1, 2)).await.unwrap_err().verdict, Verdict::Fenced);
    assert_eq!(last(&store).await, Some((9, 9)));
}

#[tokio::test]
async fn whatever_answer_is_lost_a_save_is_tried_again_and_nothing_goes_back() {
    for k in 1..20 {
        for fault in [Fault::LoseAnswer(k), Fault::FailOnce(k)] {
            let inner = Arc::new(InMemory::new());
            let store = |inner| Store::new(inner, Path::ROOT, "memory://".into());
            let faulty = store(Arc::new(FaultyStore::new(inner.clone(), fault)));
            let mut checkpoints = match Checkpoints::open(faulty.clone(), "a").await {
                Ok((checkpoints, _)) => checkpoints,
                Err(_) => Checkpoints::open(faulty, "a").await.unwrap().0,
            };
            for tso in 1..=4 {
                if let Err(error) = checkpoints.save(at(1, tso)).await {
                    assert!(error.is_retry(), "{fault:?}: {error}");
                    checkpoints.save(at(1, tso + 100)).await.unwrap();
                    assert_eq!(last(&store(inner.clone())).await.unwrap().1, tso + 100, "{fault:?}");
                } else {
                    assert_eq!(last(&store(inner.clone())).await.unwrap().1, tso, "{fault:?}");
                }
            }
        }
    }
}
