//! Commits of many segments: a replay goes through them one at a time, and goes on within a commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::memory::InMemory;
use tapedeck::archive::archiver::archive;
use tapedeck::log::checkpoint::Checkpoints;
use tapedeck::log::reader::LogReader;
use tapedeck::log::segment::{Segment, SegmentWriter};
use tapedeck::log::store::Store;
use tapedeck::log::writer::LogWriter;
use tapedeck::message::{self, Kind};
use tapedeck::pb::log::{self as pb, Record, record::Body};
use tapedeck::position::{LogPosition, Position, Seq};
use tapedeck::replayer::{Depth, Until};
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::{Fault as TargetFault, MemoryTarget};
use tapedeck::tick::Tso;

use super::archive::{SMALL, archive_all, assert_is_sound, folded};
use super::base::{opened, trimmed};
use super::crash::{TARGET_FAULTS, death, faulty, recorded, replays_through, sweep, whole};
use super::doomed::Doomed;
use super::faulty_store::Fault;
use super::oracle::{assert_same, dated};
use super::stage::{assert_clean, finish, process, replay, replayed, replayer, seed};
use super::world::{Duplicates, World};

/// The records of a segment in the order in which a replay takes them, cut into pieces of a few. What has one TSO stays
/// together, as in the log of a recorder, but not the rows of a base.
fn cut(segment: &Segment, most: usize) -> Vec<Vec<Record>> {
    let order = |message: &pb::Message| {
        let position = Position::from(message.position.unwrap_or_default());
        (message.tso, message::kind(message.r#type) == Kind::Insert, message.channel, position)
    };
    let (mut messages, mut definitions) = (Vec::new(), Vec::new());
    for record in segment.records.clone() {
        match record.body.expect("a record") {
            Body::Message(message) => messages.push(message),
            Body::Definition(definition) => definitions.push(definition),
        }
    }
    messages.sort_by_key(order);
    let mut messages = messages.into_iter().peekable();
    let mut records = Vec::new();
    for definition in definitions {
        let before = std::iter::from_fn(|| messages.next_if(|message| message.tso <= definition.tso));
        records.extend(before.map(Body::Message));
        records.push(Body::Definition(definition));
    }
    records.extend(messages.map(Body::Message));
    let of = |body: &Body| match body {
        Body::Message(message) => Some(message.tso),
        Body::Definition(_) => None,
    };
    let mut pieces = vec![Vec::new()];
    let mut last = None;
    for body in records {
        let at = of(&body);
        let together = at > Some(1) && at == last;
        if pieces.last().is_some_and(|piece: &Vec<Record>| piece.len() >= most) && !together {
            pieces.push(Vec::new());
        }
        last = at;
        pieces.last_mut().expect("a piece").push(Record { body: Some(body) });
    }
    pieces
}

/// The same log with commits of segments of a few records each.
pub async fn in_pieces(log: &Store, most: usize) -> Arc<InMemory> {
    let inner = Arc::new(InMemory::new());
    let reader = LogReader::open(log.clone()).await.unwrap();
    let first = reader.commit(Seq(1)).await.unwrap().expect("a commit").commit;
    let (mut writer, _) = LogWriter::open(whole(&inner), &first.source.unwrap()).await.unwrap();
    for seq in 1..=reader.tail().await.unwrap().unwrap_or_default().0 {
        let commit = reader.commit(Seq(seq)).await.unwrap().expect("a commit").commit;
        if commit.fence {
            continue;
        }
        let mut segments = Vec::new();
        for named in &commit.segments {
            let segment = reader.segment(named).await.unwrap();
            for piece in cut(&segment, most) {
                let (log_id, epoch) = (writer.log_id().to_owned(), writer.epoch());
                let channels = segment.header.channels.clone();
                let header = pb::SegmentHeader { log_id, epoch, seq: writer.next_seq().0, channels };
                let (bytes, reference) = written(SegmentWriter::new(header), piece).finish();
                segments
                    .push(writer.uploader().put_segment(writer.next_seq(), bytes, reference).await.unwrap());
            }
        }
        let catalog = match &commit.catalog {
            Some(named) => {
                let catalog = reader.catalog(named).await.unwrap();
                Some(writer.uploader().put_catalog(writer.next_seq(), &catalog).await.unwrap())
            }
            None => None,
        };
        writer.commit(pb::Commit { segments, catalog, ..commit }).await.unwrap();
    }
    inner
}

fn written(mut segment: SegmentWriter, records: Vec<Record>) -> SegmentWriter {
    for record in records {
        match record.body.expect("a record") {
            Body::Definition(definition) => segment.definition(&definition),
            Body::Message(it) => {
                let rows = message::header(&it.payload).unwrap().rows.map_or(0, |rows| rows.rows);
                let position = it.position.unwrap_or_default().into();
                segment.message(it.channel, position, Tso(it.tso), it.r#type, &it.payload, rows);
            }
        }
    }
    segment
}

#[test]
fn a_replayer_that_dies_anywhere_in_commits_of_many_segments_gives_the_same_target() {
    let seed = seed();
    for (inner, world) in Duplicates::BOTH.map(|duplicates| recorded(seed, duplicates)) {
        let log = process(in_pieces(&whole(&inner), 2));
        process(async {
            assert_clean(&whole(&log)).await;
            let contents = replayed(&whole(&log), Until::Latest).await;
            assert_same(&contents, &world.oracle.contents(), &format!("seed {seed}, no death"));
        });
        let log = (log, world);
        for fault in [Fault::StopBefore, Fault::StopAfter] {
            let calls = sweep(|k| replays_through(&log, fault(k), k, None));
            assert!(calls > 5, "only {calls} calls");
        }
        for fault in TARGET_FAULTS {
            let calls = sweep(|k| replays_through(&log, Fault::None, k, Some(fault)));
            assert!(calls > 10, "only {calls} calls");
        }
    }
}

#[test]
fn commits_of_many_segments_are_replayed_to_the_same_instants_one_after_the_other_too() {
    let seed = seed();
    let (inner, world) = recorded(seed, Duplicates::Avoided);
    let again = Arc::new(MemoryTarget::new());
    process(async {
        let log = whole(&in_pieces(&whole(&inner), 2).await);
        let first = LogReader::open(log.clone()).await.unwrap().commit(Seq(1)).await.unwrap().unwrap();
        let instants = world.oracle.instants().into_iter().filter(|tso| tso.0 >= first.commit.opens_at);
        for until in instants.step_by(5) {
            let found = dated(replayed(&log, Until::Tso(until)).await);
            let expected = dated(world.oracle.at(until));
            assert_same(&found, &expected, &format!("seed {seed}, until {until}"));
            replay(replayer(&log, again.clone(), "again", Until::Tso(until))).end().await.unwrap();
            assert_same(&dated(again.contents()), &expected, &format!("seed {seed}, on until {until}"));
        }
    });
}

/// A base of many segments with 64 vectors each.
fn base(dim: usize) -> (Arc<InMemory>, World) {
    let (storage, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Avoided));
    let inner = process(async {
        let log = Store::memory();
        world.create(CollectionSpec { dim, ..CollectionSpec::new("docs") });
        let partition = world.tables[0].default_partition();
        for round in 0..40 {
            world.insert(0, partition, &(round * 64..(round + 1) * 64).collect::<Vec<_>>());
        }
        trimmed(&mut world, &storage).await;
        let recording = opened(&mut world, &storage, &log).await;
        finish(&mut world, recording).await;
        in_pieces(&log, 1).await
    });
    (inner, world)
}

/// A base with segments of about half of what a target is sent at once.
fn large() -> (Arc<InMemory>, World) {
    base(8192)
}

/// A replayer that dies with the target's k-th call; where its last checkpoint is.
async fn died(log: &Store, target: &Arc<MemoryTarget>, k: u64) -> LogPosition {
    let doomed = Doomed::new(target, k, TargetFault::Half);
    let replaying = replay(replayer(log, doomed.clone(), "r", Until::Latest));
    tokio::select! {
        ended = replaying.end() => ended.unwrap(),
        () = death(|| doomed.is_dead()) => {}
    }
    let (_, saved) = Checkpoints::open(log.clone(), "r").await.unwrap();
    saved.and_then(|saved| saved.ack).unwrap_or_default().into()
}

/// Bytes of the segments of the first commit.
async fn sizes(log: &Store) -> Vec<u64> {
    let first = LogReader::open(log.clone()).await.unwrap().commit(Seq(1)).await.unwrap().expect("a commit");
    first.commit.segments.iter().map(|segment| segment.length).collect()
}

/// The watermark of the last commit.
async fn recorded_to(log: &Store) -> Tso {
    let reader = LogReader::open(log.clone()).await.unwrap();
    let tail = reader.tail().await.unwrap().expect("a commit");
    Tso(reader.commit(tail).await.unwrap().expect("a commit").commit.watermark)
}

#[test]
fn a_replayer_that_died_within_a_large_commit_reads_and_rewrites_little_of_it_again() {
    let (inner, world) = large();
    let target = Arc::new(MemoryTarget::new());
    let ack = process(died(&whole(&inner), &target, 10));
    assert!(ack.seq == Seq(0) && ack.segments > 4, "{ack:?}");
    process(async {
        let log = whole(&inner);
        let sizes = sizes(&log).await;
        assert!(sizes.len() > 40, "{} segments", sizes.len());
        // the first one has the definitions
        let left = sizes[0] + sizes[ack.segments as usize..].iter().sum::<u64>();
        let replayer = || replayer(&log, target.clone(), "r", Until::Latest);
        let tip = recorded_to(&log).await;
        let plan = replayer().plan(tip, Depth::Rows, |_, _| {}).await.unwrap();
        let of_rows = (sizes.len() - ack.segments as usize) as u64;
        assert_eq!((plan.inserted, plan.operations.len(), &plan.conflicts[..]), (64 * of_rows, 0, &[][..]));
        let replaying = replay(replayer());
        let progress = replaying.progress.clone();
        replaying.end().await.unwrap();
        let (bytes, rows) = (progress.borrow().bytes, progress.borrow().rows);
        let after_it = 4096;
        assert!((left..left + after_it).contains(&bytes), "{bytes} of {sizes:?}");
        // what had been sent and what waited in memory, and no more
        assert!(rows.upserted > 0 && rows.inserted > 0, "{rows:?}");
        assert_same(&target.contents(), &world.oracle.contents(), "after a death");
    });
}

#[test]
fn a_target_that_was_replaced_while_a_large_commit_was_replayed_is_refused() {
    let (inner, _) = large();
    process(async {
        let log = whole(&inner);
        let ack = died(&log, &Arc::new(MemoryTarget::new()), 10).await;
        assert!(ack.segments > 4, "{ack:?}");
        let error = replay(replayer(&log, Arc::new(MemoryTarget::new()), "r", Until::Latest)).error().await;
        assert!(error.message.contains("lacks default.docs"), "{error}");
    });
}

#[test]
fn the_archive_of_commits_of_many_segments_gives_what_users_of_the_source_see() {
    let seed = seed();
    let (inner, world) = recorded(seed, Duplicates::Kept);
    process(async {
        let log = whole(&in_pieces(&whole(&inner), 2).await);
        archive_all(&log).await;
        assert_is_sound(&log).await;
        let (found, expected) = (folded(&log).await, world.oracle.contents());
        for (name, collection) in &expected.collections {
            assert_eq!(found.collections[name].partitions, collection.partitions, "seed {seed}: {name}");
        }
    });
}

#[test]
fn an_archive_of_a_large_commit_is_written_while_the_commit_is_read() {
    let (inner, world) = base(64);
    process(async {
        let (counted, calls) = faulty(&inner, Fault::None);
        archive(counted, SMALL, |_, _, _| {}).await.unwrap();
        let all = calls.load(Ordering::SeqCst);
        let files = async |log: &Store| {
            let listed = log.list("archive", None).await.unwrap().into_iter();
            listed.filter(|(key, _)| key.ends_with(".parquet")).count()
        };
        let log = whole(&inner);
        let written = files(&log).await;
        assert!(written > 10, "{written} files");
        assert_same(&folded(&log).await, &world.oracle.contents(), "rows");
        for (key, _) in log.list("archive", None).await.unwrap() {
            log.delete(&key).await.unwrap();
        }
        let (dying, _) = faulty(&inner, Fault::StopBefore(all / 2));
        archive(dying, SMALL, |_, _, _| {}).await.unwrap_err();
        let (half, most) = (files(&log).await, written / 3);
        assert!(half > most, "{half} files of {written} after half of {all} calls");
    });
}

#[test]
fn a_plan_of_a_large_commit_reads_it_one_segment_after_the_other() {
    let (inner, _) = base(64);
    process(async {
        let (log, calls) = faulty(&inner, Fault::None);
        let tip = recorded_to(&log).await;
        let before = calls.load(Ordering::SeqCst);
        let mut shown_at = Vec::new();
        let show = |_, _| shown_at.push(calls.load(Ordering::SeqCst) - before);
        let target = Arc::new(MemoryTarget::new());
        replayer(&log, target, "r", Until::Latest).plan(tip, Depth::Rows, show).await.unwrap();
        assert!(shown_at.len() > 40 && shown_at[0] + 30 < *shown_at.last().unwrap(), "{shown_at:?}");
    });
}
