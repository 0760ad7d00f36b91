//! Timelines of whole logs.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::golden;
use super::sample::{CHANNEL, draft, source, tso};
use crate::catalog::Catalog;
use crate::error::Result;
use crate::log::reader::LogReader;
use crate::log::segment::SegmentWriter;
use crate::log::store::Store;
use crate::log::timeline::{Entry, Part, Picture, RowTotal, timeline};
use crate::log::writer::LogWriter;
use crate::pb::log as pb;
use crate::pb::milvus::proto::common::MsgBase;
use crate::pb::milvus::proto::msg::RowHeader;
use crate::position::Position;
use crate::tick::Tso;

const ALL: Part = Part { from: Tso::ZERO, to: Tso::MAX, period: Duration::from_secs(3600) };
const INSERT: i32 = 400;
const DELETE: i32 = 401;

async fn told(store: &Store, part: Part) -> Result<Vec<Entry>> {
    let reader = LogReader::open(store.clone()).await?;
    let mut told = Vec::new();
    let show = |entry| {
        told.push(entry);
        ready(Ok(()))
    };
    timeline(&reader, part, show, |_, _| {}).await?;
    Ok(told)
}

/// A message of rows: when, Insert or Delete, of which collection, how many.
type Rows = (i64, i32, i64, usize);

fn payload((at, msg_type, collection_id, rows): Rows) -> Bytes {
    let base = MsgBase { msg_type, msg_id: at, timestamp: tso(at).0, ..Default::default() };
    let header = RowHeader {
        base: Some(base),
        shard_name: format!("{CHANNEL}_{collection_id}v0"),
        collection_id,
        partition_id: 8,
        timestamps: vec![tso(at).0; rows],
        version: 1,
    };
    header.encode_to_vec().into()
}

/// Databases 1, collections 7 and 8 in it, then commits of rows; each goes up to the last of its rows.
async fn recorded(commits: &[Vec<Rows>]) -> Store {
    use pb::definition::Change;
    let store = Store::memory();
    let (mut writer, _) = LogWriter::open(store.clone(), &source()).await.unwrap();
    let collection = |id: i64| {
        Change::CreateCollection(pb::Collection {
            id,
            database_id: 1,
            name: format!("c{id}"),
            ..Default::default()
        })
    };
    let database = pb::Database { id: 1, name: "default".into(), ..Default::default() };
    let mut catalog = Catalog::default();
    let mut named = pb::ObjectRef::default();
    for (at, rows) in (0..).zip(commits) {
        let (seq, epoch, log_id) = (writer.next_seq(), writer.epoch(), writer.log_id().to_owned());
        let channels = vec![CHANNEL.into()];
        let mut segment = SegmentWriter::new(pb::SegmentHeader { log_id, epoch, seq: seq.0, channels });
        if at == 0 {
            for change in [Change::CreateDatabase(database.clone()), collection(7), collection(8)] {
                let definition = pb::Definition { tso: tso(0).0, exact: true, change: Some(change) };
                catalog.apply(&definition).unwrap();
                segment.definition(&definition);
            }
            named = writer.uploader().put_catalog(seq, &catalog).await.unwrap();
        }
        for message in rows {
            let (at, msg_type, _, count) = *message;
            segment.message(0, Position::offset(at), tso(at), msg_type, &payload(*message), count as u64);
        }
        let (bytes, counted) = segment.finish();
        let segment = writer.uploader().put_segment(seq, bytes, counted).await.unwrap();
        let to = rows.iter().map(|(at, ..)| *at).max().unwrap();
        let draft = pb::Commit { watermark: tso(to).0, ..draft(at, at + 1, segment, named.clone()) };
        writer.commit(draft).await.unwrap();
    }
    store
}

fn sum(told: &[Entry]) -> RowTotal {
    told.iter().fold(RowTotal::default(), |sum, entry| match entry {
        Entry::Rows { rows, .. } => {
            RowTotal { inserted: sum.inserted + rows.inserted, deleted: sum.deleted + rows.deleted }
        }
        _ => sum,
    })
}

