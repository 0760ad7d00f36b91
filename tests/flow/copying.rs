//! While a base is copied: what a person sees, what an outage costs, and what the source may be in the middle of.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::memory::InMemory;
use object_store::path::Path;
use tapedeck::log::store::Store;
use tapedeck::progress::{BaseProgress, Retrying};
use tapedeck::source::memory::CollectionSpec;
use tapedeck::source::segments::{Level, Segment, SegmentList, SegmentState};
use tapedeck::tick::Tso;

use super::base::{assert_recorded, docs, open, opened, past, seed_with_base, stored, trimmed, with_storage};
use super::crash::{faulty, sweep, whole};
use super::faulty_store::{Fault, FaultyStore};
use super::stage::{finish, process, record};
use super::world::{Duplicates, World};

/// Takes a base with a fault of the source's storage and one of the log's store; the calls of both.
fn takes_a_base(seed: u64, of_storage: Fault, of_log: Fault) -> (u64, u64) {
    let (stored, kept) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    let mut world = World::new(2, seed, Duplicates::Kept);
    let ((storage, reads), (log, calls)) = (faulty(&stored, of_storage), faulty(&kept, of_log));
    process(async {
        past(&mut world, &whole(&stored)).await;
        let recording = opened(&mut world, &storage, &log).await;
        finish(&mut world, recording).await;
        let what = format!("seed {seed}, {of_storage:?}, {of_log:?}");
        assert_recorded(&world, &whole(&kept), &what).await;
    });
    (reads.load(Ordering::SeqCst), calls.load(Ordering::SeqCst))
}

#[test]
fn a_storage_that_fails_at_any_call_is_asked_again_for_what_failed_alone() {
    let first = seed_with_base();
    let worlds = (0..100).map(|number| first.wrapping_add(number));
    let reads = |seed| takes_a_base(seed, Fault::None, Fault::None).0;
    let much = worlds.map(|seed| (seed, reads(seed))).find(|(_, reads)| *reads > 5);
    let (seed, reads) = much.expect("a world with much to read");
    // A block: the columns of the schema, row ids and timestamps.
    let block = 5;
    let met = sweep(|k| {
        let (again, _) = takes_a_base(seed, Fault::FailOnce(k), Fault::None);
        assert!(again <= reads + block, "call {k}: {again} reads instead of {reads}");
        again < k
    });
    assert!(met >= reads, "{met} calls of {reads}");
}

#[test]
fn a_log_whose_store_fails_at_any_call_does_not_read_the_source_again() {
    let seed = seed_with_base();
    let (reads, _) = takes_a_base(seed, Fault::None, Fault::None);
    sweep(|k| {
        let (again, calls) = takes_a_base(seed, Fault::None, Fault::FailOnce(k));
        assert_eq!(again, reads, "call {k}");
        calls < k
    });
}

#[test]
fn a_long_outage_of_the_storage_is_shown_with_the_progress_of_the_base_and_a_stop_ends_it() {
    let (inner, log) = (Arc::new(InMemory::new()), Store::memory());
    process(async {
        let mut world = World::new(1, 0, Duplicates::Avoided);
        world.create(CollectionSpec::new("docs"));
        let partition = world.tables[0].default_partition();
        for keys in [[1, 2, 3], [4, 5, 6], [7, 8, 9]] {
            world.insert(0, partition, &keys);
            world.source.store_segments(&whole(&inner)).await;
        }
        trimmed(&mut world, &whole(&inner)).await;
        let outage = FaultyStore::new(inner.clone(), Fault::None);
        let down = outage.down();
        let storage = Store::new(Arc::new(outage), Path::ROOT, "memory://".into());
        down.store(true, Ordering::SeqCst);
        let recorder = || with_storage(&world, &storage, &log);
        let mut stopped = record(recorder());
        stopped.until("a try again", |progress| progress.tries.failed > 3).await;
        {
            let progress = stopped.progress.borrow();
            assert_eq!(progress.base, Some(BaseProgress { segments: 0, of: 3, rows: 0 }));
            let shown = &progress.tries.oldest().expect("a try").message;
            assert!(shown.starts_with("reading the source's deletes: "), "{shown}");
            assert_eq!((progress.recorded_to, progress.opens_at), (Tso::ZERO, Tso::ZERO));
        }
        let progress = stopped.progress.clone();
        stopped.stop().await.unwrap();
        assert_eq!(progress.borrow().base, None);

        let mut recording = record(recorder());
        recording.until("a try again", |progress| progress.tries.failed > 3).await;
        down.store(false, Ordering::SeqCst);
        let some = |base: BaseProgress| base.of == 3 && base.segments > 0 && base.rows > 0;
        recording.until("segments that are copied", |progress| progress.base.is_some_and(some)).await;
        open(&mut world, &mut recording).await;
        assert_eq!(recording.progress.borrow().base, None);
        finish(&mut world, recording).await;
        assert_recorded(&world, &log, "after an outage").await;
    });
}

