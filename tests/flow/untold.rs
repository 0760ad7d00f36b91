//! What later versions can alter and no target is told: it is in the log, and the replay says that it is incomplete.

use std::sync::Arc;

use serde_json::Value;
use tapedeck::log::inspect::cat;
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::position::Seq;
use tapedeck::progress::RecordProgress;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::selection::Selection;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::MemoryTarget;

use super::oracle::assert_same;
use super::stage::{Running, finish, forget, open, process, record, recorder, replay, replayer, settle};
use super::world::{Duplicates, World};

/// A world with one collection and one index, recorded.
async fn indexed(store: &Store) -> (World, i64, Running<RecordProgress>) {
    let mut world = World::new(1, 0, Duplicates::Kept);
    world.create(CollectionSpec::new("docs"));
    world.create_index(0);
    let index = world.tables[0].index.as_ref().expect("an index").0;
    let mut recording = open(&world, store, Start::Earliest).await;
    recording.reach(settle(&mut world)).await;
    (world, index, recording)
}

fn alter_everything(world: &mut World, index: i64) {
    let docs = world.tables[0].id;
    world.source.alter_database(1, "database.replica.number", "2");
    world.source.alter_field(docs, "max_length", "99");
    world.source.alter_index(docs, index, "mmap.enabled", "true");
}

/// What a replay of the whole log says that it left out, and says again after a restart.
async fn left_out(store: &Store, world: &World, selection: &str) -> Vec<String> {
    let target = Arc::new(MemoryTarget::new());
    let selection = Selection::new(&[selection.to_owned()], &[]).expect("a selection");
    let all = selection.matches(&world.tables[0].name);
    let mut said = Vec::new();
    for _ in 0..2 {
        let replaying = replay(tapedeck::replayer::Replayer {
            selection: selection.clone(),
            ..replayer(store, target.clone(), "reader", Until::Latest)
        });
        let progress = replaying.progress.clone();
        replaying.end().await.expect("a replay to its end");
        let incomplete = progress.borrow().incomplete.clone();
        said.push(incomplete);
    }
    forget(store, "reader").await;
    if all {
        assert_same(&target.contents(), &world.oracle.contents(), "in the end");
    }
    let again = said.pop().expect("two runs");
    assert_eq!(said.pop(), Some(again.clone()), "after a restart");
    let mut names = again.map(|(_, names)| names).unwrap_or_default();
    names.sort();
    names
}

/// The alterations that the log holds.
async fn alterations(store: &Store) -> Vec<String> {
    let reader = LogReader::open(store.clone()).await.expect("a log");
    let last = reader.tail().await.expect("a store that answers").expect("a commit");
    let mut all = Vec::new();
    let note = |line: Value| {
        all.extend(line["change"].as_str().filter(|change| change.starts_with("alter")).map(str::to_owned));
        Ok(())
    };
    cat(reader, Seq(1)..last.next(), note).await.expect("a whole log");
    all.sort();
    all
}

const ALL: [&str; 3] = ["altered fields", "an altered index", "properties of a database"];

#[test]
fn what_no_target_is_told_is_recorded_once_and_makes_the_replay_incomplete() {
    process(async {
        let store = Store::memory();
        let (mut world, index, mut recording) = indexed(&store).await;
        assert_eq!(left_out(&store, &world, "*.*").await, Vec::<String>::new());
        alter_everything(&mut world, index);
        recording.reach(settle(&mut world)).await;
        let partition = world.tables[0].default_partition();
        world.insert(0, partition, &[1]);
        finish(&mut world, recording).await;
        assert_eq!(alterations(&store).await, ["alter_collection", "alter_collection", "alter_database"]);
        assert_eq!(left_out(&store, &world, "*.*").await, ALL);
        assert_eq!(left_out(&store, &world, "other.*").await, Vec::<String>::new());
    });
}

#[test]
fn what_was_altered_while_nobody_recorded_is_found_by_comparison() {
    process(async {
        let store = Store::memory();
        let (mut world, index, recording) = indexed(&store).await;
        recording.stop().await.expect("a clean stop");
        alter_everything(&mut world, index);
        world.source.catalog.forget_before(world.source.now().next());
        let again = record(recorder(&world.source, &store, Start::Earliest));
        finish(&mut world, again).await;
        assert_eq!(left_out(&store, &world, "*.*").await, ALL);
    });
}

#[test]
fn an_index_that_is_asked_for_again_is_no_alteration() {
    process(async {
        let store = Store::memory();
        let (mut world, index, mut recording) = indexed(&store).await;
        world.source.create_index_again(world.tables[0].id, index);
        recording.reach(settle(&mut world)).await;
        finish(&mut world, recording).await;
        assert_eq!(alterations(&store).await, Vec::<String>::new());
        assert_eq!(left_out(&store, &world, "*.*").await, Vec::<String>::new());
    });
}
