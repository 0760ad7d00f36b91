//! A base holds the state after its commit, however it came to be.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use proptest::collection::vec;
use proptest::prelude::*;

use super::living::{Row, rows_of};
use super::rows::{SMALL, action, run};
use super::sample::{Action, Recorder, manifests};
use crate::archive::base::{Limits, Report, take};
use crate::catalog::Catalog;
use crate::error::{Result, Verdict};
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::pb::log::{Commit, Hole, record::Body};
use crate::position::Seq;
use crate::store::Store;
use crate::tick::Tso;

const SCARCE: Limits = Limits { archive: SMALL, closed_bytes: 0, segment_bytes: 4 << 10 };

async fn take_at(store: &Store, at: Option<Tso>, limits: Limits) -> Result<Report> {
    take(store.clone(), at, limits, |_| {}).await
}

/// What a base holds.
async fn state(store: &Store, seq: Seq) -> (Catalog, Vec<Row>) {
    let reader = LogReader::open(store.clone()).await.unwrap();
    let base = reader.base(seq).await.unwrap().expect("a base");
    assert_eq!(Some(&base.after), reader.commit(seq).await.unwrap().as_ref());
    let (mut catalog, mut rows) = (Catalog::default(), Vec::new());
    for (number, reference) in base.segments.iter().enumerate() {
        for record in reader.segment(reference).await.unwrap().records {
            match record.body.unwrap() {
                Body::Definition(definition) => {
                    assert_eq!((number, definition.tso), (0, 0));
                    catalog.apply(&definition).unwrap();
                }
                Body::Message(message) => {
                    assert_eq!(message.tso, Tso::BASE.0);
                    rows.extend(rows_of(message.payload));
                }
            }
        }
    }
    (catalog, rows)
}

#[tokio::test]
async fn a_log_without_a_commit_is_to_wait_for_and_needs_no_later_instant() {
    let store = Store::memory();
    Recorder::new(&store).await;
    let error = take_at(&store, None, Limits::default()).await.unwrap_err();
    assert!(error.message.contains("no commit yet"), "{error}");
}

