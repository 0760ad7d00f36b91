//! Archives of logs that are pruned.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::base::is_whole;
use super::rows::{SMALL, archive_all, checked};
use super::sample::{Action, Recorder};
use crate::archive::archiver::archive;
use crate::archive::base;
use crate::error::{Result, Verdict};
use crate::log::base::{Base, seal};
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::log::layout;
use crate::log::prune::{Keep, Report, prune};
use crate::log::reader::LogReader;
use crate::log::segment::SegmentWriter;
use crate::log::tests::prune::steps;
use crate::pb::log::{self as pb, definition::Change};
use crate::position::Seq;
use crate::store::Store;
use crate::tick::Tso;

const KEEP: Keep = Keep { window: Duration::ZERO, bases: 1 };

async fn step(recorder: &mut Recorder, store: &Store, round: i64) {
    let keys = (0..12).map(|key| key * 5 + round).collect();
    recorder.act(&Action::Insert { table: 0, partition: 0, keys, again: false }).await;
    recorder.commit().await;
    archive_all(store, SMALL).await;
}

/// As far as an archive is concerned: the definitions without rows.
async fn take_base(store: &Store, seq: Seq) {
    let reader = LogReader::open(store.clone()).await.unwrap();
    let after = reader.existing(seq).await.unwrap();
    let catalog = reader.catalog(after.commit.catalog.as_ref().unwrap()).await.unwrap();
    let (log_id, epoch) = (reader.log_id().to_owned(), after.commit.epoch);
    let header = pb::SegmentHeader { log_id, epoch, seq: seq.0, channels: vec![] };
    let mut segment = SegmentWriter::new(header);
    let databases = catalog.databases.into_values().map(Change::CreateDatabase);
    for change in databases.chain(catalog.collections.into_values().map(Change::CreateCollection)) {
        segment.definition(&pb::Definition { tso: 0, exact: true, change: Some(change) });
    }
    let (bytes, counted) = segment.finish();
    let key = layout::base_segment(seq, counted.digest.first_chunk().unwrap());
    store.put(&key, bytes).await.unwrap();
    let segments = vec![pb::ObjectRef { key, ..counted }];
    let base = Base { after, segments, wall_time_ms: 0, incomplete: Default::default() };
    store.put(&layout::base(seq), seal(reader.log_id(), &base)).await.unwrap();
}

async fn pruned(store: &Store) -> Report {
    prune(store.clone(), KEEP, false, |_| {}).await.unwrap()
}

/// Five commits, each with a manifest or more of its own, and the base of one.
async fn recorded(base: u64) -> (Arc<InMemory>, Store, Recorder) {
    let (inner, store, recorder) = archived().await;
    take_base(&store, Seq(base)).await;
    (inner, store, recorder)
}

/// The same without a base.
async fn archived() -> (Arc<InMemory>, Store, Recorder) {
    let inner = Arc::new(InMemory::new());
    let store = Store::new(inner.clone(), Path::from("a/log"), "memory://".into());
    let mut recorder = Recorder::new(&store).await;
    for round in 0..5 {
        step(&mut recorder, &store, round).await;
    }
    (inner, store, recorder)
}

/// The manifests that are there.
async fn numbers(store: &Store) -> Vec<u64> {
    let keys = keys(store).await;
    keys.iter().filter_map(|key| layout::parse_manifest(key)).collect()
}

async fn keys(store: &Store) -> Vec<String> {
    store.list("", None).await.unwrap().into_iter().map(|(key, _)| key).collect()
}

#[tokio::test]
async fn the_archive_begins_with_the_log_and_goes_on() {
    for base in [3, 5] {
        let (_, store, mut recorder) = recorded(base).await;
        let report = pruned(&store).await;
        assert_eq!(report.removed.manifests, base);
        assert!(report.removed.files >= base, "{report:?}");
        assert_eq!(checked(&store).await.1, Vec::<String>::new(), "base {base}");
        for round in 5..7 {
            step(&mut recorder, &store, round).await;
        }
        let (archived, damages) = checked(&store).await;
        assert_eq!((damages, archived.to, archived.orphans), (vec![], 7, 0), "base {base}");
        assert_eq!(numbers(&store).await.first(), Some(&(base + 1)));
    }
}

