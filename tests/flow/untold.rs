//! What later versions can alter and no target is told: it is in the log, and the replay says that it is incomplete.

use std::sync::Arc;

use serde_json::Value;
use tapedeck::log::inspect::cat;
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::position::Seq;
use tapedeck::progress::RecordProgress;
use tapedeck::recorder::Start;
use tapedeck::replayer::{Depth, Until};
use tapedeck::selection::Selection;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::MemoryTarget;
use tapedeck::tick::Tso;

use super::oracle::assert_same;
use super::stage::{
    Running, base, finish, forget, open, process, prune_below, record, recorder, replay, replayer, settle,
};
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
fn a_base_does_not_forget_what_no_replayer_can_apply() {
    process(async {
        let store = Store::memory();
        let (mut world, _, mut recording) = indexed(&store).await;
        let partition = world.tables[0].default_partition();
        let mut since = None;
        for (round, types) in [vec![408, 1600], vec![], vec![1500, 408]].into_iter().enumerate() {
            for msg_type in types {
                let sent = world.source.send_other(msg_type);
                since.get_or_insert(sent);
            }
            world.insert(0, partition, &[round as i64]);
            recording.reach(settle(&mut world)).await;
            assert!(base(&store, None).await.taken);
        }
        finish(&mut world, recording).await;
        let target = Arc::new(MemoryTarget::new());
        let until = Until::Tso(last_watermark(&store).await);
        let Until::Tso(to) = until else { return };
        let plan = replayer(&store, target.clone(), "r", until).plan(to, Depth::Rows, |_, _| {}).await;
        let plan = plan.expect("a plan");
        assert!(plan.base.is_some());
        let names = ["Import", "CreateRole", "CreateCredential"].map(str::to_owned).to_vec();
        assert_eq!(plan.incomplete, names);
        let replaying = replay(replayer(&store, target, "r", until));
        let progress = replaying.progress.clone();
        replaying.end().await.expect("a replay to its end");
        assert_eq!(progress.borrow().incomplete, since.map(|since| (since, names)));
        // The floor stands where the base does, and the next base begins with it.
        prune_below(&store, plan.base.expect("a base").commit).await;
        assert_eq!(left_out(&store, &world, "*.*").await, ["CreateCredential", "CreateRole", "Import"]);
    });
}

async fn last_watermark(store: &Store) -> Tso {
    let reader = LogReader::open(store.clone()).await.expect("a log");
    let tail = reader.tail().await.expect("a store that answers").expect("a commit");
    Tso(reader.existing(tail).await.expect("a commit").commit.watermark)
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
