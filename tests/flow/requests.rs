//! The replicate channel: the only place where a flush is seen.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tapedeck::change::{CollectionName, DefinitionChange};
use tapedeck::error::Result;
use tapedeck::log::inspect::cat;
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::position::{Position, Seq};
use tapedeck::progress::RecordProgress;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::MemoryTarget;
use tapedeck::target::{Shortfall, Target};

use super::altered::{Alteration, Altered};
use super::oracle::assert_same;
use super::stage::{assert_clean, finish, open, process, replay, replayer, settle};
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

/// Whether it is told that requests between these two positions may be missing.
fn missing(from: i64, to: i64) -> impl Fn(&RecordProgress) -> bool {
    let between = format!("between {from} and {to}:");
    move |progress| progress.notes.iter().any(|note| note.contains(&between) && note.contains("flushes"))
}

#[test]
fn a_replicate_channel_that_retention_has_overtaken_in_a_rest_is_read_on_and_what_may_be_missing_is_told() {
    process(async {
        let (mut world, store) = (World::new(1, 0, Duplicates::Kept), Store::memory());
        let (queue, channel) = (world.source.queue.clone(), world.source.replicate_channel());
        world.create(CollectionSpec::new("docs"));
        let recording = open(&world, &store, Start::Earliest).await;
        world.source.flush(world.tables[0].id);
        finish(&mut world, recording).await;
        world.source.flush(world.tables[0].id);
        queue.trim(&channel, Position::offset(2));
        let mut recording = open(&world, &store, Start::Earliest).await;
        recording.until("a note", missing(1, 2)).await;
        world.source.flush(world.tables[0].id);
        finish(&mut world, recording).await;
        assert_eq!(flushes(&store).await, 2);
        assert_clean(&store).await;
    });
}

#[test]
fn a_replicate_channel_that_retention_overtakes_is_read_on_with_what_was_read_before() {
    process(async {
        let (mut world, store) = (World::new(1, 0, Duplicates::Kept), Store::memory());
        let (queue, channel) = (world.source.queue.clone(), world.source.replicate_channel());
        world.create(CollectionSpec::new("docs"));
        let mut recording = open(&world, &store, Start::Earliest).await;
        world.source.flush(world.tables[0].id);
        // it is read, and waits for its tick
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.source.flush(world.tables[0].id);
        queue.trim(&channel, Position::offset(2));
        world.source.flush(world.tables[0].id);
        recording.until("a note", missing(1, 2)).await;
        queue.fail_next(3);
        finish(&mut world, recording).await;
        assert_eq!(flushes(&store).await, 2);
        // and after a rest that takes nothing away
        let mut recording = open(&world, &store, Start::Earliest).await;
        world.source.flush(world.tables[0].id);
        recording.reach(settle(&mut world)).await;
        assert_eq!(recording.progress.borrow().notes, Vec::<String>::new());
        recording.stop().await.expect("a clean stop");
        assert_eq!(flushes(&store).await, 3);
        assert_clean(&store).await;
    });
}

#[test]
fn a_replicate_channel_that_is_gone_after_a_rest_is_read_again_when_it_is_there() {
    process(async {
        let (mut world, store) = (World::new(1, 0, Duplicates::Kept), Store::memory());
        world.create(CollectionSpec::new("docs"));
        let recording = open(&world, &store, Start::Earliest).await;
        world.source.flush(world.tables[0].id);
        finish(&mut world, recording).await;
        world.source.queue.remove(&world.source.replicate_channel());
        let mut recording = open(&world, &store, Start::Earliest).await;
        recording.until("a note", |progress| !progress.notes.is_empty()).await;
        world.source.flush(world.tables[0].id);
        finish(&mut world, recording).await;
        assert_eq!(flushes(&store).await, 2);
        assert_clean(&store).await;
    });
}

/// A target that takes its time to flush.
#[derive(Default)]
struct Slow {
    target: MemoryTarget,
    /// How many rows were there when each flush began.
    flushed: Mutex<Vec<usize>>,
}

#[async_trait]
impl Alteration for Slow {
    fn target(&self) -> &MemoryTarget {
        &self.target
    }

    async fn define(&self, change: &DefinitionChange) -> Result<Option<Shortfall>> {
        if let DefinitionChange::Flush { name } = change {
            let rows = self.rows(name);
            self.flushed.lock().unwrap().push(rows);
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        self.target.define(change).await
    }
}

impl Slow {
    fn rows(&self, name: &CollectionName) -> usize {
        self.target.contents().collections[name].partitions.values().map(|rows| rows.len()).sum()
    }
}

#[test]
fn a_replay_that_is_behind_waits_for_no_flush_that_a_later_one_makes_needless() {
    const FLUSHES: usize = 40;
    process(async {
        let (mut world, store) = (World::new(1, 0, Duplicates::Kept), Store::memory());
        let recording = open(&world, &store, Start::Earliest).await;
        world.create(CollectionSpec::new("docs"));
        let partition = world.tables[0].default_partition();
        for key in 0..FLUSHES as i64 {
            world.insert(0, partition, &[key]);
            world.source.flush(world.tables[0].id);
        }
        finish(&mut world, recording).await;
        assert_eq!(flushes(&store).await, FLUSHES);
        let target = Arc::new(Altered::<Slow>::default());
        replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.expect("an end");
        assert_same(&target.target.contents(), &world.oracle.contents(), "slowly flushed");
        let flushed = target.flushed.lock().unwrap().clone();
        assert!(flushed.len() < 4, "{flushed:?}");
        assert_eq!(flushed.last(), Some(&FLUSHES), "the last rows are flushed too: {flushed:?}");
    });
}
