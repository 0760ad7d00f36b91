//! A replay that begins with a base gives what one from the first commit gives, and needs nothing before it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use object_store::memory::InMemory;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tapedeck::archive::base::Report;
use tapedeck::change::{CollectionName, RowChange};
use tapedeck::error::{Error, Result, Verdict};
use tapedeck::log::layout;
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::position::Seq;
use tapedeck::recorder::Start;
use tapedeck::replayer::{Depth, Place, Plan, Replayer, Skip, Until};
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::{Contents, Fault as TargetFault, MemoryTarget};
use tapedeck::target::{Mode, Target};
use tapedeck::tick::Tso;

use super::altered::{Alteration, Altered};
use super::crash::{death, faulty, sweep, whole};
use super::doomed::Doomed;
use super::faulty_store::Fault;
use super::oracle::{assert_newest, assert_same, dated};
use super::stage::{
    base, finish, forget, open, process, prune_below, record_all, replay, replayed, replayer, seed, settle,
};
use super::world::{Duplicates, World};

/// Records some rounds of work, and takes a base after some of them. Returns when the log opens, the watermarks at which
/// the source was quiet, and the bases.
async fn recorded(world: &mut World, store: &Store) -> (Tso, Vec<Tso>, Vec<Report>) {
    world.work(30);
    let mut recording = open(world, store, Start::Earliest).await;
    let opens_at = recording.progress.borrow().opens_at;
    let (mut quiet, mut bases) = (vec![], vec![]);
    for round in 0..6 {
        let operations = world.roll(50);
        world.work(operations);
        let to = settle(world);
        recording.reach(to).await;
        quiet.push(to);
        if round % 2 == 1 {
            bases.push(base(store, None).await);
        }
    }
    finish(world, recording).await;
    (opens_at, quiet, bases)
}

/// Whether a target that may have seen crashes holds what the source does.
fn assert_held(target: &MemoryTarget, world: &World, what: &str) {
    let (found, expected) = (target.contents(), world.oracle.contents());
    match world.duplicates {
        Duplicates::Avoided => assert_same(&found, &expected, what),
        Duplicates::Kept => assert_newest(&found, &expected, what),
    }
}

async fn plan(store: &Store, to: Tso, places: Vec<Place>) -> Plan {
    let replayer = replayer(store, Arc::new(MemoryTarget::new()), "planned", Until::Tso(to));
    let replayer = Replayer { skip: Skip::new(places), ..replayer };
    replayer.plan(to, Depth::Rows, |_, _| {}).await.unwrap()
}

#[test]
fn a_replay_to_any_instant_after_a_base_gives_the_state_at_that_instant() {
    let first = seed();
    for seed in (0..8).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) =
                (Store::memory(), World::new(1 + seed as usize % 3, seed, Duplicates::Kept));
            let (opens_at, quiet, bases) = recorded(&mut world, &store).await;
            let mut rng = StdRng::seed_from_u64(seed);
            let end = *quiet.last().unwrap();
            let instants = world.oracle.instants();
            let instants =
                instants.into_iter().filter(|tso| (opens_at..end).contains(tso)).collect::<Vec<_>>();
            for _ in 0..20 {
                let instant = *instants.choose(&mut rng).unwrap();
                // At a change, just before it, or just after it.
                let until = Tso(instant.0 + rng.random_range(0..3) - 1).max(opens_at);
                let newest = bases.iter().rfind(|base| base.tso <= until.0).map(|base| base.commit);
                assert_eq!(plan(&store, until, vec![]).await.base.map(|base| base.commit), newest);
                let contents = replayed(&store, Until::Tso(until)).await;
                let what = format!("seed {seed}, until {until}, base {newest:?}");
                assert_same(&dated(contents), &dated(world.oracle.at(until)), &what);
            }
            let first = &bases[0];
            let pruned = prune_below(&store, first.commit).await;
            assert_eq!((pruned.first_commit, pruned.waits_for), (first.commit + 1, vec![]));
            for until in quiet.iter().copied().filter(|to| to.0 >= first.tso) {
                let contents = replayed(&store, Until::Tso(until)).await;
                assert_same(&contents, &world.oracle.at(until), &format!("seed {seed}, quiet at {until}"));
            }
            assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), "in the end");
        });
    }
}

#[test]
fn a_plan_names_the_base_and_counts_what_the_replay_then_does() {
    process(async {
        let seed = seed();
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        let (_, quiet, bases) = recorded(&mut world, &store).await;
        let (to, last) = (quiet[4], &bases[1]);
        let target = Arc::new(MemoryTarget::new());
        let replayer = || replayer(&store, target.clone(), "r", Until::Tso(to));
        let plan = replayer().plan(to, Depth::Rows, |_, _| {}).await.unwrap();
        let named = plan.base.clone().expect("a base");
        assert_eq!((named.commit, named.rows, named.bytes), (last.commit, last.rows, last.bytes));
        let replaying = replay(replayer());
        let progress = replaying.progress.clone();
        replaying.end().await.unwrap();
        let done = progress.borrow().clone();
        assert_eq!((plan.bytes, plan.commits + 1), (done.bytes, done.commits), "seed {seed}");
        assert_eq!(plan.inserted, done.rows.inserted + done.rows.upserted, "seed {seed}");
        let again = replayer().plan(to, Depth::Rows, |_, _| {}).await.unwrap();
        assert!(again.done && again.base.is_none() && again.commits == 0, "{again:?}");
    });
}

