//! A source whose queue no longer holds its beginning: the log begins with what is in the source's segments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use object_store::memory::InMemory;
use tapedeck::archive::base::{Limits, take};
use tapedeck::error::{Error, Verdict};
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::position::{Channel, Seq};
use tapedeck::progress::RecordProgress;
use tapedeck::recorder::{Recorder, Start, check_storage};
use tapedeck::replayer::{Depth, Place, Replayer, Skip, Until};
use tapedeck::source::memory::CollectionSpec;
use tapedeck::source::segments::SegmentList;
use tapedeck::source::{CatalogSource, Queue, Storage};
use tapedeck::target::memory::MemoryTarget;
use tapedeck::tick::Tso;

use super::crash::{death, faulty, sweep, whole};
use super::faulty_store::Fault;
use super::oracle::{assert_same, dated};
use super::stage::{
    Running, assert_clean, finish, process, record, recorder, replay, replayed, replayer, seed, settle,
};
use super::world::{Duplicates, World};

/// A recorder that may read where the source stores its segments.
pub fn with_storage(world: &World, storage: &Store, store: &Store) -> Recorder {
    Recorder {
        storage: Some(Storage::Source(storage.clone())),
        ..recorder(&world.source, store, Start::Earliest)
    }
}

/// The source gives out time.
pub async fn time_passes(world: &mut World) {
    loop {
        world.source.advance(500);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

pub async fn opened(world: &mut World, storage: &Store, store: &Store) -> Running<RecordProgress> {
    let mut recording = record(with_storage(world, storage, store));
    open(world, &mut recording).await;
    recording
}

pub async fn open(world: &mut World, recording: &mut Running<RecordProgress>) {
    tokio::select! {
        () = recording.until("an opened log", |progress| progress.opens_at > Tso::ZERO) => {}
        () = time_passes(world) => {}
    }
}

/// What is stored of everything that is there.
pub async fn stored(world: &World) -> SegmentList {
    let of = world.tables.iter().map(|table| table.id).collect();
    world.source.catalog.reader().segments(&of).await.expect("a list")
}

/// Stores all that was done, and says so.
async fn store(world: &mut World, storage: &Store) {
    world.source.store_segments(storage).await;
    world.source.move_checkpoints();
}

/// Stores all that was done; the queue forgets it.
pub async fn trimmed(world: &mut World, storage: &Store) {
    store(world, storage).await;
    for channel in world.source.ticking() {
        world.source.trim_to_checkpoints(&channel);
    }
}

/// A past: rows in several segments, some of them compacted, more stored than the checkpoints say, and a queue that lost
/// its beginning on at least one channel.
pub async fn past(world: &mut World, storage: &Store) {
    world.work(30);
    settle(world);
    store(world, storage).await;
    world.work(20);
    if world.roll(2) == 0 {
        world.source.compact_segments(storage).await;
    }
    store(world, storage).await;
    world.work(15);
    world.source.store_segments(storage).await;
    let channels = world.source.ticking().into_iter().collect::<Vec<_>>();
    let (first, all) = (world.roll(channels.len().max(1)), world.roll(2) == 0);
    for (number, channel) in channels.iter().enumerate() {
        if all || number == first {
            world.source.trim_to_checkpoints(channel);
        }
    }
    world.work(15);
    settle(world);
}

/// Of the shards with stored rows, whether the queue holds the beginning.
async fn beginnings(world: &World) -> BTreeSet<bool> {
    let list = stored(world).await;
    let shards = world.tables.iter().flat_map(|table| &world.source.collection(table.id).channels);
    let mut kept = BTreeSet::new();
    for shard in shards {
        let bounds = world.source.queue.bounds(&shard.channel.as_str().into()).await.expect("a channel");
        if list.readable().any(|segment| segment.shard == shard.virtual_channel && segment.rows > 0) {
            kept.insert(bounds.contains(&shard.start.unwrap_or_default().into()));
        }
    }
    kept
}

/// The seed of a world of two channels that needs a base.
pub fn seed_with_base() -> u64 {
    let needs_base = |seed: &u64| {
        let mut world = World::new(2, *seed, Duplicates::Kept);
        process(async {
            past(&mut world, &Store::memory()).await;
            beginnings(&world).await.contains(&false)
        })
    };
    let first = seed();
    (0..100).map(|number| first.wrapping_add(number)).find(needs_base).expect("such a world")
}

/// The log gives what the source holds, and so does its own base.
pub async fn assert_recorded(world: &World, store: &Store, what: &str) {
    assert_clean(store).await;
    let contents = replayed(store, Until::Latest).await;
    assert_same(&contents, &world.oracle.contents(), what);
    take(store.clone(), None, Limits::default(), |_| {}).await.expect("a base of the log");
    let contents = replayed(store, Until::Latest).await;
    assert_same(&contents, &world.oracle.contents(), &format!("{what}, from its base"));
}

#[test]
fn base_and_log_have_no_gap_and_no_double_at_any_instant_after_the_log_opens() {
    let first = seed();
    let mut seen = BTreeSet::new();
    for round in 0..24 {
        let seed = first.wrapping_add(round);
        let mut world = World::new(3, seed, Duplicates::BOTH[round as usize % 2]);
        let (storage, store) = (Store::memory(), Store::memory());
        process(async {
            past(&mut world, &storage).await;
            seen.insert(beginnings(&world).await);
            let recording = opened(&mut world, &storage, &store).await;
            let opens_at = recording.progress.borrow().opens_at;
            world.work(20);
            finish(&mut world, recording).await;
            assert_recorded(&world, &store, &format!("seed {seed}")).await;
            let instants = world.oracle.instants().into_iter().filter(|tso| *tso >= opens_at);
            for until in [opens_at].into_iter().chain(instants.step_by(4)) {
                let contents = replayed(&store, Until::Tso(until)).await;
                let what = format!("seed {seed}, until {until}");
                assert_same(&dated(contents), &dated(world.oracle.at(until)), &what);
            }
        });
    }
    assert!(seen.iter().any(|kept| kept.len() == 2), "no world with both kinds of collections");
}

#[test]
fn a_base_is_whole_whatever_happens_at_the_source_while_it_is_taken() {
    let first = seed();
    for round in 0..24 {
        let seed = first.wrapping_add(round);
        let mut world = World::new(2, seed, Duplicates::Kept);
        let (inner, store) = (Arc::new(InMemory::new()), Store::memory());
        // gives way at every read
        let (storage, reads) = faulty(&inner, Fault::None);
        process(async {
            past(&mut world, &whole(&inner)).await;
            let mut recording = record(with_storage(&world, &storage, &store));
            while reads.load(Ordering::SeqCst) == 0 && recording.progress.borrow().opens_at == Tso::ZERO {
                world.source.advance(100);
                tokio::time::advance(Duration::from_millis(100)).await;
            }
            for step in 0..30 {
                world.work(1);
                if step == 5 {
                    world.source.compact_segments(&whole(&inner)).await;
                }
                tokio::task::yield_now().await;
            }
            open(&mut world, &mut recording).await;
            finish(&mut world, recording).await;
            assert_recorded(&world, &store, &format!("seed {seed}")).await;
        });
    }
}

/// A recorder that dies at its k-th call of the log's store, and another when the source has stored more and compacted. True
/// if the first came to its end.
fn takes_a_base_through(seed: u64, fault: Fault, k: u64) -> bool {
    let (inner, mut world) = (Arc::new(InMemory::new()), World::new(2, seed, Duplicates::Kept));
    let storage = Store::memory();
    let (log, calls) = faulty(&inner, fault);
    let is_dead = || calls.load(Ordering::SeqCst) >= k;
    let survived = process(async {
        past(&mut world, &storage).await;
        let to = settle(&mut world);
        let mut recording = record(with_storage(&world, &storage, &log));
        tokio::select! {
            () = recording.reach(to) => !is_dead(),
            () = death(is_dead) => false,
            () = time_passes(&mut world) => false,
        }
    });
    process(async {
        world.work(10);
        settle(&mut world);
        store(&mut world, &storage).await;
        world.source.compact_segments(&storage).await;
        let log = whole(&inner);
        let recording = opened(&mut world, &storage, &log).await;
        world.work(5);
        finish(&mut world, recording).await;
        assert_recorded(&world, &log, &format!("seed {seed}, {fault:?}")).await;
    });
    survived
}

#[test]
fn a_recorder_that_dies_while_it_takes_a_base_loses_nothing_and_doubles_nothing() {
    let seed = seed_with_base();
    for fault in [Fault::StopBefore, Fault::StopAfter] {
        let calls = sweep(|k| takes_a_base_through(seed, fault(k), k));
        assert!(calls > 5, "only {calls} calls");
    }
}

#[test]
fn a_replayer_that_dies_within_a_base_of_several_segments_goes_on_and_doubles_nothing() {
    let (inner, mut world) = (Arc::new(InMemory::new()), World::new(2, 0, Duplicates::Avoided));
    let storage = Store::memory();
    process(async {
        world.create(CollectionSpec { shards: 2, dim: 4096, ..CollectionSpec::new("docs") });
        let partition = world.tables[0].default_partition();
        for round in 0..10 {
            let keys = (round * 150..(round + 1) * 150).collect::<Vec<_>>();
            world.insert(0, partition, &keys);
        }
        world.delete(0, None, &(100..1000).step_by(9).collect::<Vec<_>>());
        trimmed(&mut world, &storage).await;
        let log = whole(&inner);
        let recording = opened(&mut world, &storage, &log).await;
        world.upsert(0, partition, &[1, 2, 3]);
        finish(&mut world, recording).await;
        let first = LogReader::open(log).await.unwrap().commit(Seq(1)).await.unwrap().unwrap();
        assert!(first.commit.segments.len() > 2, "{} segments", first.commit.segments.len());
    });
    for fault in [Fault::StopBefore, Fault::StopAfter] {
        let calls = sweep(|k| {
            let target = Arc::new(MemoryTarget::new());
            let survived = process(async {
                let (log, calls) = faulty(&inner, fault(k));
                let replaying = replay(replayer(&log, target.clone(), "r", Until::Latest));
                tokio::select! {
                    ended = replaying.end() => ended.is_ok(),
                    () = death(|| calls.load(Ordering::SeqCst) >= k) => false,
                }
            });
            process(async {
                let log = whole(&inner);
                replay(replayer(&log, target.clone(), "r", Until::Latest)).end().await.unwrap();
                super::stage::forget(&log, "r").await;
            });
            assert_same(&target.contents(), &world.oracle.contents(), &format!("dead at call {k}"));
            survived
        });
        assert!(calls > 5, "only {calls} calls");
    }
}

/// One collection of which the queue holds nothing but what came after its checkpoint.
pub async fn docs(storage: &Store) -> (World, Channel) {
    let mut world = World::new(1, 0, Duplicates::Avoided);
    world.create(CollectionSpec::new("docs"));
    let partition = world.tables[0].default_partition();
    world.insert(0, partition, &[1, 2, 3]);
    world.delete(0, None, &[2]);
    store(&mut world, storage).await;
    let channel = world.source.ticking().into_iter().next().expect("a channel");
    world.source.trim_to_checkpoints(&channel);
    (world, channel)
}

#[test]
fn a_delete_that_the_base_may_have_done_already_cannot_be_left_out() {
    process(async {
        let (storage, log) = (Store::memory(), Store::memory());
        let (mut world, _) = docs(&storage).await;
        world.delete(0, None, &[1]);
        let before = world.source.now();
        world.source.store_segments(&storage).await;
        let recording = opened(&mut world, &storage, &log).await;
        world.source.advance(60_000);
        world.delete(0, None, &[3]);
        let after = world.source.now();
        finish(&mut world, recording).await;

        let left_out = |tso| Replayer {
            skip: Skip::new([Place::Deletes(tso)]),
            ..replayer(&log, Arc::new(MemoryTarget::new()), "r", Until::Latest)
        };
        let planned = left_out(before).plan(after, Depth::Rows, |_, _| {}).await.unwrap_err();
        let error = replay(left_out(before)).error().await;
        for error in [planned, error] {
            assert_eq!(error.verdict, Verdict::Refused, "{error}");
            let why = format!("skip tso:{before}: the base of default.docs was taken after this delete");
            assert!(error.message.starts_with(&why) && error.advice.is_some(), "{error}");
        }
        replay(left_out(after)).end().await.unwrap();
    });
}

/// The error of a recorder that commits nothing.
async fn refusal(world: &mut World, storage: Option<&Store>) -> Error {
    let store = Store::memory();
    let recorder = recorder(&world.source, &store, Start::Earliest);
    let storage = storage.cloned().map(Storage::Source);
    let recording = record(Recorder { storage, ..recorder });
    let error = tokio::select! {
        error = recording.error() => error,
        () = time_passes(world) => unreachable!("time ends"),
    };
    assert_eq!(error.verdict, Verdict::Refused, "{error}");
    assert_eq!(store.list("commits", None).await.unwrap(), [], "nothing is committed");
    error
}

#[test]
fn a_check_of_the_storage_tells_whether_the_files_of_a_segment_are_there() {
    process(async {
        let (storage, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Avoided));
        let check = async |world: &World, storage: &Store| {
            let storage = Storage::Source(storage.clone());
            check_storage(&storage, &mut world.source.catalog.reader()).await
        };
        world.create(CollectionSpec::new("docs"));
        assert_eq!(check(&world, &storage).await.unwrap(), 0);
        let partition = world.tables[0].default_partition();
        for keys in [[1, 2, 3], [4, 5, 6]] {
            world.insert(0, partition, &keys);
            world.delete(0, None, &[2]);
            store(&mut world, &storage).await;
        }
        assert_eq!(check(&world, &storage).await.unwrap(), 2);
        let error = check(&world, &Store::memory()).await.unwrap_err();
        assert!(error.message.contains("insert_log/") && error.message.contains("is not in"), "{error}");
        assert!(error.advice.unwrap().contains("source.storage.url"));
        world.source.catalog.fail_next(1);
        let error = check(&world, &storage).await.unwrap_err();
        assert!(error.message.starts_with("what is stored cannot be listed: "), "{error}");
    });
}

#[test]
fn a_log_that_cannot_begin_with_all_rows_is_refused_with_what_is_missing() {
    process(async {
        let storage = Store::memory();
        let (mut world, channel) = docs(&storage).await;

        let error = refusal(&mut world, None).await;
        assert!(
            error.message.contains("no longer holds") && error.message.contains("default.docs"),
            "{error}"
        );
        assert!(error.advice.unwrap().contains("source.storage"));

        let error = refusal(&mut world, Some(&Store::memory())).await;
        assert!(
            error.message.contains("the base of default.docs") && error.message.contains("is not in"),
            "{error}"
        );
        assert!(error.advice.unwrap().contains("source.storage.url"));

        let file = stored(&world)
            .await
            .readable()
            .find_map(|segment| Some(segment.binlogs.get(&100)?[0].path.clone()));
        let file = file.expect("a file of keys");
        let bytes = storage.get(&file).await.unwrap().unwrap();
        storage.delete(&file).await.unwrap();
        let error = refusal(&mut world, Some(&storage)).await;
        assert!(error.message.contains(&format!("{file} is not in")), "{error}");
        storage.put(&file, bytes).await.unwrap();

        let list = stored(&world).await;
        world.source.catalog.set_segments(SegmentList { checkpoints: Default::default(), ..list.clone() });
        let error = refusal(&mut world, Some(&storage)).await;
        let shard = world.source.collection(world.tables[0].id).channels[0].virtual_channel.clone();
        assert!(error.message.contains(&format!("no checkpoint of its channel {shard}")), "{error}");
        assert!(error.message.contains("collection docs") && error.advice.is_some(), "{error}");
        world.source.catalog.set_segments(list.clone());

        let end = world.source.queue.bounds(&channel).await.unwrap().end;
        world.source.queue.trim(&channel, end);
        let error = refusal(&mut world, Some(&storage)).await;
        let checkpoint = list.checkpoints[&shard].position;
        let hole = format!("channel {channel} no longer holds positions {checkpoint} to {end}");
        assert!(error.message.contains(&hole) && error.message.contains("default.docs"), "{error}");
        assert!(!error.advice.unwrap().contains("give source.storage"));
    });
}