#[test]
fn a_base_whose_files_the_source_removes_meanwhile_is_taken_again_and_the_way_out_is_told() {
    let (inner, log) = (Arc::new(InMemory::new()), Store::memory());
    process(async {
        let (mut world, _) = docs(&whole(&inner)).await;
        let outage = FaultyStore::new(inner.clone(), Fault::None);
        let down = outage.down();
        let storage = Store::new(Arc::new(outage), Path::ROOT, "memory://".into());
        down.store(true, Ordering::SeqCst);
        let mut recording = record(with_storage(&world, &storage, &log));
        recording.until("a try again", |progress| progress.tries.failed > 3).await;
        world.source.compact_segments(&whole(&inner)).await;
        down.store(false, Ordering::SeqCst);
        let tells = |retrying: &Retrying| {
            let names = |way| retrying.advice.as_ref().is_some_and(|advice| advice.contains(way));
            names("listed again") && names("dataCoord.gc.dropTolerance") && names("source.backup")
        };
        recording.until("the way out", |progress| progress.tries.now.values().any(tells)).await;
        open(&mut world, &mut recording).await;
        finish(&mut world, recording).await;
        assert_recorded(&world, &log, "listed again").await;
    });
}

/// Replaces what is listed of each segment.
async fn change(world: &World, mut change: impl FnMut(&mut Segment)) {
    let mut list = stored(world).await;
    list.segments.values_mut().for_each(&mut change);
    world.source.catalog.set_segments(list);
}

#[test]
fn deletes_that_a_compaction_is_just_handing_on_are_not_forgotten() {
    process(async {
        let (storage, log) = (Store::memory(), Store::memory());
        let (mut world, _) = docs(&storage).await;
        let now = world.source.now().millis();
        // Dropped, and its delete of key 2 does not stand with the segment of the rows yet.
        change(&world, |segment| {
            if segment.level == Level::L0 {
                (segment.state, segment.dropped_ms) = (SegmentState::Dropped, now);
            }
        })
        .await;
        let recording = opened(&mut world, &storage, &log).await;
        finish(&mut world, recording).await;
        assert_recorded(&world, &log, "halfway").await;
    });
}

/// Milvus 2.3 loses the names of some delta logs in etcd; the files are there.
#[test]
fn deletes_whose_files_the_source_no_longer_lists_are_found_where_they_are_stored() {
    process(async {
        let (storage, log) = (Store::memory(), Store::memory());
        let (mut world, _) = docs(&storage).await;
        let mut lost = Vec::new();
        change(&world, |segment| lost.append(&mut segment.deltas)).await;
        assert!(!lost.is_empty());
        let half = lost[0].path.replace("/0", "/1");
        storage.put(&half, vec![0xbc, 0xfa].into()).await.unwrap();
        let recording = opened(&mut world, &storage, &log).await;
        finish(&mut world, recording).await;
        assert_recorded(&world, &log, "unlisted").await;
    });
}

#[test]
fn a_bulk_import_while_a_base_is_taken_is_told_by_the_name_of_its_collection() {
    process(async {
        let (storage, log) = (Store::memory(), Store::memory());
        let (mut world, _) = docs(&storage).await;
        let list = stored(&world).await;
        let first = list.readable().find(|segment| segment.level == Level::L1).expect("a segment").clone();
        let import = Segment { id: i64::MAX, state: SegmentState::Importing, importing: true, ..first };
        let segments = list.segments.into_iter().chain([(import.id, import)]).collect();
        world.source.catalog.set_segments(SegmentList { segments, ..list });
        let recording = opened(&mut world, &storage, &log).await;
        assert_eq!(recording.progress.borrow().importing, ["default.docs"]);
        finish(&mut world, recording).await;
    });
}