fn total(told: &[Entry]) -> RowTotal {
    match told.last() {
        Some(Entry::Total(total)) => total.rows,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_timeline_of_the_golden_log_is_as_it_is_written_down() {
    let told = told(&golden::stored().await, ALL).await.unwrap();
    let lines = told.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect::<Vec<_>>();
    let written = include_str!("golden_timeline.jsonl").lines().collect::<Vec<_>>();
    assert_eq!(lines, written);

    let mut picture = Picture::default();
    told.iter().for_each(|entry| picture.see(entry));
    let svg = picture.svg();
    for part in [
        "log 6a2f41a3-c54c-4e8a-9f0e-3b1f3d6a7c11 of kafka:abc",
        "<title>hole [0, 1) on other: retention</title>",
        "<title>2026-11-23T05:32:10.001Z 3:20 drop_collection other.notes</title>",
        "<title>2026-11-23T05:00:00.000Z 2 inserted</title>",
    ] {
        assert!(svg.contains(part), "{part}: {svg}");
    }
}

#[tokio::test]
async fn a_mistaken_delete_is_found_by_commit_collection_and_instant() {
    let store = recorded(&[
        vec![(1, INSERT, 7, 50), (2, INSERT, 8, 9)],
        // An upsert of seven rows among the deletes.
        vec![(5, DELETE, 7, 3), (6, DELETE, 7, 7), (6, INSERT, 7, 7), (7, DELETE, 8, 1), (9, DELETE, 7, 2)],
    ])
    .await;
    let all = told(&store, ALL).await.unwrap();
    let deletes = all.iter().filter_map(|entry| match entry {
        Entry::Delete { seq, of, rows, first, last, .. } => {
            Some((*seq, of.as_str(), *rows, first.tso, last.tso))
        }
        _ => None,
    });
    assert_eq!(
        deletes.collect::<Vec<_>>(),
        [(2, "default.c7", 5, tso(5).0, tso(9).0), (2, "default.c8", 1, tso(7).0, tso(7).0)]
    );
    assert_eq!(total(&all), RowTotal { inserted: 66, deleted: 13 });
    let window = all.iter().find_map(|entry| match entry {
        Entry::Window(span) => Some((span.from.tso, span.to.tso)),
        _ => None,
    });
    assert_eq!(window, Some((tso(0).0, tso(9).0)));
}

#[tokio::test]
async fn a_part_names_collections_whose_creation_lies_before_it() {
    let store = recorded(&[vec![(1, INSERT, 7, 5)], vec![(2, INSERT, 7, 5)], vec![(3, DELETE, 7, 2)]]).await;
    let part = told(&store, Part { from: tso(3), to: tso(3), ..ALL }).await.unwrap();
    let kinds = part.iter().map(|entry| serde_json::to_value(entry).unwrap()["entry"].clone());
    assert_eq!(kinds.collect::<Vec<_>>(), ["log", "delete", "rows", "window", "total"]);
    assert!(matches!(&part[1], Entry::Delete { of, .. } if of == "default.c7"), "{part:?}");
    let error = told(&store, Part { from: tso(3), to: tso(2), ..ALL }).await.unwrap_err();
    assert!(error.message.contains("lies after") && error.exit_code() == 2, "{error}");
}

#[tokio::test]
async fn a_log_without_commits_has_a_timeline_without_windows() {
    let store = Store::memory();
    LogWriter::open(store.clone(), &source()).await.unwrap();
    let told = told(&store, ALL).await.unwrap();
    assert!(matches!(&told[..], [Entry::Log { .. }, Entry::Total(total)] if total.commits == 0), "{told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_periods_of_all_parts_add_up_to_the_whole_log(
        commits in prop::collection::vec(
            prop::collection::vec((0i64..40, prop_oneof![Just(INSERT), Just(DELETE)], 7i64..9, 1usize..5), 1..6),
            1..6,
        ),
        period in 1u64..50,
        cut in 0i64..240,
    ) {
        // The rows of a commit come after those of the one before.
        let commits = (0..).zip(commits).map(|(number, rows): (i64, Vec<Rows>)| {
            rows.into_iter().map(|(at, kind, of, count)| (40 * number + at + 1, kind, of, count)).collect()
        });
        let commits = commits.collect::<Vec<Vec<Rows>>>();
        let count = |kind| {
            let of_kind = commits.iter().flatten().filter(|(_, of, ..)| *of == kind);
            of_kind.map(|(.., rows)| *rows as u64).sum::<u64>()
        };
        let whole = RowTotal { inserted: count(INSERT), deleted: count(DELETE) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = recorded(&commits).await;
            let period = Duration::from_millis(period);
            let all = told(&store, Part { period, ..ALL }).await.unwrap();
            assert_eq!((sum(&all), total(&all)), (whole, whole));
            let before = sum(&told(&store, Part { period, to: tso(cut), ..ALL }).await.unwrap());
            let after = sum(&told(&store, Part { period, from: tso(cut).next(), ..ALL }).await.unwrap());
            let both = RowTotal {
                inserted: before.inserted + after.inserted,
                deleted: before.deleted + after.deleted,
            };
            assert_eq!(both, whole);
        });
    }
}
