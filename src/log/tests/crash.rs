//! The store fails at every call in turn.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::sample::{Replayed, record, replay};
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::log::store::Store;
use crate::log::verify::{Scope, verify};

const MESSAGES: i64 = 7;

fn stores(fault: Fault) -> (Store, Store) {
    let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let faulty = Arc::new(FaultyStore::new(inner.clone(), fault));
    let store = |inner| Store::new(inner, Path::from("a/log"), "memory://".into());
    (store(faulty), store(inner))
}

/// Number of calls that recording from the start takes, and again from the end.
async fn calls() -> u64 {
    let faulty = Arc::new(FaultyStore::new(Arc::new(InMemory::new()), Fault::None));
    let calls = faulty.calls();
    record(&Store::new(faulty, Path::ROOT, "memory://".into()), MESSAGES).await.unwrap();
    calls.load(Ordering::SeqCst)
}

#[tokio::test]
async fn whatever_call_a_recorder_dies_at_the_next_one_leaves_no_gap_and_no_double() {
    let calls = calls().await;
    assert!(calls > 12);
    for k in 1..=calls {
        for fault in [Fault::StopBefore(k), Fault::StopAfter(k)] {
            let (dying, store) = stores(fault);
            record(&dying, MESSAGES).await.expect_err("dies");
            record(&store, MESSAGES).await.unwrap();
            assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES), "{fault:?}");
            assert_eq!(verify(store, Scope::Whole, |_, _| ready(())).await.unwrap().damages, [], "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_recorder_that_takes_over_may_die_at_any_call_too() {
    for k in 1..=calls().await {
        for fault in [Fault::StopBefore(k), Fault::StopAfter(k)] {
            let (dying, store) = stores(fault);
            record(&store, 3).await.unwrap();
            let _ = record(&dying, MESSAGES).await;
            record(&store, MESSAGES).await.unwrap();
            assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_lost_answer_or_a_failed_call_costs_a_try_and_never_a_second_commit() {
    let calls = calls().await;
    for k in 1..=calls {
        for fault in [Fault::LoseAnswer(k), Fault::FailOnce(k)] {
            let (faulty, store) = stores(fault);
            assert_eq!(record(&faulty, MESSAGES).await.unwrap(), 4, "{fault:?}");
            assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES), "{fault:?}");
            let report = verify(store, Scope::Whole, |_, _| ready(())).await.unwrap();
            assert_eq!((report.commits, report.damages, report.orphans), (4, vec![], vec![]), "{fault:?}");

            let (faulty, store) = stores(fault);
            record(&store, 3).await.unwrap();
            assert_eq!(record(&faulty, MESSAGES).await.unwrap(), 2, "{fault:?}");
            assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES), "{fault:?}");
        }
    }
}
