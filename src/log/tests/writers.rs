//! Several writers, and writers that should not be.

use std::future::ready;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;

use super::sample::{Replayed, commit, record, replay, source};
use crate::error::{Error, Verdict};
use crate::log::checkpoint::Checkpoints;
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::log::layout;
use crate::log::reader::{Follower, LogReader};
use crate::log::store::Store;
use crate::log::verify::{Scope, verify};
use crate::log::writer::LogWriter;
use crate::pb::log as pb;
use crate::position::Seq;

async fn open(store: &Store) -> (LogWriter, Option<crate::log::writer::Tail>) {
    LogWriter::open(store.clone(), &source()).await.unwrap()
}

/// A store at which the users take turns.
fn in_turn() -> Store {
    let store = FaultyStore::new(Arc::new(InMemory::new()), Fault::None);
    Store::new(Arc::new(store), Path::ROOT, "memory://".into())
}

#[tokio::test]
async fn a_writer_that_slept_through_a_takeover_cannot_commit_again() {
    let store = Store::memory();
    let (mut old, tail) = open(&store).await;
    assert!(tail.is_none());
    commit(&mut old, 0, 2).await.unwrap();

    let (mut new, tail) = open(&store).await;
    let fence = tail.unwrap().commit;
    assert_eq!((fence.seq, fence.epoch, fence.fence, fence.segments.len()), (2, 2, true, 0));
    assert_eq!(fence.channels[0].start, fence.channels[0].end);

    let error = commit(&mut old, 2, 4).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Fenced);
    assert!(error.message.contains("epoch 2, at commit 2"), "{error}");
    commit(&mut new, 2, 4).await.unwrap();
    assert_eq!(commit(&mut old, 2, 4).await.unwrap_err().verdict, Verdict::Fenced);
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(4));
}

#[tokio::test]
async fn of_many_writers_that_begin_a_log_at_once_one_stays() {
    let store = in_turn();
    let mut writers = Vec::new();
    for _ in 0..8 {
        writers.push(open(&store).await.0);
    }
    let tries = futures::future::join_all(writers.iter_mut().map(|writer| commit(writer, 0, 2))).await;
    let (won, lost): (Vec<_>, Vec<_>) = tries.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    assert!(lost.into_iter().all(|lost| lost.unwrap_err().verdict == Verdict::Fenced));
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(2));
}

#[tokio::test]
async fn recorders_that_take_over_from_each_other_at_once_record_everything_once() {
    let store = in_turn();
    record(&store, 1).await.unwrap();
    let recorders = (0..8).map(|_| record(&store, 40));
    let ended = futures::future::join_all(recorders).await;
    let fenced =
        ended.into_iter().filter_map(Result::err).map(|error| assert_eq!(error.verdict, Verdict::Fenced));
    assert_eq!(fenced.count(), 7);
    record(&store, 40).await.unwrap();
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(40));
}

#[tokio::test]
async fn a_log_of_another_source_is_refused_and_both_are_named() {
    let store = Store::memory();
    record(&store, 2).await.unwrap();
    let other = pb::SourceIdentity { queue: "kafka:other".into(), ..source() };
    let error = LogWriter::open(store.clone(), &other).await.err().unwrap();
    assert_eq!(error.verdict, Verdict::Refused);
    assert!(error.message.contains("kafka:abc") && error.message.contains("kafka:other"), "{error}");
    assert_eq!(LogReader::open(store).await.unwrap().tail().await.unwrap(), Some(Seq(1)));
}

#[tokio::test]
async fn a_writer_does_not_take_the_slot_of_a_lost_commit() {
    let store = Store::memory();
    record(&store, 8).await.unwrap();
    store.delete(&layout::commit(Seq(3))).await.unwrap();
    let error = LogWriter::open(store, &source()).await.err().unwrap();
    assert_eq!(error.verdict, Verdict::Refused);
    assert!(error.message.contains("00003.pb is missing"), "{error}");
}

#[tokio::test]
async fn while_the_outcome_of_a_commit_is_unknown_no_other_takes_its_place() {
    let inner = Arc::new(InMemory::new());
    let store = Store::new(inner.clone(), Path::ROOT, "memory://".into());
    let (mut writer, _) = open(&store).await;
    let first = commit(&mut writer, 0, 2).await.unwrap();
    let next = |watermark| pb::Commit {
        segments: vec![],
        channels: first
            .channels
            .iter()
            .map(|c| pb::ChannelRange { start: c.end, opened: false, ..c.clone() })
            .collect(),
        watermark,
        ..first.clone()
    };

    let dead = FaultyStore::new(inner, Fault::StopAfter(1));
    let mut writer = writer.with_store(Store::new(Arc::new(dead), Path::ROOT, "memory://".into()));
    let unknown: Error = writer.commit(next(first.watermark)).await.unwrap_err();
    assert!(unknown.is_retry(), "{unknown}");
    assert_eq!(writer.commit(next(first.watermark + 1)).await.unwrap_err().verdict, Verdict::Refused);

    let mut writer = writer.with_store(store.clone());
    let again = writer.commit(next(first.watermark)).await.unwrap();
    assert_eq!(again.seq, 2);
    assert_eq!(LogReader::open(store).await.unwrap().commit(Seq(2)).await.unwrap().unwrap().commit, again);
}

#[tokio::test]
async fn what_a_reader_would_refuse_is_not_written() {
    let store = Store::memory();
    let (mut writer, _) = open(&store).await;
    commit(&mut writer, 0, 2).await.unwrap();
    let error = commit(&mut writer, 3, 4).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Refused);
    assert!(error.message.contains("goes on at 3 instead of 2"), "{error}");
    commit(&mut writer, 2, 4).await.unwrap();
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(4));
}

#[tokio::test]
async fn there_is_no_log_where_nobody_began_one() {
    let error = LogReader::open(Store::memory()).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    assert_eq!(error.message, "there is no log at memory://");
}

#[test]
fn everything_may_be_awaited_in_a_task_of_its_own() {
    fn send<T: Send>(_: impl FnOnce() -> T) {}
    send(|| async {
        let (mut writer, _) = LogWriter::open(Store::memory(), &source()).await?;
        let object = writer.uploader().put_segment(Seq(1), Default::default(), Default::default()).await?;
        writer.uploader().put_catalog(Seq(1), &Default::default()).await?;
        writer.commit(Default::default()).await?;
        let reader = LogReader::open(Store::memory()).await?;
        reader.segment(&object).await?;
        reader.tail().await?;
        Follower::after(reader, Seq(0)).await?.next().await?;
        let (mut checkpoints, _) = Checkpoints::open(Store::memory(), "a").await?;
        checkpoints.save(Default::default()).await?;
        Store::memory().probe().await?;
        verify(Store::memory(), Scope::Whole, |_, _| ready(())).await.map(drop)
    });
}
