//! The timeline of a log finds what a person looks for, and its windows are those that a replay takes.

use std::future::ready;
use std::time::Duration;

use tapedeck::log::inspect;
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::log::timeline::{Entry, Part, timeline};
use tapedeck::position::Seq;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::tick::Tso;

use super::oracle::{assert_same, dated};
use super::stage::{assert_clean, finish, open, process, record_all, replayed, seed, settle};
use super::world::{Duplicates, World};

async fn told(store: &Store) -> Vec<Entry> {
    let reader = LogReader::open(store.clone()).await.expect("a log");
    let part = Part { from: Tso::ZERO, to: Tso::MAX, period: Duration::from_millis(50) };
    let mut told = Vec::new();
    let show = |entry| {
        told.push(entry);
        ready(Ok(()))
    };
    timeline(&reader, part, show, |_, _| {}).await.expect("a timeline");
    told
}

#[test]
fn a_mistaken_drop_and_a_mistaken_delete_are_found_and_the_instant_before_brings_the_rows_back() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        record_all(&mut world, &store).await;
        let recording = open(&world, &store, Start::Earliest).await;
        let partition = world.tables[0].default_partition();
        world.insert(0, partition, &[1, 2, 3]);
        world.upsert(0, partition, &[2]);
        world.delete(0, None, &[1, 3]);
        world.drop_collection(0);
        finish(&mut world, recording).await;

        let told = told(&store).await;
        let deletes = told.iter().filter_map(|entry| match entry {
            Entry::Delete { of, rows, first, .. } => Some((of.as_str(), *rows, first.tso)),
            _ => None,
        });
        let [(of, rows, deleted)] = deletes.collect::<Vec<_>>()[..] else { panic!("{told:?}") };
        assert_eq!((of, rows), ("default.docs", 2));
        let dropped = told.iter().find_map(|entry| match entry {
            Entry::Definition { change: "drop_collection", of, at, exact, .. } => Some((of, at.tso, *exact)),
            _ => None,
        });
        let (of, dropped, exact) = dropped.expect("a drop");
        assert_eq!((of.as_str(), exact), ("default.docs", true));
        for instant in [deleted, dropped] {
            let before = Tso(instant - 1);
            let contents = replayed(&store, Until::Tso(before)).await;
            assert_same(&dated(contents), &dated(world.oracle.at(before)), "before the mistake");
        }
    });
}

#[test]
fn the_timeline_of_random_work_has_every_row_and_its_schema_chain_holds() {
    let first = seed();
    for seed in (0..8).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(3, seed, Duplicates::Kept));
            for _ in 0..4 {
                let mut recording = open(&world, &store, Start::Earliest).await;
                let operations = world.roll(60);
                world.work(operations);
                let to = settle(&mut world);
                recording.reach(to).await;
                recording.stop().await.expect("a clean stop");
                // What nobody sees while it happens.
                let operations = world.roll(30);
                world.work(operations);
            }
            assert_clean(&store).await;

            let (mut rows, mut definitions, mut watermark) = (0, 0, 0);
            let see = |row: inspect::Row| {
                (rows, definitions, watermark) =
                    (rows + row.rows, definitions + row.definitions, row.watermark);
                Ok(())
            };
            let reader = LogReader::open(store.clone()).await.expect("a log");
            inspect::ls(reader, Seq(1)..Seq(u64::MAX), see).await.expect("its commits");
            let (mut told_rows, mut told_definitions, mut windows) = (0, 0, vec![]);
            for entry in told(&store).await {
                match entry {
                    Entry::Rows { rows, .. } => told_rows += rows.inserted + rows.deleted,
                    Entry::Definition { of, .. } => {
                        told_definitions += 1;
                        assert!(!of.contains('('), "seed {seed}: a name that is not known: {of}");
                    }
                    Entry::Window(span) => windows.push(span.to.tso),
                    _ => {}
                }
            }
            assert_eq!(
                (told_rows, told_definitions, windows),
                (rows, definitions, vec![watermark]),
                "seed {seed}"
            );
        });
    }
}