#[test]
fn a_change_that_is_left_out_is_never_within_the_base() {
    process(async {
        let seed = seed();
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        let (_, quiet, bases) = recorded(&mut world, &store).await;
        let partition = world.tables[0].default_partition();
        let mut recording = open(&world, &store, Start::Earliest).await;
        world.insert(0, partition, &[1, 2, 3]);
        let to = settle(&mut world);
        recording.reach(to).await;
        world.delete(0, None, &[1, 2]);
        let deleted = world.oracle.last();
        let to = settle(&mut world);
        recording.reach(to).await;
        recording.stop().await.unwrap();
        let newest = bases.last().unwrap().commit;
        let before = |places| plan(&store, to, places);
        let later = before(vec![Place::Deletes(deleted)]).await;
        assert_eq!(later.base.map(|base| base.commit), Some(newest));
        let all = LogReader::open(store.clone()).await.unwrap();
        base(&store, None).await;
        assert_eq!(all.bases().await.unwrap().len(), bases.len() + 1);
        let within = before(vec![Place::Deletes(deleted)]).await;
        assert_eq!(within.base.map(|base| base.commit), Some(newest), "not the one that holds the delete");
        let target = Arc::new(MemoryTarget::new());
        let leaving_out = || Replayer {
            skip: Skip::new([Place::Deletes(deleted)]),
            ..replayer(&store, target.clone(), "r", Until::Tso(to))
        };
        replay(leaving_out()).end().await.unwrap();
        let kept = world.oracle.without(|tso, _| tso == deleted).at(to);
        assert_same(&target.contents(), &kept, &format!("seed {seed}"));
        // A run that goes on rehearses from a base as well.
        replay(leaving_out()).end().await.unwrap();
        assert_same(&target.contents(), &kept, &format!("seed {seed}, again"));
        assert!(quiet.last().unwrap() < &to);
    });
}

/// A replay that is told to be refused, and what it left at the target.
async fn refused(store: &Store) -> (Error, Contents) {
    let target = Arc::new(MemoryTarget::new());
    let error = replay(replayer(store, target.clone(), "refused", Until::Latest)).error().await;
    forget(store, "refused").await;
    (error, target.contents())
}

#[test]
fn a_base_with_a_missing_cut_or_damaged_object_is_named_and_nothing_of_it_is_applied() {
    process(async {
        let seed = seed();
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        recorded(&mut world, &store).await;
        world.create(CollectionSpec::new("large"));
        let large = world.tables.len() - 1;
        let partition = world.tables[large].default_partition();
        world.insert(large, partition, &(0..200).collect::<Vec<_>>());
        record_all(&mut world, &store).await;
        let newest = Seq(base(&store, None).await.commit);
        let reader = LogReader::open(store.clone()).await.unwrap();
        let segments = reader.base(newest).await.unwrap().unwrap().segments;
        assert!(segments.len() > 2, "{segments:?}");
        let keys = segments.iter().map(|segment| segment.key.clone()).collect::<Vec<_>>();
        for (key, at_once) in keys.iter().map(|key| (key, keys.first() == Some(key))) {
            let stored = store.get(key).await.unwrap().unwrap();
            store.delete(key).await.unwrap();
            let (error, contents) = refused(&store).await;
            assert!(error.message.contains(&format!("{key} is missing")), "{error}");
            assert_eq!((error.verdict, contents), (Verdict::Refused, MemoryTarget::new().contents()));
            store.put(key, stored.slice(..stored.len() - 1)).await.unwrap();
            let (error, contents) = refused(&store).await;
            assert!(error.message.contains(&format!("{key} has ")), "{error}");
            assert_eq!((error.verdict, contents), (Verdict::Refused, MemoryTarget::new().contents()));
            let mut flipped = stored.to_vec();
            flipped[stored.len() / 2] ^= 1;
            store.put(key, flipped.into()).await.unwrap();
            let (error, contents) = refused(&store).await;
            assert!(error.verdict == Verdict::Refused && error.message.contains(key), "{error}");
            assert!(!at_once || contents == MemoryTarget::new().contents());
            store.put(key, stored).await.unwrap();
        }
        let manifest = layout::base(newest);
        store.put(&manifest, "damaged".into()).await.unwrap();
        let (error, contents) = refused(&store).await;
        assert!(error.verdict == Verdict::Refused && error.message.contains(&manifest), "{error}");
        assert_eq!(contents, MemoryTarget::new().contents());
    });
}

