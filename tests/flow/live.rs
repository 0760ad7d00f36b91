//! A target is at every moment what its source was a moment ago, whatever people do there.

use std::sync::Arc;
use std::time::Duration;

use tapedeck::log::store::Store;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::target::memory::MemoryTarget;

use super::oracle::assert_same;
use super::stage::{
    assert_clean, process, record, record_all, recorder, replay, replayed, replayer, seed, settle,
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
            let mut recording = record(recorder(&world.source, &store, Start::Earliest));
            recording.until("an opened log", |progress| progress.opens_at > Default::default()).await;
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
