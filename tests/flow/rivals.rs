//! Two of a kind on one task: one stays, the other finds out and touches nothing any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::path::Path;
use tapedeck::change::{CollectionName, RowChange};
use tapedeck::error::{Result, Verdict};
use tapedeck::log::store::Store;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::MemoryTarget;
use tapedeck::target::{Mode, Target};

use super::altered::{Alteration, Altered};
use super::crash::whole;
use super::faulty_store::{Fault, FaultyStore};
use super::oracle::assert_same;
use super::stage::{
    assert_clean, finish, open, process, record, record_all, recorder, replay, replayed, replayer, runtime,
    seed, settle,
};
use super::world::{Duplicates, World};

#[test]
fn a_recorder_that_slept_while_another_took_over_halts_at_its_next_commit() {
    let seed = seed();
    let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
    let sleeper = runtime();
    let first = sleeper.block_on(async {
        let mut first = open(&world, &store, Start::Earliest).await;
        world.work(20);
        first.reach(settle(&mut world)).await;
        first
    });
    world.work(20);
    process(async {
        let second = open(&world, &store, Start::Earliest).await;
        finish(&mut world, second).await;
    });
    world.work(20);
    settle(&mut world);
    let error = sleeper.block_on(first.error());
    assert_eq!(error.verdict, Verdict::Fenced, "{error}");
    process(async {
        let third = open(&world, &store, Start::Earliest).await;
        finish(&mut world, third).await;
        assert_clean(&store).await;
        let contents = replayed(&store, Until::Latest).await;
        assert_same(&contents, &world.oracle.contents(), &format!("seed {seed}"));
    });
}

#[test]
fn of_recorders_that_start_at_once_one_stays() {
    for count in 2..8 {
        let seed = seed();
        process(async {
            let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
            world.work(20);
            let rivals = (0..count).map(|_| record(recorder(&world.source, &store, Start::Earliest)));
            let rivals = rivals.collect::<Vec<_>>();
            let mut left = rivals;
            while left.len() > 1 {
                // A recorder finds out when it has something to commit.
                world.work(5);
                settle(&mut world);
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                let (ended, running) = left.into_iter().partition::<Vec<_>, _>(|rival| rival.has_ended());
                for rival in ended {
                    let error = rival.error().await;
                    assert_eq!(error.verdict, Verdict::Fenced, "{error}");
                }
                left = running;
            }
            finish(&mut world, left.pop().expect("one that stays")).await;
            assert_clean(&store).await;
            let contents = replayed(&store, Until::Latest).await;
            assert_same(&contents, &world.oracle.contents(), &format!("seed {seed}, {count} recorders"));
        });
    }
}

#[test]
fn of_replayers_that_start_at_once_one_stays() {
    for count in 2..8 {
        let seed = seed();
        process(async {
            let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Avoided));
            world.work(40);
            let mut recording = open(&world, &store, Start::Earliest).await;
            let target = Arc::new(MemoryTarget::new());
            let mut left = (0..count)
                .map(|_| replay(replayer(&store, target.clone(), "r", Until::Cancelled)))
                .collect::<Vec<_>>();
            while left.len() > 1 {
                world.work(5);
                recording.reach(settle(&mut world)).await;
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                let (ended, running) = left.into_iter().partition::<Vec<_>, _>(|rival| rival.has_ended());
                for rival in ended {
                    let error = rival.error().await;
                    assert_eq!(error.verdict, Verdict::Fenced, "{error}");
                }
                left = running;
            }
            let to = settle(&mut world);
            recording.reach(to).await;
            let mut replaying = left.pop().expect("one that stays");
            replaying.reach(to).await;
            let what = format!("seed {seed}, {count} replayers");
            assert_same(&target.contents(), &world.oracle.contents(), &what);
        });
    }
}

#[test]
fn a_replayer_that_takes_over_from_one_at_work_doubles_nothing() {
    let first = seed();
    for seed in (0..8).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Avoided));
            let mut recording = open(&world, &store, Start::Earliest).await;
            let target = Arc::new(MemoryTarget::new());
            let mut replaying = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
            for round in 0..20 {
                world.work(6);
                recording.reach(settle(&mut world)).await;
                if round == 10 {
                    let other = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
                    let before = std::mem::replace(&mut replaying, other);
                    tokio::spawn(async move { assert_eq!(before.error().await.verdict, Verdict::Fenced) });
                }
            }
            let to = settle(&mut world);
            recording.reach(to).await;
            replaying.reach(to).await;
            assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
        });
    }
}

/// A target that takes its time for a write.
struct Late {
    target: Arc<MemoryTarget>,
    /// Before it writes: a client asks it something first.
    asks: Duration,
    /// After it has written.
    answers: Duration,
}

