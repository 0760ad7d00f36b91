//! A target is at every moment what its source was a moment ago, whatever people do there.

use std::sync::Arc;
use std::time::Duration;

use tapedeck::error::Verdict;
use tapedeck::log::store::Store;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::target::memory::MemoryTarget;
use tapedeck::tick::Tso;

use super::oracle::assert_same;
use super::stage::{
    assert_clean, finish, open, process, record, record_all, recorder, replay, replayed, replayer, seed,
    settle,
};
use super::world::{Duplicates, World};

/// Worlds for each promise.
const WORLDS: u64 = 12;

fn worlds() -> impl Iterator<Item = (World, u64)> {
    let first = seed();
    (0..WORLDS).map(move |number| {
        let seed = first.wrapping_add(number);
        println!("world {seed}");
        (World::new(1 + (number % 3) as usize, seed, Duplicates::Kept), seed)
    })
}

#[test]
fn whatever_is_done_to_the_source_arrives_at_the_target() {
    for (mut world, seed) in worlds() {
        process(async {
            let (store, target) = (Store::memory(), Arc::new(MemoryTarget::new()));
            let mut recording = open(&world, &store, Start::Earliest).await;
            let mut replaying = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
            for _ in 0..12 {
                let operations = world.roll(20);
                world.work(operations);
                tokio::time::sleep(Duration::from_millis(world.roll(700) as u64)).await;
            }
            let to = settle(&mut world);
            recording.reach(to).await;
            replaying.reach(to).await;
            assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
            recording.stop().await.unwrap();
            replaying.stop().await.unwrap();
            assert_clean(&store).await;
        });
    }
}

#[test]
fn a_log_that_was_recorded_first_gives_the_same_target() {
    for (mut world, seed) in worlds() {
        process(async {
            let store = Store::memory();
            world.work(150);
            record_all(&mut world, &store).await;
            world.work(60);
            record_all(&mut world, &store).await;
            let contents = replayed(&store, Until::Latest).await;
            assert_same(&contents, &world.oracle.contents(), &format!("seed {seed}"));
            assert_clean(&store).await;
        });
    }
}

#[test]
fn one_log_feeds_any_number_of_targets() {
    for (mut world, seed) in worlds().take(4) {
        process(async {
            let store = Store::memory();
            let targets = [(); 3].map(|()| Arc::new(MemoryTarget::new()));
            let mut recording = open(&world, &store, Start::Earliest).await;
            let mut replaying = vec![];
            for (number, target) in targets.iter().enumerate() {
                world.work(30);
                world.source.tick();
                let replayer = replayer(&store, target.clone(), &format!("r{number}"), Until::Cancelled);
                replaying.push(replay(replayer));
                tokio::time::sleep(Duration::from_millis(world.roll(2000) as u64)).await;
            }
            let to = settle(&mut world);
            recording.reach(to).await;
            for (mut replaying, target) in replaying.into_iter().zip(targets) {
                replaying.reach(to).await;
                replaying.stop().await.unwrap();
                assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
            }
            recording.stop().await.unwrap();
        });
    }
}

#[test]
fn a_log_that_begins_now_holds_what_exists_and_the_rows_that_come() {
    for (mut world, seed) in worlds() {
        process(async {
            let store = Store::memory();
            world.work(60);
            world.source.advance(20_000);
            let begun = world.source.now();
            let recording = open(&world, &store, Start::Now).await;
            world.work(60);
            finish(&mut world, recording).await;
            let contents = replayed(&store, Until::Latest).await;
            assert_same(&contents, &world.oracle.with_rows_after(begun), &format!("seed {seed}"));
        });
    }
}

#[test]
fn a_log_that_begins_after_an_instant_holds_the_rows_from_there_on() {
    for (mut world, seed) in worlds() {
        process(async {
            let store = Store::memory();
            world.work(60);
            let pause = 1 + world.roll(100_000);
            world.source.advance(pause as u64);
            let start = world.source.now();
            world.work(60);
            let recording = open(&world, &store, Start::After(start)).await;
            finish(&mut world, recording).await;
            let contents = replayed(&store, Until::Latest).await;
            assert_same(&contents, &world.oracle.with_rows_after(start), &format!("seed {seed}"));
        });
    }
}

#[test]
fn a_start_in_the_future_is_refused() {
    process(async {
        let (world, store) = (World::new(1, 0, Duplicates::Kept), Store::memory());
        let start = Start::After(Tso::from_millis(world.source.now().millis() + 1_000));
        let error = record(recorder(&world.source, &store, start)).error().await;
        assert_eq!(error.verdict, Verdict::Usage);
        assert!(error.message.contains("lies in the future") && error.advice.is_some(), "{error}");
        assert_eq!(store.list("", None).await.unwrap(), [], "no log is left behind");
    });
}

#[test]
fn a_start_that_the_source_gave_out_a_moment_ago_is_waited_for() {
    process(async {
        let (mut world, store) = (World::new(1, 0, Duplicates::Kept), Store::memory());
        let start = world.source.now();
        let recording = record(recorder(&world.source, &store, Start::After(start)));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!recording.has_ended());
        world.source.advance(6_000);
        world.work(20);
        finish(&mut world, recording).await;
    });
}
