//! A process may die at any moment: the next one goes on, and in the end nothing is missing and nothing is there twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tapedeck::log::store::Store;
use tapedeck::progress::RecordProgress;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::{Fault as TargetFault, MemoryTarget};
use tapedeck::tick::Tso;

use super::doomed::Doomed;
use super::faulty_store::{Fault, FaultyStore};
use super::oracle::{assert_newest, assert_same};
use super::stage::{
    Running, assert_clean, finish, open, process, record, recorder, replay, replayed, replayer, seed, settle,
};
use super::world::{Duplicates, World};

const NEVER: u64 = u64::MAX;
pub const TARGET_FAULTS: [TargetFault; 3] = [TargetFault::Before, TargetFault::Half, TargetFault::After];

/// A store of one process, with a counter of its calls.
pub fn faulty(inner: &Arc<InMemory>, fault: Fault) -> (Store, Arc<AtomicU64>) {
    let store = FaultyStore::new(inner.clone(), fault);
    let calls = store.calls();
    (Store::new(Arc::new(store), Path::ROOT, "memory://".into()), calls)
}

pub fn whole(inner: &Arc<InMemory>) -> Store {
    faulty(inner, Fault::None).0
}

/// Waits until a process is dead, and until what it was doing has failed.
pub async fn death(is_dead: impl Fn() -> bool) {
    while !is_dead() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Works in rounds while a recorder runs, so that there are several commits. False if the recorder died.
async fn work(world: &mut World, mut recording: Running<RecordProgress>, is_dead: impl Fn() -> bool) -> bool {
    for _ in 0..4 {
        world.work(12);
        let to = settle(world);
        tokio::select! {
            () = recording.reach(to) => {}
            () = death(&is_dead) => return false,
        }
    }
    true
}

/// A recorder that meets a fault at its k-th call of the store, and then one that does not. True if the first came to
/// its end without meeting it.
fn records_through(seed: u64, fault: Fault, k: u64) -> bool {
    let (inner, mut world) = (Arc::new(InMemory::new()), World::new(2, seed, Duplicates::Kept));
    world.work(10);
    let (store, calls) = faulty(&inner, fault);
    let is_dead =
        || !matches!(fault, Fault::LoseAnswer(_) | Fault::FailOnce(_)) && calls.load(Ordering::SeqCst) >= k;
    let survived = process(async {
        let recording = record(recorder(&world.source, &store, Start::Earliest));
        work(&mut world, recording, is_dead).await
    });
    process(async {
        let store = whole(&inner);
        let recording = open(&world, &store, Start::Earliest).await;
        world.work(5);
        finish(&mut world, recording).await;
        assert_clean(&store).await;
        let contents = replayed(&store, Until::Latest).await;
        assert_same(&contents, &world.oracle.contents(), &format!("seed {seed}, {fault:?}"));
    });
    survived && calls.load(Ordering::SeqCst) < k
}

/// Meets every call until the end; how many there are.
pub fn sweep(mut met: impl FnMut(u64) -> bool) -> u64 {
    (1..400).find(|k| met(*k)).expect("an end")
}

#[test]
fn a_recorder_that_dies_at_any_call_of_the_store_loses_nothing_and_doubles_nothing() {
    let seed = seed();
    for fault in [Fault::StopBefore, Fault::StopAfter] {
        let calls = sweep(|k| records_through(seed, fault(k), k));
        assert!(calls > 10, "only {calls} calls");
    }
}

#[test]
fn a_recorder_whose_store_fails_or_loses_an_answer_at_any_call_records_everything_once() {
    let seed = seed();
    for fault in [Fault::LoseAnswer, Fault::FailOnce] {
        sweep(|k| records_through(seed, fault(k), k));
    }
}

/// As [`records_through`], of a collection that is shown long after its date.
fn records_late_through(fault: Fault, k: u64) -> bool {
    let (inner, mut world) = (Arc::new(InMemory::new()), World::new(2, 0, Duplicates::Kept));
    let (store, calls) = faulty(&inner, fault);
    let is_dead = || calls.load(Ordering::SeqCst) >= k;
    let (spec, mut begun) = (CollectionSpec::new("docs"), None);
    let survived = process(async {
        let mut recording = record(recorder(&world.source, &store, Start::Earliest));
        let late = begun.insert(world.source.begin_collection(spec.clone()));
        world.source.advance(20_000);
        tokio::select! {
            () = recording.reach(Tso(late.create_tso).next()) => {}
            () = death(is_dead) => return false,
        }
        world.source.advance(1_000);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let late = begun.take().expect("a collection that was begun");
        world.show(spec.clone(), late);
        let partition = world.tables[0].default_partition();
        world.insert(0, partition, &[1, 2]);
        // Long enough for commits before the first tick.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let to = settle(&mut world);
        tokio::select! {
            () = recording.reach(to) => !is_dead(),
            () = death(is_dead) => false,
        }
    });
    process(async {
        let store = whole(&inner);
        if let Some(late) = begun {
            world.show(spec, late);
        }
        let recording = open(&world, &store, Start::Earliest).await;
        finish(&mut world, recording).await;
        assert_clean(&store).await;
        let contents = replayed(&store, Until::Latest).await;
        assert_same(&contents, &world.oracle.contents(), &format!("{fault:?}"));
    });
    survived
}

#[test]
fn a_recorder_that_dies_while_a_collection_is_shown_late_records_it() {
    for fault in [Fault::StopBefore, Fault::StopAfter] {
        let calls = sweep(|k| records_late_through(fault(k), k));
        assert!(calls > 5, "only {calls} calls");
    }
}

/// A log of several commits, and the world that it is of.
pub fn recorded(seed: u64, duplicates: Duplicates) -> (Arc<InMemory>, World) {
    let (inner, mut world) = (Arc::new(InMemory::new()), World::new(2, seed, duplicates));
    process(async {
        let store = whole(&inner);
        world.work(10);
        let recording = open(&world, &store, Start::Earliest).await;
        assert!(work(&mut world, recording, || false).await);
        let recording = open(&world, &store, Start::Earliest).await;
        finish(&mut world, recording).await;
    });
    (inner, world)
}

/// Fails unless a target that has seen crashes holds what its source does.
fn assert_held(target: &MemoryTarget, world: &World, what: &str) {
    let (found, expected) = (target.contents(), world.oracle.contents());
    match world.duplicates {
        Duplicates::Avoided => assert_same(&found, &expected, what),
        Duplicates::Kept => assert_newest(&found, &expected, what),
    }
}

/// A replayer that dies, and then one that does not. True if the first came to its end.
pub fn replays_through(
    log: &(Arc<InMemory>, World),
    fault: Fault,
    k: u64,
    of_target: Option<TargetFault>,
) -> bool {
    let (inner, world) = log;
    let target = Arc::new(MemoryTarget::new());
    let reader = "r";
    let survived = process(async {
        let (store, calls) = faulty(inner, fault);
        let doomed = Doomed::new(
            &target,
            if of_target.is_some() { k } else { NEVER },
            of_target.unwrap_or(TargetFault::Before),
        );
        let replaying = replay(replayer(&store, doomed.clone(), reader, Until::Latest));
        let store_is_dead = || of_target.is_none() && calls.load(Ordering::SeqCst) >= k;
        tokio::select! {
            ended = replaying.end() => { ended.unwrap(); true }
            () = death(|| doomed.is_dead() || store_is_dead()) => false,
        }
    });
    process(async {
        let store = whole(inner);
        replay(replayer(&store, target.clone(), reader, Until::Latest)).end().await.unwrap();
        let what = format!("{fault:?}, target {of_target:?} at {k}");
        assert_held(&target, world, &what);
        super::stage::forget(&store, reader).await;
    });
    survived
}

#[test]
fn a_replayer_that_dies_at_any_call_of_the_store_gives_the_same_target() {
    let seed = seed();
    for log in Duplicates::BOTH.map(|duplicates| recorded(seed, duplicates)) {
        for fault in [Fault::StopBefore, Fault::StopAfter] {
            let calls = sweep(|k| replays_through(&log, fault(k), k, None));
            assert!(calls > 5, "only {calls} calls");
        }
    }
}

#[test]
fn a_replayer_that_dies_at_any_call_of_the_target_gives_the_same_target() {
    let seed = seed();
    for log in Duplicates::BOTH.map(|duplicates| recorded(seed, duplicates)) {
        for fault in TARGET_FAULTS {
            let calls = sweep(|k| replays_through(&log, Fault::None, k, Some(fault)));
            assert!(calls > 10, "only {calls} calls");
        }
    }
}

#[test]
fn a_target_that_fails_at_any_call_gets_everything_once() {
    let seed = seed();
    for (inner, world) in Duplicates::BOTH.map(|duplicates| recorded(seed, duplicates)) {
        for fault in TARGET_FAULTS {
            sweep(|k| {
                process(async {
                    let (store, target) = (whole(&inner), Arc::new(MemoryTarget::new()));
                    target.fail_at(k, fault);
                    replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.unwrap();
                    assert_held(&target, &world, &format!("{fault:?} at {k}"));
                    super::stage::forget(&store, "r").await;
                    target.calls() < k
                })
            });
        }
    }
}

#[test]
fn processes_that_die_again_and_again_come_to_the_same_end() {
    let first = seed();
    for seed in (0..12).map(|number| first.wrapping_add(number)) {
        println!("world {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let (inner, target) = (Arc::new(InMemory::new()), Arc::new(MemoryTarget::new()));
        let mut world = World::new(3, seed, Duplicates::BOTH[seed as usize % 2]);
        for _ in 0..8 {
            let stop = |k: u64| if k.is_multiple_of(2) { Fault::StopBefore(k) } else { Fault::StopAfter(k) };
            let (k, reads_k) = (rng.random_range(1..60), rng.random_range(1..60));
            let doomed = Doomed::new(&target, rng.random_range(1..40), TARGET_FAULTS[rng.random_range(0..3)]);
            process(async {
                let (store, calls) = faulty(&inner, stop(k));
                let (reads, read_calls) = faulty(&inner, stop(reads_k));
                let recording = record(recorder(&world.source, &store, Start::Earliest));
                let replaying = replay(replayer(&reads, doomed.clone(), "r", Until::Cancelled));
                let is_dead = || {
                    calls.load(Ordering::SeqCst) >= k
                        || read_calls.load(Ordering::SeqCst) >= reads_k
                        || doomed.is_dead()
                };
                work(&mut world, recording, is_dead).await;
                drop(replaying);
            });
        }
        process(async {
            let store = whole(&inner);
            let mut recording = open(&world, &store, Start::Earliest).await;
            let to = settle(&mut world);
            recording.reach(to).await;
            let mut replaying = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
            replaying.reach(to).await;
            replaying.stop().await.unwrap();
            recording.stop().await.unwrap();
            assert_held(&target, &world, &format!("seed {seed}"));
            assert_clean(&store).await;
        });
    }
}
