//! The replicate channel: the only place where a flush is seen.

use serde_json::Value;
use tapedeck::log::inspect::cat;
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::position::Seq;
use tapedeck::recorder::Start;
use tapedeck::source::memory::CollectionSpec;

use super::stage::{assert_clean, finish, open, process, settle};
use super::world::{Duplicates, World};

/// How many flushes the log holds.
async fn flushes(store: &Store) -> usize {
    let reader = LogReader::open(store.clone()).await.expect("a log");
    let last = reader.tail().await.expect("a store that answers").expect("a commit");
    let mut flushes = 0;
    let count = |line: Value| {
        flushes += usize::from(line["change"] == "flush");
        Ok(())
    };
    cat(reader, Seq(1)..last.next(), count).await.expect("a whole log");
    flushes
}

#[test]
fn the_first_request_is_recorded_although_its_channel_comes_with_it_and_the_queue_s_clock_is_behind() {
    for between_two_runs in [false, true] {
        process(async {
            let (mut world, store) = (World::new(1, 0, Duplicates::Kept), Store::memory());
            world.source.set_queue_behind(5_000);
            world.create(CollectionSpec::new("docs"));
            let mut recording = open(&world, &store, Start::Earliest).await;
            recording.reach(settle(&mut world)).await;
            if between_two_runs {
                recording.stop().await.expect("a clean stop");
                world.source.flush(world.tables[0].id);
                recording = open(&world, &store, Start::Earliest).await;
            } else {
                world.source.flush(world.tables[0].id);
            }
            finish(&mut world, recording).await;
            assert_eq!(flushes(&store).await, 1, "between two runs: {between_two_runs}");
            assert_clean(&store).await;
        });
    }
}

#[test]
fn a_request_from_before_a_log_opens_is_not_in_it() {
    process(async {
        let (mut world, store) = (World::new(1, 0, Duplicates::Kept), Store::memory());
        world.create(CollectionSpec::new("docs"));
        world.source.flush(world.tables[0].id);
        world.source.advance(10_000);
        let recording = open(&world, &store, Start::Earliest).await;
        world.source.flush(world.tables[0].id);
        finish(&mut world, recording).await;
        assert_eq!(flushes(&store).await, 1);
    });
}
