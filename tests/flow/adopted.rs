//! A backup that another tool has made of a source, in the place of its segments.

use tapedeck::log::store::Store;
use tapedeck::recorder::{Recorder, Start};
use tapedeck::source::Storage;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::source::segments::SegmentList;

use super::backup::full_meta;
use super::base::{assert_recorded, docs, open, past, seed_with_base, stored, time_passes, trimmed};
use super::stage::{finish, process, record, recorder, seed};
use super::world::{Duplicates, World};

/// The folder of a backup of all that is stored.
async fn backed_up(world: &World, storage: &Store) -> Store {
    backup_of(&stored(world).await, world, storage).await
}

async fn backup_of(list: &SegmentList, world: &World, storage: &Store) -> Store {
    let backup = Store::memory();
    for (path, _) in storage.list("", None).await.unwrap() {
        let bytes = storage.get(&path).await.unwrap().unwrap();
        backup.put(&format!("binlogs/{path}"), bytes).await.unwrap();
    }
    let of = world.tables.iter().map(|table| world.source.collection(table.id).clone()).collect::<Vec<_>>();
    let meta = full_meta(list, &of, true);
    backup.put("meta/full_meta.json", meta.to_string().into()).await.unwrap();
    backup
}

fn adopting(world: &World, backup: &Store, log: &Store) -> Recorder {
    Recorder {
        storage: Some(Storage::Backup(backup.clone())),
        ..recorder(&world.source, log, Start::Earliest)
    }
}

#[test]
fn a_backup_and_the_queue_behind_its_checkpoints_are_the_source() {
    let first = seed_with_base();
    for seed in (0..8).map(|number| first.wrapping_add(number)) {
        let mut world = World::new(2, seed, Duplicates::BOTH[seed as usize % 2]);
        let (storage, log) = (Store::memory(), Store::memory());
        process(async {
            past(&mut world, &storage).await;
            let backup = backed_up(&world, &storage).await;
            // The source goes on, and forgets what the backup was made of.
            world.work(20);
            world.source.compact_segments(&storage).await;
            let mut recording = record(adopting(&world, &backup, &log));
            open(&mut world, &mut recording).await;
            world.work(20);
            finish(&mut world, recording).await;
            assert_recorded(&world, &log, &format!("seed {seed}")).await;
        });
    }
}

/// Where Milvus does not tell the tool which files a segment has, it takes those that stand there.
#[test]
fn rows_that_a_dead_data_node_left_in_a_segment_of_a_backup_come_once() {
    process(async {
        let (storage, log) = (Store::memory(), Store::memory());
        let (mut world, _) = docs(&storage).await;
        let list = world.source.segments_with_repeats(&storage).await;
        let backup = backup_of(&list, &world, &storage).await;
        let mut recording = record(adopting(&world, &backup, &log));
        open(&mut world, &mut recording).await;
        finish(&mut world, recording).await;
        assert_recorded(&world, &log, "with repeats").await;
    });
}

#[test]
fn a_backup_that_does_not_reach_to_what_the_queue_holds_is_refused_and_nothing_is_committed() {
    let refused = |what: &str, go_on: fn(&mut World)| {
        process(async {
            let (storage, mut world) = (Store::memory(), World::new(1, seed(), Duplicates::Kept));
            world.create(CollectionSpec::new("docs"));
            world.insert(0, world.tables[0].default_partition(), &[1, 2, 3]);
            trimmed(&mut world, &storage).await;
            let backup = backed_up(&world, &storage).await;
            go_on(&mut world);
            trimmed(&mut world, &storage).await;
            let log = Store::memory();
            let error = tokio::select! {
                error = record(adopting(&world, &backup, &log)).error() => error,
                () = time_passes(&mut world) => unreachable!("time ends"),
            };
            assert!(error.message.contains(what) && error.advice.is_some(), "{error}");
            assert_eq!(log.list("commits", None).await.unwrap(), []);
        });
    };
    refused("no longer holds positions", |world| {
        world.insert(0, world.tables[0].default_partition(), &[4, 5, 6]);
    });
    refused("of default.docs", |world| {
        world.drop_collection(0);
        world.create(CollectionSpec::new("docs"));
        world.insert(0, world.tables[0].default_partition(), &[1]);
    });
}
