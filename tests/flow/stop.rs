//! A graceful stop leaves nothing in doubt: the next start applies nothing twice, not even rows that stand twice.

use std::sync::Arc;
use std::time::Duration;

use tapedeck::log::checkpoint::Checkpoints;
use tapedeck::log::store::Store;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::target::memory::MemoryTarget;

use super::oracle::assert_same;
use super::stage::{open, process, replay, replayer, seed, settle};
use super::world::{Duplicates, World};

#[test]
fn after_a_graceful_stop_nothing_is_in_doubt_and_duplicates_stay_exact() {
    let first = seed();
    for seed in (0..8).map(|number| first.wrapping_add(number)) {
        println!("world {seed}");
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        let target = Arc::new(MemoryTarget::new());
        for _ in 0..8 {
            process(async {
                let recording = open(&world, &store, Start::Earliest).await;
                let replaying = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
                for _ in 0..world.roll(5) {
                    world.work(10);
                    settle(&mut world);
                    tokio::time::sleep(Duration::from_millis(world.roll(900) as u64)).await;
                }
                recording.stop().await.unwrap();
                replaying.stop().await.unwrap();
                let (_, saved) = Checkpoints::open(store.clone(), "r").await.unwrap();
                if let Some(saved) = saved {
                    assert_eq!(saved.ack, saved.intent, "seed {seed}");
                }
            });
        }
        process(async {
            let mut recording = open(&world, &store, Start::Earliest).await;
            let to = settle(&mut world);
            recording.reach(to).await;
            let mut replaying = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
            replaying.reach(to).await;
            assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
        });
    }
}

#[test]
fn a_stop_while_the_target_is_away_ends_in_time_and_the_next_start_makes_it_good() {
    let seed = seed();
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Avoided));
        let mut recording = open(&world, &store, Start::Earliest).await;
        let target = Arc::new(MemoryTarget::new());
        let away = super::doomed::Doomed::new(&target, 12, tapedeck::target::memory::Fault::Half);
        let replaying = replay(replayer(&store, away, "r", Until::Cancelled));
        world.work(60);
        let to = settle(&mut world);
        recording.reach(to).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        let asked = tokio::time::Instant::now();
        replaying.stop().await.unwrap();
        assert!(asked.elapsed() <= Duration::from_secs(5), "{:?}", asked.elapsed());
        let mut replaying = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
        replaying.reach(to).await;
        assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
    });
}
