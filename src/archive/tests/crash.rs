//! The store fails at every call in turn; two archive at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::rows::{SMALL, archive_all, checked};
use super::sample::{Action, Recorder, archived, manifests};
use crate::archive::archiver::{Report, archive};
use crate::error::{Result, Verdict};
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::store::Store;

/// A log whose rows need several files and manifests, and one behind a fault.
async fn recorded(fault: Fault) -> (Arc<FaultyStore>, Store, Recorder) {
    let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let store = Store::new(inner.clone(), Path::from("a/log"), "memory://".into());
    let mut recorder = Recorder::new(&store).await;
    for round in 0..3 {
        for table in 0..2 {
            let keys = (0..12).map(|key| key * 5 + round).collect::<Vec<_>>();
            recorder.act(&Action::Insert { table, partition: 0, keys, again: false }).await;
            recorder.act(&Action::Upsert { table, partition: 0, keys: vec![5, 10] }).await;
            recorder.act(&Action::Delete { table, partition: None, keys: vec![5], again: false }).await;
        }
        recorder.commit().await;
    }
    (Arc::new(FaultyStore::new(inner, fault)), store, recorder)
}

async fn archive_behind(faulty: &Arc<FaultyStore>) -> Result<Report> {
    let store = Store::new(faulty.clone(), Path::from("a/log"), "memory://".into());
    archive(store, SMALL, |_, _, _| {}).await
}

async fn calls() -> u64 {
    let (faulty, store, _) = recorded(Fault::None).await;
    let calls = faulty.calls();
    archive_behind(&faulty).await.unwrap();
    assert!(manifests(&store).await.len() > 1);
    calls.load(Ordering::SeqCst)
}

async fn is_whole(store: &Store, recorder: &Recorder, what: &str) {
    assert_eq!(archived(store).await, recorder.oracle(), "{what}");
    assert_eq!(checked(store).await.1, Vec::<String>::new(), "{what}");
}

#[tokio::test]
async fn whatever_call_an_archiver_dies_at_the_next_one_leaves_no_gap_and_no_double() {
    let calls = calls().await;
    assert!(calls > 20, "{calls}");
    for k in 1..=calls {
        for fault in [Fault::StopBefore(k), Fault::StopAfter(k)] {
            let (dying, store, recorder) = recorded(fault).await;
            archive_behind(&dying).await.expect_err("dies");
            archive_all(&store, SMALL).await;
            is_whole(&store, &recorder, &format!("{fault:?}")).await;
        }
    }
}

#[tokio::test]
async fn a_lost_answer_or_a_failed_call_costs_at_most_another_run() {
    for k in 1..=calls().await {
        for fault in [Fault::LoseAnswer(k), Fault::FailOnce(k)] {
            let (faulty, store, recorder) = recorded(fault).await;
            if let Err(error) = archive_behind(&faulty).await {
                assert_eq!(error.verdict, Verdict::Retry, "{fault:?}: {error}");
            }
            archive_all(&store, SMALL).await;
            is_whole(&store, &recorder, &format!("{fault:?}")).await;
        }
    }
}

#[tokio::test]
async fn of_two_archivers_at_once_one_has_each_slot_and_the_other_is_told() {
    let (faulty, store, recorder) = recorded(Fault::None).await;
    let (one, other) = tokio::join!(archive_behind(&faulty), archive_behind(&faulty));
    let fenced = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(!fenced.is_empty() && fenced.iter().all(|error| error.verdict == Verdict::Fenced), "{fenced:?}");
    assert!(
        fenced.iter().all(|error| error.message.contains("another archiver has written archive/manifests/0"))
    );
    archive_all(&store, SMALL).await;
    is_whole(&store, &recorder, "two at once").await;
}