/// A log with a base in its middle.
fn with_base(seed: u64, duplicates: Duplicates) -> (Arc<InMemory>, World) {
    let (inner, mut world) = (Arc::new(InMemory::new()), World::new(2, seed, duplicates));
    process(async {
        let store = whole(&inner);
        world.work(30);
        let mut recording = open(&world, &store, Start::Earliest).await;
        for _ in 0..3 {
            world.work(12);
            let to = settle(&mut world);
            recording.reach(to).await;
        }
        let taken = base(&store, None).await;
        world.work(12);
        finish(&mut world, recording).await;
        prune_below(&store, taken.commit).await;
    });
    (inner, world)
}

/// A replayer that dies, and then one that does not. True if the first came to its end.
fn replays_through(
    (inner, world): &(Arc<InMemory>, World),
    fault: Fault,
    k: u64,
    of_target: Option<TargetFault>,
) -> bool {
    let target = Arc::new(MemoryTarget::new());
    let survived = process(async {
        let (store, calls) = faulty(inner, fault);
        let at = if of_target.is_some() { k } else { u64::MAX };
        let doomed = Doomed::new(&target, at, of_target.unwrap_or(TargetFault::Before));
        let replaying = replay(replayer(&store, doomed.clone(), "r", Until::Latest));
        let is_dead = || doomed.is_dead() || (of_target.is_none() && calls.load(Ordering::SeqCst) >= k);
        tokio::select! {
            ended = replaying.end() => { ended.unwrap(); true }
            () = death(is_dead) => false,
        }
    });
    process(async {
        let store = whole(inner);
        replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.unwrap();
        assert_held(&target, world, &format!("{fault:?}, target {of_target:?} at {k}"));
        forget(&store, "r").await;
    });
    survived
}

#[test]
fn a_replayer_that_dies_within_a_base_goes_on_with_it() {
    let seed = seed();
    for log in Duplicates::BOTH.map(|duplicates| with_base(seed, duplicates)) {
        for fault in [Fault::StopBefore, Fault::StopAfter] {
            let calls = sweep(|k| replays_through(&log, fault(k), k, None));
            assert!(calls > 5, "only {calls} calls");
        }
        for fault in [TargetFault::Before, TargetFault::Half, TargetFault::After] {
            let calls = sweep(|k| replays_through(&log, Fault::None, k, Some(fault)));
            assert!(calls > 5, "only {calls} calls");
        }
    }
}

#[test]
fn a_replayer_that_died_within_a_base_goes_on_with_that_one_and_not_with_a_newer() {
    let seed = seed();
    for at in 1..30 {
        let (inner, mut world) = with_base(seed, Duplicates::Avoided);
        let target = Arc::new(MemoryTarget::new());
        process(async {
            let store = whole(&inner);
            let doomed = Doomed::new(&target, at, TargetFault::After);
            let replaying = replay(replayer(&store, doomed.clone(), "r", Until::Latest));
            tokio::select! {
                ended = replaying.end() => ended.unwrap(),
                () = death(|| doomed.is_dead()) => {}
            }
        });
        process(async {
            let store = whole(&inner);
            let recording = open(&world, &store, Start::Earliest).await;
            world.work(12);
            finish(&mut world, recording).await;
            base(&store, None).await;
            let replaying = replay(replayer(&store, target.clone(), "r", Until::Latest));
            replaying.end().await.unwrap();
            assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}, dead at {at}"));
        });
    }
}

#[test]
fn a_tailing_replayer_begins_with_the_newest_base_and_follows() {
    process(async {
        let seed = seed();
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        let (.., bases) = recorded(&mut world, &store).await;
        prune_below(&store, bases.last().unwrap().commit).await;
        let target = Arc::new(MemoryTarget::new());
        let replaying = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
        let recording = open(&world, &store, Start::Earliest).await;
        world.work(20);
        let mut replaying = replaying;
        finish(&mut world, recording).await;
        let to = world.oracle.last();
        replaying.reach(to).await;
        replaying.stop().await.unwrap();
        assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
    });
}

/// A target for which inserts take their time.
struct Slow(MemoryTarget);

#[async_trait]
impl Alteration for Slow {
    fn target(&self) -> &MemoryTarget {
        &self.0
    }

    async fn write(&self, collection: &CollectionName, change: &RowChange, mode: Mode) -> Result<()> {
        if matches!(change, RowChange::Insert { .. }) {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        self.0.write(collection, change, mode).await
    }
}

#[test]
fn nothing_that_follows_a_base_overtakes_its_rows_whatever_shard_they_are_of() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        world.create(CollectionSpec { shards: 2, ..CollectionSpec::new("docs") });
        let partition = world.tables[0].default_partition();
        let keys = (0..20).collect::<Vec<_>>();
        let mut recording = open(&world, &store, Start::Earliest).await;
        world.insert(0, partition, &keys);
        let to = settle(&mut world);
        recording.reach(to).await;
        base(&store, None).await;
        world.delete(0, None, &keys);
        finish(&mut world, recording).await;
        let target = Arc::new(Altered(Slow(MemoryTarget::new())));
        replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.unwrap();
        assert_same(&target.target().contents(), &world.oracle.contents(), "in the end");
    });
}