#[tokio::test]
async fn a_manifest_with_rows_of_commits_that_stay_stays_too() {
    let store = Store::memory();
    let mut recorder = Recorder::new(&store).await;
    for round in 0..3 {
        let keys = vec![round];
        recorder.act(&Action::Insert { table: 0, partition: 0, keys, again: false }).await;
        recorder.commit().await;
    }
    archive_all(&store, Default::default()).await;
    take_base(&store, Seq(2)).await;
    let report = pruned(&store).await;
    assert_eq!((report.removed.commits, report.removed.manifests), (2, 0));
    let (archived, damages) = checked(&store).await;
    assert_eq!((damages, archived.to), (vec![], 3));
}

#[tokio::test]
async fn wherever_a_prune_is_stopped_the_next_one_takes_the_rest_of_the_archive() {
    let (recorded, ..) = recorded(3).await;
    let prune_behind = async |fault| {
        let inner: Arc<dyn ObjectStore> = Arc::new(recorded.fork());
        let faulty = FaultyStore::new(inner.clone(), fault);
        let calls = faulty.calls();
        let store = |inner| Store::new(inner, Path::from("a/log"), "memory://".into());
        let ended = prune(store(Arc::new(faulty)), KEEP, false, |_| {}).await;
        (store(inner), ended.is_ok(), calls.load(Ordering::SeqCst))
    };
    let (store, ended, calls) = prune_behind(Fault::None).await;
    let end = keys(&store).await;
    assert!(ended && calls > 20, "{calls}");
    for k in 1..=calls {
        for fault in [Fault::StopBefore(k), Fault::StopAfter(k)] {
            let (store, ended, _) = prune_behind(fault).await;
            assert!(!ended, "{fault:?}");
            assert_eq!(checked(&store).await.1, Vec::<String>::new(), "{fault:?}");
            pruned(&store).await;
            assert_eq!(keys(&store).await, end, "{fault:?}");
            assert_eq!(checked(&store).await.1, Vec::<String>::new(), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn what_a_killed_archiver_has_left_below_the_floor_goes_and_what_lies_above_stays() {
    let (_, store, _) = recorded(3).await;
    let third = LogReader::open(store.clone()).await.unwrap().existing(Seq(3)).await.unwrap();
    let watermark = third.commit.watermark;
    let file =
        |tsos: [u64; 2], digest| layout::archive_file(["default", "docs"], 7, tsos.map(Tso), &[digest; 32]);
    let left = [file([1, 1], 1), file([1, watermark], 2)];
    let stay = [
        file([watermark, watermark + 1], 3),
        "archive/default/docs-7/notes.txt".to_owned(),
        "archive/default/docs-7/notes.parquet".to_owned(),
    ];
    for key in left.iter().chain(&stay) {
        store.put(key, Bytes::from_static(b"left")).await.unwrap();
    }
    let dry = prune(store.clone(), KEEP, true, |_| {}).await.unwrap();
    let removed = pruned(&store).await.removed;
    assert_eq!(dry.removed, removed);
    let there = keys(&store).await;
    assert!(left.iter().all(|key| !there.contains(key)) && stay.iter().all(|key| there.contains(key)));
    let (archived, damages) = checked(&store).await;
    assert_eq!((damages, archived.orphans), (vec![], stay.len() as u64));
}

#[tokio::test]
async fn a_file_that_ends_below_the_floor_stays_with_the_manifest_that_names_it() {
    let store = Store::memory();
    let mut recorder = Recorder::new(&store).await;
    for table in [0, 0, 1] {
        recorder.act(&Action::Insert { table, partition: 0, keys: vec![1], again: false }).await;
        recorder.commit().await;
    }
    archive_all(&store, Default::default()).await;
    take_base(&store, Seq(2)).await;
    let report = pruned(&store).await;
    assert_eq!((report.removed.commits, report.removed.files), (2, 0));
    assert_eq!(checked(&store).await.1, Vec::<String>::new());
}

/// How far a prune is.
#[derive(Clone, Copy, PartialEq)]
enum Prune {
    /// Manifests go last.
    BeforeManifests,
    Over,
}

/// Somebody is at work while the base of commit 3 is taken and all before it is pruned: after each of his steps.
async fn overtaken<F, Fut>(work: F, prune: Prune, check: impl AsyncFn(&Store, &Recorder))
where
    F: Fn(Store) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let (filled, store, mut recorder) = archived().await;
    let third = LogReader::open(store).await.unwrap().existing(Seq(3)).await.unwrap();
    recorder.act(&Action::Delete { table: 0, partition: None, keys: vec![5, 11], again: false }).await;
    recorder.commit().await;
    for within in 0.. {
        let inner: Arc<dyn ObjectStore> = Arc::new(filled.fork());
        let store = |inner| Store::new(inner, Path::from("a/log"), "memory://".into());
        let turns = store(Arc::new(FaultyStore::new(inner.clone(), Fault::None)));
        let store = store(inner);
        let mut working = Box::pin(work(turns));
        let ended = steps(&mut working, within).await;
        base::take(store.clone(), Some(Tso(third.commit.watermark)), Default::default(), |_| {})
            .await
            .unwrap();
        let is_over = ended.is_some();
        let mut manifests = Vec::new();
        for n in numbers(&store).await {
            let key = layout::manifest(n);
            let bytes = store.get(&key).await.unwrap().unwrap();
            manifests.push((key, bytes));
        }
        assert!(is_over || pruned(&store).await.raised);
        for (key, bytes) in manifests.into_iter().filter(|_| prune == Prune::BeforeManifests) {
            store.put(&key, bytes).await.unwrap();
        }
        match ended {
            Some(ended) => ended.unwrap(),
            None => working.await.unwrap(),
        }
        check(&store, &recorder).await;
        if is_over {
            assert!(within > 20, "{within} steps");
            return;
        }
    }
}

#[tokio::test]
async fn an_archive_that_is_pruned_while_it_is_verified_is_not_damaged() {
    let verify = |store: Store| async move {
        assert_eq!(checked(&store).await.1, Vec::<String>::new());
        Ok(())
    };
    overtaken(verify, Prune::Over, async |_, _| {}).await;
    overtaken(verify, Prune::BeforeManifests, async |_, _| {}).await;
}

#[tokio::test]
async fn an_archiver_and_a_base_that_a_prune_overtakes_go_on_where_the_log_begins_then() {
    let archive = |store: Store| async move { archive(store, SMALL, |_, _, _| {}).await.map(drop) };
    overtaken(archive, Prune::Over, async |store, _| {
        let (archived, damages) = checked(store).await;
        assert_eq!((damages, archived.to), (vec![], 6));
    })
    .await;
    let take = |store| async { base::take(store, None, Default::default(), |_| {}).await.map(drop) };
    overtaken(take, Prune::Over, async |store, recorder| {
        is_whole(store, recorder, "a base").await;
        assert_eq!(checked(store).await.1, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn an_archiver_that_slept_until_its_slot_was_pruned_is_fenced_and_harms_nothing() {
    use crate::archive::manifests::Manifests;
    let (_, store, mut recorder) = recorded(3).await;
    let reader = LogReader::open(store.clone()).await.unwrap();
    let asleep_at = numbers(&store).await.len() as u64;
    let mut asleep = Manifests::open(store.clone(), reader.log_id()).await.unwrap();
    for round in 5..8 {
        step(&mut recorder, &store, round).await;
    }
    take_base(&store, Seq(7)).await;
    pruned(&store).await;
    assert_eq!(store.get(&layout::manifest(asleep_at + 1)).await.unwrap(), None);
    let last = reader.existing(Seq(8)).await.unwrap();
    assert_eq!(asleep.add(&last, vec![], Default::default()).await.unwrap_err().verdict, Verdict::Fenced);
    assert_eq!(checked(&store).await.1, Vec::<String>::new());
    assert_eq!(pruned(&store).await.removed.manifests, 1);
    assert_eq!(archive(store, SMALL, |_, _, _| {}).await.unwrap().manifests, 0);
}