impl Late {
    /// One that writes at once and answers late.
    fn answers(target: &Arc<MemoryTarget>) -> Arc<Altered<Late>> {
        Arc::new(Altered(Late {
            target: target.clone(),
            asks: Duration::ZERO,
            answers: Duration::from_millis(900),
        }))
    }

    /// One that is asked for long and then writes at once.
    fn asks(target: &Arc<MemoryTarget>) -> Arc<Altered<Late>> {
        Arc::new(Altered(Late {
            target: target.clone(),
            asks: Duration::from_millis(900),
            answers: Duration::ZERO,
        }))
    }
}

#[async_trait]
impl Alteration for Late {
    fn target(&self) -> &MemoryTarget {
        &self.target
    }

    async fn write(&self, collection: &CollectionName, change: &RowChange, mode: Mode) -> Result<()> {
        tokio::time::sleep(self.asks).await;
        let written = self.target.write(collection, change, mode).await;
        tokio::time::sleep(self.answers).await;
        written
    }
}

const KEYS: [i64; 3] = [1, 2, 3];

/// A log of which one commit takes many writes, and then a definition that waits for them.
async fn many_writes(world: &mut World, store: &Store) {
    world.create(CollectionSpec::new("docs"));
    record_all(world, store).await;
    let partition = world.tables[0].default_partition();
    for _ in 0..10 {
        world.insert(0, partition, &KEYS);
        world.delete(0, None, &KEYS);
    }
    world.insert(0, partition, &KEYS);
    world.create_partition(0, "p");
    record_all(world, store).await;
}

/// After the first few writes of another replayer.
async fn first_writes(target: &MemoryTarget) {
    while target.calls() < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Goes beyond what [`many_writes`] did.
async fn take_over_and_go_beyond(world: &mut World, store: &Store, target: &Arc<MemoryTarget>) {
    world.delete(0, None, &KEYS);
    record_all(world, store).await;
    let other = replay(replayer(store, target.clone(), "r", Until::Latest));
    other.end().await.expect("a replay to its end");
    assert_same(&target.contents(), &world.oracle.contents(), "after the take-over");
}

#[test]
fn a_replayer_that_slept_while_another_took_over_writes_nothing_more() {
    for late in [Late::answers, Late::asks] {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        process(many_writes(&mut world, &store));
        let target = Arc::new(MemoryTarget::new());
        let sleeper = runtime();
        let first = sleeper.block_on(async {
            let first = replay(replayer(&store, late(&target), "r", Until::Cancelled));
            first_writes(&target).await;
            first
        });
        process(take_over_and_go_beyond(&mut world, &store, &target));
        let calls = target.calls();
        let error = sleeper.block_on(async {
            tokio::time::advance(Duration::from_secs(5)).await;
            first.error().await
        });
        assert_eq!((error.verdict, target.calls()), (Verdict::Fenced, calls), "{error}");
        assert_same(&target.contents(), &world.oracle.contents(), "after it woke");
    }
}

#[test]
fn a_replayer_that_cannot_store_a_checkpoint_stops_writing_before_another_one_begins() {
    process(async {
        let (inner, mut world) = (Arc::new(InMemory::new()), World::new(1, 0, Duplicates::Kept));
        many_writes(&mut world, &whole(&inner)).await;
        let target = Arc::new(MemoryTarget::new());
        let cut_off = FaultyStore::new(inner.clone(), Fault::None);
        let down = cut_off.down();
        let cut_off = Store::new(Arc::new(cut_off), Path::ROOT, "memory://".into());
        let first = replay(replayer(&cut_off, Late::answers(&target), "r", Until::Cancelled));
        first_writes(&target).await;
        down.store(true, Ordering::SeqCst);
        take_over_and_go_beyond(&mut world, &whole(&inner), &target).await;
        let calls = target.calls();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!first.has_ended());
        down.store(false, Ordering::SeqCst);
        let error = first.error().await;
        assert_eq!((error.verdict, target.calls()), (Verdict::Fenced, calls), "{error}");
        assert_same(&target.contents(), &world.oracle.contents(), "in the end");
    });
}

#[test]
fn a_replayer_finds_out_that_it_was_taken_over_also_while_it_waits_for_a_slow_target() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        many_writes(&mut world, &store).await;
        let target = Arc::new(MemoryTarget::new());
        let mut first = replay(replayer(&store, Late::answers(&target), "r", Until::Cancelled));
        first_writes(&target).await;
        // Longer than it may write without a checkpoint: it has stored some since.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!((7..12).contains(&target.calls()), "{} calls", target.calls());
        let other = replay(replayer(&store, target.clone(), "r", Until::Latest));
        tokio::time::timeout(Duration::from_secs(2), first.ended()).await.expect("its end");
        assert_eq!(first.error().await.verdict, Verdict::Fenced);
        other.end().await.expect("a replay to its end");
        assert_same(&target.contents(), &world.oracle.contents(), "in the end");
    });
}
