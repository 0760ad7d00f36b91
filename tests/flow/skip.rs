//! A replay leaves out one named change, and nothing else: the mistaken drop, delete or creation is undone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tapedeck::change::CollectionName;
use tapedeck::error::{Error, Verdict};
use tapedeck::log::reader::{Follower, LogReader};
use tapedeck::log::store::Store;
use tapedeck::pb::log::{Definition, definition::Change, record::Body};
use tapedeck::position::Seq;
use tapedeck::recorder::Start;
use tapedeck::replayer::{Depth, Place, Replayer, Skip, Until};
use tapedeck::selection::{Renames, Selection};
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::{Contents, Fault, MemoryTarget};
use tapedeck::tick::Tso;

use super::doomed::Doomed;
use super::oracle::{assert_same, dated};
use super::stage::{finish, forget, open, process, replay, replayer, seed, settle};
use super::world::{Duplicates, World};

/// `docs` with rows in two partitions and an alias, and `other` with rows.
fn world() -> World {
    let mut world = World::new(2, 7, Duplicates::Avoided);
    for name in ["docs", "other"] {
        world.create(CollectionSpec::new(name));
        let partition = world.tables.last().expect("a table").default_partition();
        world.insert(world.tables.len() - 1, partition, &[1, 2, 3]);
    }
    let partition = world.create_partition(0, "p");
    world.insert(0, partition, &[4, 5]);
    world.set_alias(0, "x");
    world
}

/// Records a world, a mistake and what comes after it, in several commits. Returns when the mistake was made.
async fn recorded(world: &mut World, store: &Store, mistake: impl FnOnce(&mut World)) -> Tso {
    let mut recording = open(world, store, Start::Earliest).await;
    mistake(world);
    let at = world.oracle.last();
    let to = settle(world);
    recording.reach(to).await;
    after(world);
    finish(world, recording).await;
    at
}

fn after(world: &mut World) {
    let last = world.tables.len() - 1;
    let partition = world.tables[last].default_partition();
    world.insert(last, partition, &[10, 11]);
    world.upsert(last, partition, &[1]);
}

/// All definitions with their places.
async fn definitions(store: &Store) -> Vec<(Place, Definition)> {
    let mut follower = Follower::after(LogReader::open(store.clone()).await.unwrap(), Seq(0)).await.unwrap();
    let mut all = Vec::new();
    while let Some(sealed) = follower.next().await.unwrap() {
        let mut number = 0;
        for reference in &sealed.commit.segments {
            for record in follower.reader().segment(reference).await.unwrap().records {
                let Some(Body::Definition(definition)) = record.body else { continue };
                number += 1;
                all.push((Place::Definition(sealed.seq(), number), definition));
            }
        }
    }
    all
}

/// The place of the last definition that is meant.
async fn place(store: &Store, meant: impl Fn(&Change) -> bool) -> Place {
    let all = definitions(store).await.into_iter();
    let mut meant = all.filter(|(_, definition)| definition.change.as_ref().is_some_and(&meant));
    meant.next_back().expect("the definition").0
}

async fn drop_of_a_collection(store: &Store) -> Place {
    place(store, |change| matches!(change, Change::DropCollection(_))).await
}

fn without(store: &Store, target: &Arc<MemoryTarget>, places: &[Place]) -> Replayer {
    let skip = Skip::new(places.iter().copied());
    Replayer { skip, ..replayer(store, target.clone(), "r", Until::Latest) }
}

async fn replayed_without(store: &Store, places: &[Place]) -> Contents {
    let target = Arc::new(MemoryTarget::new());
    replay(without(store, &target, places)).end().await.expect("a replay to its end");
    forget(store, "r").await;
    target.contents()
}

/// The replay is refused, nothing is applied, and no position is kept. A plan says the same.
async fn refused(store: &Store, places: &[Place]) -> Error {
    let target = Arc::new(MemoryTarget::new());
    let error = replay(without(store, &target, places)).error().await;
    let to = Tso(last_watermark(store).await);
    let planned = without(store, &target, places).plan(to, Depth::Definitions, |_, _| {}).await.unwrap_err();
    assert_eq!(planned.message, error.message);
    assert_eq!((target.calls(), store.list("readers", None).await.unwrap()), (0, vec![]), "{error}");
    error
}

async fn last_watermark(store: &Store) -> u64 {
    let reader = LogReader::open(store.clone()).await.unwrap();
    let tail = reader.tail().await.unwrap().unwrap();
    reader.commit(tail).await.unwrap().unwrap().commit.watermark
}

