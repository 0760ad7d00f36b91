//! A collection may be shown long after its date, and may come into the selection long after it was created.

use std::time::Duration;

use tapedeck::log::store::Store;
use tapedeck::pb::log::Collection;
use tapedeck::progress::RecordProgress;
use tapedeck::recorder::{Recorder, Start};
use tapedeck::replayer::Until;
use tapedeck::selection::Selection;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::tick::Tso;

use super::oracle::assert_same;
use super::stage::{Running, assert_clean, finish, process, record, recorder, replayed, settle};
use super::world::{Duplicates, World};

/// Records all but the collections whose names begin with `x`.
fn start(world: &World, store: &Store) -> Running<RecordProgress> {
    let selection = Selection::new(&["*.*".to_owned()], &["*.x*".to_owned()]).expect("a selection");
    record(Recorder { selection, ..recorder(&world.source, store, Start::Earliest) })
}

fn empty() -> (World, Store) {
    (World::new(2, 0, Duplicates::Kept), Store::memory())
}

/// A creation that takes so long that the log's watermark passes its date.
async fn overtaken(world: &mut World, recording: &mut Running<RecordProgress>, name: &str) -> Collection {
    let begun = world.source.begin_collection(CollectionSpec::new(name));
    world.source.advance(20_000);
    recording.reach(Tso(begun.create_tso).next()).await;
    begun
}

/// It is there at last, and gets rows.
fn show(world: &mut World, name: &str, begun: Collection) {
    world.show(CollectionSpec::new(name), begun);
    let last = world.tables.len() - 1;
    let partition = world.tables[last].default_partition();
    world.insert(last, partition, &[1, 2, 3]);
}

async fn assert_recorded(store: &Store, world: &World) {
    assert_same(&replayed(store, Until::Latest).await, &world.oracle.contents(), "in the end");
    assert_clean(store).await;
}

#[test]
fn a_collection_that_is_shown_long_after_its_date_is_recorded() {
    for others in [false, true] {
        process(async {
            let (mut world, store) = empty();
            if others {
                world.source.create_collection(CollectionSpec::new("x"));
            }
            let mut recording = start(&world, &store);
            let first = overtaken(&mut world, &mut recording, "first").await;
            let second = overtaken(&mut world, &mut recording, "second").await;
            show(&mut world, "first", first);
            show(&mut world, "second", second);
            recording.reach(settle(&mut world)).await;
            assert_eq!(recording.progress.borrow().left_out, Vec::<String>::new());
            finish(&mut world, recording).await;
            assert_recorded(&store, &world).await;
        });
    }
}

#[test]
fn a_collection_that_is_shown_between_two_runs_long_after_its_date_is_recorded() {
    process(async {
        let (mut world, store) = empty();
        let mut recording = start(&world, &store);
        let begun = overtaken(&mut world, &mut recording, "docs").await;
        recording.stop().await.expect("a clean stop");
        show(&mut world, "docs", begun);
        finish_again(&mut world, &store).await;
        assert_recorded(&store, &world).await;
    });
}

async fn finish_again(world: &mut World, store: &Store) {
    let again = start(world, store);
    finish(world, again).await;
}

#[test]
fn a_collection_that_was_seen_late_and_not_recorded_yet_is_recorded_by_the_next_run() {
    process(async {
        let (mut world, store) = empty();
        let mut recording = start(&world, &store);
        let begun = overtaken(&mut world, &mut recording, "docs").await;
        // The watermark moves, and is committed only when the collection has been seen: without a tick there is no cut.
        let (commits, behind) =
            (recording.progress.borrow().commits, recording.progress.borrow().recorded_to);
        world.source.advance(1_000);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(recording.progress.borrow().commits, commits, "the watermark is not committed yet");
        show(&mut world, "docs", begun);
        recording.reach(behind.next()).await;
        recording.stop().await.expect("a clean stop");
        finish_again(&mut world, &store).await;
        assert_recorded(&store, &world).await;
    });
}

#[test]
fn what_is_done_to_a_late_collection_before_it_is_recorded_is_recorded_with_it() {
    process(async {
        let (mut world, store) = empty();
        let mut recording = start(&world, &store);
        let database = world.create_database("db");
        let spec = CollectionSpec { database, ..CollectionSpec::new("docs") };
        let begun = world.source.begin_collection(spec.clone());
        world.source.advance(20_000);
        recording.reach(Tso(begun.create_tso).next()).await;
        world.show(spec, begun);
        let partition = world.create_partition(0, "p");
        world.insert(0, partition, &[1, 2]);
        world.rename(0, database, "papers");
        finish(&mut world, recording).await;
        assert_recorded(&store, &world).await;
    });
}

/// A collection with rows from before it was selected, which gets more of them; what the recorder says of it.
async fn renamed_into_the_selection(forget: bool) {
    let (mut world, store) = empty();
    let old = world.source.create_collection(CollectionSpec::new("x"));
    world.create(CollectionSpec::new("docs"));
    let mut recording = start(&world, &store);
    recording.reach(settle(&mut world)).await;
    assert_eq!(recording.progress.borrow().left_out, Vec::<String>::new());
    if forget {
        recording.stop().await.expect("a clean stop");
        recording = start(&world, &store);
    }
    world.source.rename_collection(old, 1, "papers");
    if forget {
        world.source.catalog.forget_before(world.source.now().next());
    }
    let told = |progress: &RecordProgress| progress.left_out == ["default.papers"];
    recording.until("told", told).await;
    recording.stop().await.expect("a clean stop");
    let mut again = start(&world, &store);
    again.until("told again", told).await;
    world.source.rename_collection(old, 1, "x");
    again.until("taken back", |progress| progress.left_out.is_empty()).await;
    finish(&mut world, again).await;
    assert_recorded(&store, &world).await;
}

#[test]
fn a_collection_that_a_rename_brings_into_the_selection_is_left_out_and_told() {
    process(renamed_into_the_selection(false));
    process(renamed_into_the_selection(true));
}

#[test]
fn a_late_collection_that_is_selected_only_after_rows_of_it_were_passed_over_is_left_out_and_told() {
    process(async {
        let (mut world, store) = empty();
        let mut recording = start(&world, &store);
        let late = overtaken(&mut world, &mut recording, "x").await;
        let id = late.id;
        world.source.show_collection(late);
        let partition = world.source.default_partition(id);
        world.source.insert(id, partition, &[1]);
        world.source.advance(20_000);
        recording.reach(Tso::from_millis(world.source.now().millis() - 6_000)).await;
        world.source.rename_collection(id, 1, "papers");
        recording.until("told", |progress| progress.left_out == ["default.papers"]).await;
        recording.stop().await.expect("a clean stop");
        let again = start(&world, &store);
        finish(&mut world, again).await;
        assert_recorded(&store, &world).await;
    });
}

/// Milvus' users fill a collection under a name of its own, and then let it take the place of another.
#[test]
fn a_collection_that_takes_the_name_of_another_between_two_looks_stays_out_and_the_log_can_be_replayed() {
    process(async {
        let (mut world, store) = empty();
        world.create(CollectionSpec::new("papers"));
        let mut recording = start(&world, &store);
        recording.reach(settle(&mut world)).await;
        recording.stop().await.expect("a clean stop");
        let staged = world.source.create_collection(CollectionSpec::new("x"));
        world.drop_collection(0);
        world.source.rename_collection(staged, 1, "papers");
        let mut again = start(&world, &store);
        again.reach(settle(&mut world)).await;
        again.until("told", |progress| progress.left_out == ["default.papers"]).await;
        finish(&mut world, again).await;
        assert_recorded(&store, &world).await;
    });
}