/// Rows of one key in the order in which they stand.
fn by_key(mut rows: Vec<Row>) -> Vec<String> {
    rows.sort_by(|one, other| (one.0, one.1, &one.2).cmp(&(other.0, other.1, &other.2)));
    rows.into_iter().map(|row| format!("{row:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_base_holds_what_its_commit_left_also_one_that_begins_with_another(
        actions in vec((action(), any::<bool>()), 1..80), small: bool,
    ) {
        run(async {
            let limits = if small { SCARCE } else { Limits::default() };
            let store = Store::memory();
            let mut recorder = Recorder::new(&store).await;
            let last = (Action::Commit, true);
            for (action, base) in actions.iter().chain([&last]) {
                recorder.act(action).await;
                if matches!(action, Action::Commit) && *base {
                    let report = take_at(&store, None, limits).await.unwrap();
                    assert_eq!((Seq(report.commit), report.taken), (recorder.last(), true));
                    let (catalog, rows) = state(&store, recorder.last()).await;
                    assert_eq!(catalog, recorder.catalog);
                    assert_eq!(report.rows, rows.len() as u64);
                    assert_eq!(by_key(rows), by_key(recorder.living()), "commit {}", report.commit);
                }
            }
        });
    }
}

/// A log of three commits behind a fault, the first two with a base where `twice` says so.
async fn recorded(fault: Fault, twice: bool) -> (Arc<FaultyStore>, Store, Recorder) {
    let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let store = Store::new(inner.clone(), Path::from("a/log"), "memory://".into());
    let mut recorder = Recorder::new(&store).await;
    for round in 0..3 {
        let keys = (0..12).map(|key| key * 3 + round).collect::<Vec<_>>();
        recorder.act(&Action::Insert { table: 0, partition: 0, keys, again: false }).await;
        recorder.act(&Action::Delete { table: 0, partition: None, keys: vec![round, 3], again: false }).await;
        recorder.commit().await;
        if twice && round == 1 {
            take_at(&store, None, SCARCE).await.unwrap();
        }
    }
    (Arc::new(FaultyStore::new(inner, fault)), store, recorder)
}

fn behind(faulty: &Arc<FaultyStore>) -> Store {
    Store::new(faulty.clone(), Path::from("a/log"), "memory://".into())
}

pub async fn is_whole(store: &Store, recorder: &Recorder, what: &str) {
    let (catalog, rows) = state(store, recorder.last()).await;
    assert_eq!(catalog, recorder.catalog, "{what}");
    assert_eq!(by_key(rows), by_key(recorder.living()), "{what}");
}

#[tokio::test]
async fn whatever_call_of_the_store_fails_a_base_is_whole_or_not_there_and_the_next_try_takes_it() {
    for twice in [false, true] {
        let (counted, ..) = recorded(Fault::None, twice).await;
        take_at(&behind(&counted), None, SCARCE).await.unwrap();
        let calls = counted.calls().load(Ordering::SeqCst);
        assert!(calls > 20, "{calls}");
        for k in 1..=calls {
            for fault in [Fault::StopBefore(k), Fault::StopAfter(k), Fault::LoseAnswer(k), Fault::FailOnce(k)]
            {
                let (faulty, store, recorder) = recorded(fault, twice).await;
                if let Err(error) = take_at(&behind(&faulty), None, SCARCE).await {
                    assert_eq!(error.verdict, Verdict::Retry, "{fault:?}: {error}");
                }
                let there = store.exists(&layout::base(recorder.last())).await.unwrap();
                let report = take_at(&store, None, SCARCE).await.unwrap();
                assert_eq!(report.taken, !there, "{fault:?}");
                is_whole(&store, &recorder, &format!("{fault:?}")).await;
            }
        }
    }
}

#[tokio::test]
async fn two_that_take_one_base_at_once_leave_one_and_both_report_it() {
    let (faulty, store, recorder) = recorded(Fault::None, true).await;
    super::rows::archive_all(&store, SMALL).await;
    let store_of_both = behind(&faulty);
    let (one, other) = tokio::join!(
        take_at(&store_of_both, None, SCARCE),
        take_at(&store_of_both, None, Limits::default()),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert!(one.taken != other.taken, "{one:?} {other:?}");
    assert_eq!(Report { taken: true, ..one }, Report { taken: true, ..other });
    is_whole(&store, &recorder, "of two").await;
}

#[tokio::test]
async fn a_base_is_of_the_last_manifest_that_ends_at_or_before_the_instant() {
    let (_, store, _) = recorded(Fault::None, false).await;
    let reader = LogReader::open(store.clone()).await.unwrap();
    let mut watermarks = Vec::new();
    for seq in 1..4 {
        watermarks.push(Tso(reader.commit(Seq(seq)).await.unwrap().unwrap().commit.watermark));
    }
    // Nothing is archived yet: the archive is made to end there.
    let second = take_at(&store, Some(Tso(watermarks[2].0 - 1)), Limits::default()).await.unwrap();
    assert_eq!((second.commit, second.tso), (2, watermarks[1].0));
    let error = take_at(&store, Some(watermarks[0]), Limits::default()).await.unwrap_err();
    assert!(error.message.contains("no manifest of the archive ends at or before commit 1"), "{error}");
    let error = take_at(&store, Some(Tso(1)), Limits::default()).await.unwrap_err();
    assert!(error.message.contains("no commit up to then"), "{error}");
    let third = take_at(&store, Some(Tso::MAX), Limits::default()).await.unwrap();
    assert_eq!((third.commit, third.taken), (3, true));
    let again = take_at(&store, None, Limits::default()).await.unwrap();
    assert_eq!(again, Report { taken: false, ..third });
}

#[tokio::test]
async fn a_base_that_begins_with_another_needs_no_file_before_it() {
    let (_, store, recorder) = recorded(Fault::None, true).await;
    for named in manifests(&store).await.iter().flat_map(|manifest| &manifest.files) {
        store.delete(&named.object.as_ref().unwrap().key).await.unwrap();
    }
    take_at(&store, None, SCARCE).await.unwrap();
    is_whole(&store, &recorder, "without files").await;
}

#[tokio::test]
async fn a_state_that_the_log_does_not_hold_becomes_no_base() {
    let hole = Hole { channel: "dml".into(), reason: "lost".into(), ..Hole::default() };
    for (change, says) in [
        (Commit { opens_at: u64::MAX >> 1, ..Commit::default() }, "and the log opens at"),
        (Commit { holes: vec![hole], ..Commit::default() }, "records a hole on channel dml: lost"),
    ] {
        let (_, store, mut recorder) = recorded(Fault::None, false).await;
        recorder.act(&Action::Upsert { table: 0, partition: 0, keys: vec![1] }).await;
        let opens_at = |draft: &Commit| draft.opens_at.max(change.opens_at);
        recorder
            .commit_with(|draft| Commit { opens_at: opens_at(&draft), holes: change.holes.clone(), ..draft })
            .await;
        let error = take_at(&store, None, Limits::default()).await.unwrap_err();
        assert!(error.exit_code() == 3 && error.message.contains(says), "{error}");
        assert!(store.list(layout::BASES, None).await.unwrap().is_empty());
    }
}