#[test]
fn a_collection_whose_drop_is_left_out_is_there_with_its_rows() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        let mistake = recorded(&mut world, &store, |world| world.drop_collection(0)).await;
        let contents = replayed_without(&store, &[drop_of_a_collection(&store).await]).await;
        let expected = world.oracle.without(|tso, _| tso == mistake).contents();
        assert!(expected.collections.contains_key(&CollectionName::new("default", "docs")));
        assert_same(&contents, &expected, "without the drop");
    });
}

#[test]
fn rows_whose_delete_is_left_out_are_there() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        let mistake = recorded(&mut world, &store, |world| world.delete(0, None, &[1, 2, 4])).await;
        let contents = replayed_without(&store, &[Place::Deletes(mistake)]).await;
        let expected = world.oracle.without(|tso, _| tso == mistake).contents();
        assert_same(&contents, &expected, "without the delete");
        assert_ne!(contents, world.oracle.contents());
    });
}

/// What is done after a mistaken delete of keys 1, 2 and 4 of `docs`.
type Repair = fn(&mut World);

#[test]
fn an_insert_of_a_key_whose_delete_is_left_out_is_refused_and_the_target_is_untouched() {
    process(async {
        let again: Repair = |world| {
            let partition = world.tables[0].default_partition();
            world.insert(0, partition, &[20, 2]);
        };
        let elsewhere: Repair = |world| {
            let partition = *world.tables[0].partitions.keys().next_back().expect("a partition");
            world.insert(0, partition, &[1]);
        };
        for (repair, key) in [(again, 2), (elsewhere, 1)] {
            let (store, mut world) = (Store::memory(), world());
            let mistake = recorded(&mut world, &store, |world| world.delete(0, None, &[1, 2, 4])).await;
            let recording = open(&world, &store, Start::Earliest).await;
            repair(&mut world);
            let inserted = world.oracle.last();
            finish(&mut world, recording).await;
            let error = refused(&store, &[Place::Deletes(mistake)]).await;
            assert_eq!(error.verdict, Verdict::Refused, "{error}");
            for says in [
                format!("the insert of key {key} into default.docs at "),
                format!("tso:{inserted}"),
                format!("tso:{mistake}"),
                "clashes with".to_owned(),
            ] {
                assert!(error.message.contains(&says), "{error}");
            }
            assert!(error.advice.unwrap().contains("an instant before that insert"));
        }
    });
}

#[test]
fn an_insert_of_a_key_that_was_deleted_again_or_deleted_elsewhere_is_no_clash() {
    process(async {
        let deleted: Repair = |world| {
            let partition = world.tables[0].default_partition();
            world.delete(0, Some(partition), &[1, 2]);
            world.insert(0, partition, &[1, 2]);
        };
        let upserted: Repair = |world| {
            let partition = world.tables[0].default_partition();
            world.upsert(0, partition, &[1]);
            world.upsert(0, partition, &[1]);
            world.delete(0, None, &[1]);
            world.insert(0, partition, &[1]);
        };
        let other: Repair = |world| {
            let other = *world.tables[0].partitions.keys().next_back().expect("a partition");
            world.insert(0, other, &[1]);
        };
        for repair in [deleted, upserted, other] {
            let (store, mut world) = (Store::memory(), world());
            let mistake = |world: &mut World| {
                let partition = world.tables[0].default_partition();
                world.delete(0, Some(partition), &[1, 2]);
            };
            let mistake = recorded(&mut world, &store, mistake).await;
            let recording = open(&world, &store, Start::Earliest).await;
            repair(&mut world);
            finish(&mut world, recording).await;
            let contents = replayed_without(&store, &[Place::Deletes(mistake)]).await;
            let expected = world.oracle.without(|tso, _| tso == mistake).contents();
            assert_same(&contents, &expected, "without the delete");
        }
    });
}

#[test]
fn of_a_creation_that_is_left_out_nothing_is_there() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        let mistake = |world: &mut World| {
            world.create(CollectionSpec::new("wrong"));
            let partition = world.create_partition(2, "q");
            world.insert(2, partition, &[1, 2]);
            world.create_index(2);
            world.load(2);
            world.set_alias(2, "y");
        };
        recorded(&mut world, &store, mistake).await;
        let name = |change: &Change| matches!(change, Change::CreateCollection(it) if it.name == "wrong");
        let contents = replayed_without(&store, &[place(&store, name).await]).await;
        let expected = world.oracle.without(|_, change| change.contains("wrong")).contents();
        assert_same(&contents, &expected, "without the creation");
        assert!(contents.collections.len() == 2 && world.oracle.contents().collections.len() == 3);
    });
}

