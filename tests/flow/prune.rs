//! Replays of a log that is pruned.

use std::sync::Arc;

use tapedeck::error::Verdict;
use tapedeck::log::layout;
use tapedeck::log::store::Store;
use tapedeck::replayer::{Place, Replayer, Skip, Until};
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::MemoryTarget;

use super::oracle::assert_same;
use super::stage::{assert_clean, base, process, prune_below, record_all, replay, replayed, replayer, seed};
use super::world::{Duplicates, World};

#[test]
fn a_replay_goes_on_above_the_floor_and_holds_the_floor_below() {
    let seed = seed();
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        let partition = world.tables[0].default_partition();
        let target = Arc::new(MemoryTarget::new());
        let mut stands_at = None;
        for keys in [[1, 2, 3], [3, 4, 5], [5, 6, 7]] {
            world.insert(0, partition, &keys);
            record_all(&mut world, &store).await;
            let end = base(&store, None).await.commit;
            let pruned = prune_below(&store, end).await;
            match stands_at {
                None => assert_eq!((pruned.raised, pruned.first_commit), (true, end + 1)),
                // The base of where it stands was the floor before.
                Some(stands) => {
                    assert_eq!((pruned.raised, pruned.first_commit), (false, stands + 1));
                    let why = &pruned.in_the_way[0];
                    assert!(why.contains(&format!("reader r needs what follows commit {stands}")), "{why}");
                }
            }
            replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.expect("its end");
            assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
            let after = prune_below(&store, end).await;
            assert_eq!((after.raised, after.first_commit), (stands_at.is_some(), end + 1));
            stands_at = Some(end);
        }
    });
}

#[test]
fn a_replay_that_leaves_a_change_out_can_start_again_after_a_prune() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Avoided));
        world.create(CollectionSpec::new("docs"));
        let partition = world.tables[0].default_partition();
        world.insert(0, partition, &[1, 2, 3]);
        record_all(&mut world, &store).await;
        world.insert(0, partition, &[4]);
        record_all(&mut world, &store).await;
        let before = base(&store, None).await.commit;
        world.delete(0, None, &[1, 2]);
        let mistake = world.oracle.last();
        let target = Arc::new(MemoryTarget::new());
        for round in 0..3 {
            world.insert(0, partition, &[10 + round]);
            record_all(&mut world, &store).await;
            let skip = Skip::new([Place::Deletes(mistake)]);
            let replayer = Replayer { skip, ..replayer(&store, target.clone(), "r", Until::Latest) };
            replay(replayer).end().await.expect("its end");
            let expected = world.oracle.without(|tso, _| tso == mistake).contents();
            assert_same(&target.contents(), &expected, &format!("round {round}"));
            let newest = base(&store, None).await.commit;
            // Of what lies before, the base before the change is all that it needs.
            let pruned = prune_below(&store, newest).await;
            assert_eq!((pruned.raised, pruned.first_commit), (round == 0, before + 1));
        }
    });
}

#[test]
fn a_log_that_is_pruned_again_and_again_holds_everything_from_its_floor_on() {
    let first = seed();
    for seed in (0..4).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
            world.work(30);
            for round in 0..5 {
                let what = format!("seed {seed}, round {round}");
                let operations = world.roll(40);
                world.work(operations);
                record_all(&mut world, &store).await;
                let taken = base(&store, None).await;
                assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), &what);
                assert_eq!(prune_below(&store, taken.commit).await.first_commit, taken.commit + 1, "{what}");
                assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), &what);
                assert_clean(&store).await;
            }
        });
    }
}

#[test]
fn a_restore_of_an_instant_before_the_floor_is_refused_and_leaves_no_position() {
    let seed = seed();
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        record_all(&mut world, &store).await;
        let before = world.oracle.last();
        world.insert(0, world.tables[0].default_partition(), &[1]);
        record_all(&mut world, &store).await;
        let taken = base(&store, None).await;
        assert!(prune_below(&store, taken.commit).await.raised);
        let target = Arc::new(MemoryTarget::new());
        let error = replay(replayer(&store, target, "late", Until::Tso(before))).error().await;
        let typed = error.verdict == Verdict::Refused && error.message.contains("commit 1 was pruned");
        assert!(typed, "{error}");
        assert_eq!(store.list(layout::READERS, None).await.expect("a listing"), []);
    });
}
