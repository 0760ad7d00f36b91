//! Two of a kind on one task: one stays, the other finds out and touches nothing any more.

use std::sync::Arc;

use tapedeck::error::Verdict;
use tapedeck::log::store::Store;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::target::memory::MemoryTarget;

use super::oracle::assert_same;
use super::stage::{
    assert_clean, finish, open, process, record, recorder, replay, replayed, replayer, runtime, seed, settle,
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