#[test]
fn of_a_partition_whose_creation_is_left_out_no_row_is_there() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        world.create_index(1);
        world.load(1);
        let mistake = |world: &mut World| {
            // It is loaded at once: its collection is.
            let partition = world.create_partition(1, "wrong");
            world.insert(1, partition, &[7, 8]);
            world.delete(1, Some(partition), &[7]);
        };
        recorded(&mut world, &store, mistake).await;
        let created = |change: &Change| matches!(change, Change::CreatePartition(_));
        let contents = replayed_without(&store, &[place(&store, created).await]).await;
        let expected = world.oracle.without(|_, change| change.contains("wrong")).contents();
        assert_same(&contents, &expected, "without the partition");
    });
}

#[test]
fn what_clashes_with_something_kept_is_refused_and_the_target_is_untouched() {
    process(async {
        type Mistake = fn(&mut World);
        let again: Mistake = |world| {
            world.drop_collection(0);
            world.create(CollectionSpec::new("docs"));
        };
        let renamed: Mistake = |world| {
            world.drop_collection(0);
            world.rename(0, 1, "docs");
        };
        let alias: Mistake = |world| {
            world.drop_collection(0);
            world.set_alias(0, "x");
        };
        let named_as_alias: Mistake = |world| {
            world.drop_collection(0);
            world.create(CollectionSpec::new("x"));
        };
        let named_as_collection: Mistake = |world| {
            world.drop_collection(0);
            world.set_alias(0, "docs");
        };
        let partition: Mistake = |world| {
            let id = *world.tables[0].partitions.keys().next_back().expect("a partition");
            world.drop_partition(0, id);
            world.create_partition(0, "p");
        };
        let kept = |change: &Change| matches!(change, Change::DropCollection(_) | Change::DropPartition(_));
        for (mistake, says) in [
            (again, "the creation of default.docs at "),
            (renamed, "the rename to default.docs at "),
            (alias, "x at "),
            (named_as_alias, "the creation of default.x at "),
            (named_as_collection, "the creation of alias docs at "),
            (partition, "the creation of partition p of default.docs at "),
        ] {
            let (store, mut world) = (Store::memory(), world());
            recorded(&mut world, &store, mistake).await;
            let error = refused(&store, &[place(&store, kept).await]).await;
            assert_eq!(error.verdict, Verdict::Refused, "{error}");
            assert!(error.message.contains(says) && error.message.contains("clashes with"), "{error}");
            assert!(error.advice.unwrap().contains("earlier instant"));
        }
    });
}

#[test]
fn an_index_whose_drop_is_left_out_stays_and_clashes_with_another_of_its_field() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        world.create_index(0);
        let mut recording = open(&world, &store, Start::Earliest).await;
        let to = settle(&mut world);
        recording.reach(to).await;
        world.drop_index(0);
        finish(&mut world, recording).await;
        let drop = place(&store, |change| matches!(change, Change::DropIndex(_))).await;
        let contents = replayed_without(&store, &[drop]).await;
        let expected = world.oracle.without(|_, change| change.contains("DropIndex")).contents();
        assert_same(&contents, &expected, "without the drop of the index");
        let recording = open(&world, &store, Start::Earliest).await;
        world.create_index(0);
        finish(&mut world, recording).await;
        let error = refused(&store, &[drop]).await;
        assert!(error.message.contains("clashes with the index"), "{error}");
    });
}

#[test]
fn a_database_dropped_with_a_collection_that_is_kept_is_refused_unless_it_is_kept_too() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        let database = world.create_database("short");
        world.create(CollectionSpec { database, ..CollectionSpec::new("lived") });
        let partition = world.tables[2].default_partition();
        world.insert(2, partition, &[1, 2]);
        recorded(&mut world, &store, |world| {
            world.drop_collection(2);
            world.drop_empty_database();
        })
        .await;
        let (kept, of) = (
            drop_of_a_collection(&store).await,
            place(&store, |change| matches!(change, Change::DropDatabase(_))).await,
        );
        let error = refused(&store, &[kept]).await;
        assert!(error.message.contains("the drop of database short"), "{error}");
        assert!(error.message.contains(&of.to_string()), "{error}");
        let contents = replayed_without(&store, &[kept, of]).await;
        let dropped = |change: &str| change.contains("DropCollection") || change.contains("DropDatabase");
        let expected = world.oracle.without(|_, change| dropped(change)).contents();
        assert_same(&contents, &expected, "without both drops");
    });
}

