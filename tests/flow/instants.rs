//! A replay up to an instant gives what users of the source saw at that instant.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tapedeck::error::Verdict;
use tapedeck::log::store::Store;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::{Fault, MemoryTarget};
use tapedeck::tick::Tso;

use super::doomed::Doomed;
use super::oracle::{assert_same, dated};
use super::stage::{forget, open, process, record_all, replay, replayed, replayer, seed, settle};
use super::world::{Duplicates, World};

/// Records some rounds of work. Returns when the log opens and the watermarks at which the source was quiet.
async fn recorded(world: &mut World, store: &Store) -> (Tso, Vec<Tso>) {
    let mut recording = open(world, store, Start::Earliest).await;
    let opens_at = recording.progress.borrow().opens_at;
    let mut quiet = vec![];
    for _ in 0..6 {
        let operations = world.roll(50);
        world.work(operations);
        let to = settle(world);
        recording.reach(to).await;
        quiet.push(to);
    }
    recording.stop().await.unwrap();
    (opens_at, quiet)
}

#[test]
fn a_replay_to_an_instant_gives_the_state_at_that_instant() {
    let first = seed();
    for seed in (0..8).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(3, seed, Duplicates::Kept));
            world.work(30);
            let (opens_at, quiet) = recorded(&mut world, &store).await;
            for until in &quiet {
                let contents = replayed(&store, Until::Tso(*until)).await;
                assert_same(&contents, &world.oracle.at(*until), &format!("seed {seed}, quiet at {until}"));
            }
            let mut rng = StdRng::seed_from_u64(seed);
            let end = *quiet.last().unwrap();
            let instants = world.oracle.instants();
            let instants =
                instants.into_iter().filter(|tso| (opens_at..end).contains(tso)).collect::<Vec<_>>();
            for _ in 0..20 {
                let instant = *instants.choose(&mut rng).unwrap();
                // At a change, just before it, or just after it.
                let until = Tso(instant.0 + rng.random_range(0..3) - 1).max(opens_at);
                let contents = replayed(&store, Until::Tso(until)).await;
                let what = format!("seed {seed}, until {until}");
                assert_same(&dated(contents), &dated(world.oracle.at(until)), &what);
            }
        });
    }
}

#[test]
fn what_came_and_went_with_its_database_between_two_cuts_is_there_at_the_instants_between() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        record_all(&mut world, &store).await;
        let database = world.create_database("short");
        world.create(CollectionSpec { database, ..CollectionSpec::new("lived") });
        assert_eq!(world.source.ticking().len(), 2, "a channel for each");
        let partition = world.tables[1].default_partition();
        world.insert(1, partition, &[1, 2]);
        let instant = world.source.now();
        world.drop_collection(1);
        world.drop_empty_database();
        record_all(&mut world, &store).await;
        let contents = replayed(&store, Until::Tso(instant)).await;
        assert_same(&dated(contents), &dated(world.oracle.at(instant)), "before the drop");
        assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), "in the end");
    });
}

#[test]
fn a_replay_to_an_instant_can_be_asked_for_again_and_goes_on_from_there() {
    let seed = seed();
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Avoided));
        let (opens_at, quiet) = recorded(&mut world, &store).await;
        let instants = world.oracle.instants().into_iter().filter(|tso| *tso >= opens_at).collect::<Vec<_>>();
        let target = Arc::new(MemoryTarget::new());
        for until in instants.iter().copied().step_by(5) {
            for _ in 0..2 {
                let replayer = replayer(&store, target.clone(), "r", Until::Tso(until));
                let replaying = replay(replayer);
                let progress = replaying.progress.clone();
                replaying.end().await.unwrap();
                assert_eq!(progress.borrow().applied_to, until);
                let what = format!("seed {seed}, until {until}");
                assert_same(&dated(target.contents()), &dated(world.oracle.at(until)), &what);
            }
        }
        let end = *quiet.last().unwrap();
        replay(replayer(&store, target.clone(), "r", Until::Tso(end))).end().await.unwrap();
        assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
        let back = replay(replayer(&store, target.clone(), "r", Until::Tso(opens_at))).error().await;
        assert_eq!(back.verdict, Verdict::Usage);
        assert!(back.message.contains("is at"), "{back}");
        forget(&store, "r").await;
    });
}

/// A replayer that dies at a call of its target; if it does not make so many, when it has come to the end of the log.
async fn dies(store: &Store, target: &Arc<MemoryTarget>, at: u64, until: Until) {
    let doomed = Doomed::new(target, at, Fault::After);
    let replaying = replay(replayer(store, doomed.clone(), "r", until));
    let mut progress = replaying.progress.clone();
    let at_the_end = progress.wait_for(|to| to.applied_to > Tso::ZERO && to.applied_to >= to.log_to);
    tokio::select! {
        _ = replaying.end() => {}
        Ok(_) = at_the_end => {}
        () = async { while !doomed.is_dead() { tokio::time::sleep(Duration::from_millis(10)).await } } => {}
    }
}

#[test]
fn after_a_crash_a_replay_to_an_instant_ends_there_or_is_refused() {
    let seed = seed();
    let (mut ended, mut refused) = (0, 0);
    let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Avoided));
    let (opens_at, quiet) = process(recorded(&mut world, &store));
    let instants = world.oracle.instants().into_iter().filter(|tso| (opens_at..quiet[5]).contains(tso));
    let instants = instants.collect::<Vec<_>>();
    for at in (2..40).step_by(4) {
        for until in instants.iter().copied().step_by(1 + instants.len() / 6) {
            for first in [Until::Cancelled, Until::Tso(until)] {
                let target = Arc::new(MemoryTarget::new());
                process(dies(&store, &target, at, first));
                process(async {
                    let replaying = replay(replayer(&store, target.clone(), "r", Until::Tso(until)));
                    match replaying.end().await {
                        Ok(()) => {
                            let what = format!("seed {seed}, {first:?}, dead at call {at}, until {until}");
                            assert_same(&dated(target.contents()), &dated(world.oracle.at(until)), &what);
                            ended += 1;
                        }
                        Err(error) => {
                            assert_eq!((error.verdict, first), (Verdict::Usage, Until::Cancelled), "{error}");
                            refused += 1;
                        }
                    }
                    forget(&store, "r").await;
                });
            }
        }
    }
    assert!(ended > 0 && refused > 0, "{ended} ended, {refused} refused");
}

#[test]
fn an_instant_before_the_log_opens_is_refused() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        world.work(20);
        let (opens_at, _) = recorded(&mut world, &store).await;
        let before = Until::Tso(Tso(opens_at.0 - 1));
        let error = replay(replayer(&store, Arc::new(MemoryTarget::new()), "r", before)).error().await;
        assert_eq!(error.verdict, Verdict::Refused);
        assert!(error.message.contains("the log opens at"), "{error}");
    });
}