#[test]
fn a_place_at_which_nothing_is_and_a_change_that_others_need_are_refused() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        world.create_index(0);
        recorded(&mut world, &store, |world| world.delete(0, None, &[1])).await;
        let upsert = world.oracle.last();
        let index = place(&store, |change| matches!(change, Change::CreateIndex(_))).await;
        for (place, says) in [
            (
                Place::Definition(Seq(1), 999),
                "skip 1:999: up to where the replay ends there is no such change",
            ),
            (Place::Definition(Seq(999), 1), "skip 999:1: up to"),
            (Place::Deletes(Tso(5)), "skip tso:5: up to"),
            (Place::Deletes(upsert), "this request inserts rows"),
            (index, "the creation of an index cannot be left out"),
        ] {
            let error = refused(&store, &[place]).await;
            assert_eq!((error.verdict, error.advice.is_some()), (Verdict::Usage, true), "{error}");
            assert!(error.message.contains(says), "{error}");
        }
    });
}

#[test]
fn a_change_of_what_is_not_selected_cannot_be_left_out() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        let mistake = |world: &mut World| {
            world.drop_collection(0);
            world.delete(0, None, &[3]);
        };
        let delete = Place::Deletes(recorded(&mut world, &store, mistake).await);
        let drop = drop_of_a_collection(&store).await;
        let (target, to) = (Arc::new(MemoryTarget::new()), Tso(last_watermark(&store).await));
        for (select, place, refused) in [
            ("default.dcos", drop, Some("the drop_collection of default.docs, which is not selected")),
            ("default.other", drop, Some("default.docs, which is not selected")),
            ("default.docs", drop, None),
            ("default.docs", delete, Some("the delete of default.other, which is not selected")),
            ("default.other", delete, None),
        ] {
            let selection = Selection::new(&[select.to_owned()], &[]).unwrap();
            let restore = Replayer { selection, ..without(&store, &target, &[place]) };
            let planned = restore.plan(to, Depth::Definitions, |_, _| {}).await;
            match (planned, refused) {
                (Ok(planned), None) => assert_eq!(planned.left_out.len(), 1, "{select}"),
                (Err(error), Some(says)) => {
                    assert!(error.message.contains(says), "{error}");
                    assert_eq!((error.verdict, error.advice.is_some()), (Verdict::Usage, true), "{error}");
                }
                (planned, _) => panic!("{select} without {place}: {planned:?}"),
            }
        }
    });
}

#[test]
fn a_replay_goes_on_with_the_changes_that_it_has_left_out_so_far_and_with_no_others() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        let mistake = recorded(&mut world, &store, |world| world.delete(0, None, &[1, 2])).await;
        let target = Arc::new(MemoryTarget::new());
        let places = [Place::Deletes(mistake)];
        replay(without(&store, &target, &places)).end().await.unwrap();
        let calls = target.calls();
        for others in [&[][..], &[Place::Definition(Seq(2), 1)]] {
            let error = replay(without(&store, &target, others)).error().await;
            assert_eq!(error.verdict, Verdict::Refused);
            assert!(error.message.contains("left out") && error.message.contains("tso:"), "{error}");
        }
        replay(without(&store, &target, &places)).end().await.unwrap();
        assert_eq!(target.calls(), calls, "nothing is applied twice");
    });
}

#[test]
fn a_replay_that_goes_on_still_knows_what_it_has_kept() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        recorded(&mut world, &store, |world| world.drop_collection(0)).await;
        let (target, drop) = (Arc::new(MemoryTarget::new()), drop_of_a_collection(&store).await);
        replay(without(&store, &target, &[drop])).end().await.unwrap();
        let recording = open(&world, &store, Start::Earliest).await;
        world.create(CollectionSpec::new("docs"));
        finish(&mut world, recording).await;
        let calls = target.calls();
        let error = replay(without(&store, &target, &[drop])).error().await;
        assert!(error.message.contains("clashes with default.docs"), "{error}");
        assert_eq!(target.calls(), calls, "nothing more is applied");
    });
}

#[test]
fn a_replay_that_leaves_something_out_and_dies_at_any_call_of_the_target_gives_the_same_target() {
    let (store, mut world) = (Store::memory(), world());
    let (drop, wrong) = process(async {
        recorded(&mut world, &store, |world| {
            world.drop_collection(0);
            world.create(CollectionSpec::new("wrong"));
            let partition = world.tables[1].default_partition();
            world.insert(1, partition, &[1, 2]);
        })
        .await;
        let wrong = |change: &Change| matches!(change, Change::CreateCollection(it) if it.name == "wrong");
        (drop_of_a_collection(&store).await, place(&store, wrong).await)
    });
    let left_out = |change: &str| change.contains("DropCollection") || change.contains("wrong");
    let expected = world.oracle.without(|_, change| left_out(change)).contents();
    for fault in [Fault::Before, Fault::Half, Fault::After] {
        for at in 1..100 {
            let target = Arc::new(MemoryTarget::new());
            let doomed = Doomed::new(&target, at, fault);
            let survived = process(async {
                let dying = Replayer { target: doomed.clone(), ..without(&store, &target, &[drop, wrong]) };
                tokio::select! {
                    ended = replay(dying).end() => ended.is_ok(),
                    () = async { while !doomed.is_dead() { tokio::time::sleep(Duration::from_millis(10)).await } } => false,
                }
            });
            process(async {
                replay(without(&store, &target, &[drop, wrong])).end().await.unwrap();
                assert_same(&target.contents(), &expected, &format!("{fault:?} at {at}"));
                forget(&store, "r").await;
            });
            if survived {
                assert!(at > 5, "only {at} calls");
                break;
            }
        }
    }
}

#[test]
fn a_dropped_collection_is_restored_beside_the_one_that_has_its_name_now() {
    process(async {
        let (store, mut world) = (Store::memory(), world());
        let before = world.oracle.contents();
        let again = |world: &mut World| {
            world.drop_collection(0);
            world.create(CollectionSpec::new("docs"));
        };
        recorded(&mut world, &store, again).await;
        let created = |change: &Change| matches!(change, Change::CreateCollection(it) if it.name == "docs");
        let places = [drop_of_a_collection(&store).await, place(&store, created).await];
        let target = Arc::new(MemoryTarget::new());
        replay(replayer(&store, target.clone(), "live", Until::Latest)).end().await.unwrap();
        let live = target.contents();

        let selection = Selection::new(&["default.docs".to_owned()], &[]).unwrap();
        let names = BTreeMap::from([("default.docs".to_owned(), "default.restored".to_owned())]);
        let renames = Renames::new(&names, &selection).unwrap();
        let restore = || Replayer {
            selection: selection.clone(),
            renames: renames.clone(),
            ..without(&store, &target, &places)
        };
        let to = Tso(last_watermark(&store).await);
        assert_eq!(restore().plan(to, Depth::Rows, |_, _| {}).await.unwrap().conflicts, []);
        replay(restore()).end().await.unwrap();
        let mut contents = target.contents();
        let restored = contents.collections.remove(&CollectionName::new("default", "restored")).unwrap();
        let docs = &before.collections[&CollectionName::new("default", "docs")];
        assert_eq!(restored.partitions, docs.partitions);
        assert_eq!(contents, live, "nothing else is changed");
    });
}

/// Random work in several commits.
async fn recorded_random(world: &mut World, store: &Store) {
    world.work(20);
    let mut recording = open(world, store, Start::Earliest).await;
    for _ in 0..6 {
        world.work(40);
        let to = settle(world);
        recording.reach(to).await;
    }
    finish(world, recording).await;
}

#[test]
fn any_drop_is_left_out_alone_or_refused_for_a_clash_with_an_untouched_target() {
    let (first, mut left_out, mut clashed) = (seed(), 0, 0);
    for seed in (0..10).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
            recorded_random(&mut world, &store).await;
            for (place, definition) in definitions(&store).await {
                let is_drop = match &definition.change {
                    // Nothing is in the way of what comes after it.
                    Some(Change::AlterCollection(_)) => false,
                    Some(Change::DropCollection(_) | Change::DropPartition(_)) => true,
                    _ => continue,
                };
                let (target, what) = (Arc::new(MemoryTarget::new()), format!("seed {seed}, without {place}"));
                match replay(without(&store, &target, &[place])).end().await {
                    Ok(()) if !is_drop => {}
                    Ok(()) => {
                        let expected = world.oracle.without(|tso, _| tso.0 == definition.tso).contents();
                        assert_same(&dated(target.contents()), &dated(expected), &what);
                        left_out += 1;
                    }
                    Err(error) => {
                        assert!(is_drop && error.message.contains("clashes with"), "{what}: {error}");
                        assert_eq!(target.calls(), 0, "{what}");
                        clashed += 1;
                    }
                }
                forget(&store, "r").await;
            }
        });
    }
    assert!(left_out > 0 && clashed > 0, "{left_out} left out, {clashed} clashed");
}
