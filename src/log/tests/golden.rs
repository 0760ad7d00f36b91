//! Objects as release after release has written them, kept in `formats/golden`: they are read for ever, and what this
//! release writes is the same to the byte.
//!
//! `TAPEDECK_WRITE_GOLDEN=1 cargo test --lib golden` writes those of this version; an object that is there already is
//! never to be changed.

use std::future::ready;
use std::path::PathBuf;

use bytes::Bytes;

use super::sample::{CHANNEL, LOG_ID, draft, payload, segment, source, tso};
use crate::catalog::Catalog;
use crate::log::commit::{self, Digest};
use crate::log::envelope::{self, Kind};
use crate::log::identity::Identity;
use crate::log::inspect;
use crate::log::layout::{self, Named};
use crate::log::reader::LogReader;
use crate::log::segment::SegmentWriter;
use crate::log::store::{Store, StoreOptions};
use crate::log::verify::{Scope, verify};
use crate::pb::log as pb;
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};
use crate::position::{Position, Seq};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("formats/golden/v1")
}

fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.into(), value: value.into() }
}

pub fn collection() -> pb::Collection {
    let field = |id: i64, name: &str, data_type: DataType| FieldSchema {
        field_id: id,
        name: name.into(),
        data_type: data_type.into(),
        is_primary_key: id == 100,
        type_params: if id == 100 { vec![] } else { vec![pair("dim", "128")] },
        ..Default::default()
    };
    pb::Collection {
        id: 7,
        database_id: 1,
        name: "docs".into(),
        schema: Some(CollectionSchema {
            name: "docs".into(),
            fields: vec![field(100, "id", DataType::Int64), field(101, "vector", DataType::FloatVector)],
            ..Default::default()
        }),
        shards: 1,
        consistency_level: 2,
        properties: vec![pair("collection.ttl.seconds", "3600")],
        channels: vec![pb::Shard {
            virtual_channel: format!("{CHANNEL}_7v0"),
            channel: CHANNEL.into(),
            start: Some(Position::offset(0).into()),
            base: None,
        }],
        create_tso: tso(0).0,
        partitions: vec![pb::Partition { id: 8, name: "_default".into(), create_tso: tso(0).0 }],
        indexes: vec![pb::Index {
            id: 9,
            name: "vector_index".into(),
            field_id: 101,
            field_name: "vector".into(),
            params: vec![pair("index_type", "HNSW"), pair("metric_type", "L2")],
            create_tso: tso(1).0,
        }],
        load: Some(pb::Load { replicas: 1, whole: true, partition_ids: vec![8] }),
    }
}

pub fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let database = pb::Database { id: 1, name: "default".into(), properties: vec![] };
    catalog.databases.insert(1, database);
    catalog.collections.insert(7, collection());
    catalog.aliases.insert((1, "papers".into()), 7);
    catalog
}

fn object_ref(
    key: fn(Named) -> String,
    epoch: u64,
    seq: Seq,
    bytes: &Bytes,
    counted: pb::ObjectRef,
) -> pb::ObjectRef {
    let digest: Digest = commit::digest(bytes);
    pb::ObjectRef {
        key: key(Named::new(epoch, seq, &digest)),
        length: bytes.len() as u64,
        digest: Bytes::copy_from_slice(&digest),
        ..counted
    }
}

/// One definition of each kind, after those that made [`catalog`].
fn definitions() -> Vec<pb::Definition> {
    use pb::definition::Change;
    let database = |id: i64, name: &str, properties| pb::Database { id, name: name.into(), properties };
    let alias = |collection_id| pb::Alias { database_id: 2, name: "notes_alias".into(), collection_id };
    let load =
        |whole, partition_ids, replicas| pb::LoadChange { collection_id: 7, whole, partition_ids, replicas };
    let index = |id: i64, params| pb::Index { id, params, ..collection().indexes.swap_remove(0) };
    let partition = pb::Partition { id: 11, name: "p".into(), create_tso: tso(2).0 };
    let notes = |id| pb::Collection { id, name: format!("notes_{id}"), ..collection() };
    let mut schema = collection().schema.unwrap();
    schema.fields[1].type_params = vec![pair("dim", "128"), pair("mmap.enabled", "true")];
    let altered =
        |schema, indexes| pb::AlterCollection { id: 7, properties: vec![pair("a", "b")], schema, indexes };
    let changes = [
        Change::CreateDatabase(database(2, "other", vec![])),
        Change::AlterDatabase(database(2, "other", vec![pair("database.replica.number", "2")])),
        Change::CreateCollection(notes(20)),
        Change::CreateCollection(notes(21)),
        Change::RenameCollection(pb::RenameCollection { id: 20, database_id: 2, name: "notes".into() }),
        Change::CreateAlias(alias(20)),
        Change::AlterAlias(alias(21)),
        Change::DropAlias(pb::DropAlias { database_id: 2, name: "notes_alias".into() }),
        Change::DropCollection(pb::DropCollection { id: 21 }),
        Change::AlterCollection(altered(None, vec![])),
        Change::AlterCollection(altered(Some(schema), vec![index(9, vec![pair("index_type", "FLAT")])])),
        Change::CreatePartition(pb::CreatePartition { collection_id: 7, partition: Some(partition) }),
        Change::Release(load(true, vec![], 0)),
        Change::DropIndex(pb::DropIndex { collection_id: 7, index_id: 9 }),
        Change::CreateIndex(pb::CreateIndex { collection_id: 7, index: Some(index(10, vec![])) }),
        Change::Load(load(false, vec![11], 2)),
        Change::Release(load(false, vec![11], 0)),
        Change::DropPartition(pb::DropPartition { collection_id: 7, partition_id: 11 }),
        Change::Flush(pb::Flush { collection_ids: vec![7] }),
        Change::DropCollection(pb::DropCollection { id: 20 }),
        Change::DropDatabase(pb::DropDatabase { id: 2 }),
    ];
    let dated = |(at, change)| pb::Definition { tso: tso(1).0, exact: at % 2 == 0, change: Some(change) };
    changes.into_iter().enumerate().map(dated).collect()
}

/// A log of one commit, a fence and a commit of definitions, with one of each object. No clock and no chance is in it.
pub fn golden() -> Vec<(String, Bytes)> {
    let header = pb::SegmentHeader {
        log_id: LOG_ID.into(),
        epoch: 1,
        seq: 1,
        channels: vec![CHANNEL.into(), "other".into()],
    };
    let mut writer = SegmentWriter::new(header);
    let create = pb::definition::Change::CreateCollection(collection());
    writer.definition(&pb::Definition { tso: tso(0).0, exact: true, change: Some(create) });
    writer.message(0, Position::offset(0), tso(0), 400, &payload(0), 2);
    writer.message(1, Position::offset(1), tso(1), 1200, b"", 0);
    let (segment_bytes, counted) = writer.finish();
    let segment = object_ref(layout::segment, 1, Seq(1), &segment_bytes, counted);

    let catalog_bytes = envelope::seal(Kind::Catalog, &pb::Catalog::from(&catalog()));
    let catalog = object_ref(layout::catalog, 1, Seq(1), &catalog_bytes, Default::default());

    let first = pb::Commit {
        seq: 1,
        epoch: 1,
        writer: Bytes::from_static(&[1; 16]),
        wall_time_ms: tso(2).millis(),
        holes: vec![pb::Hole {
            channel: "other".into(),
            start: Some(Position::offset(0).into()),
            end: Some(Position::offset(1).into()),
            reason: "retention".into(),
        }],
        source: Some(source()),
        ..draft(0, 2, segment.clone(), catalog.clone())
    };
    let (first_bytes, first) = commit::seal(first);
    let fence = pb::Commit {
        seq: 2,
        epoch: 2,
        writer: Bytes::from_static(&[2; 16]),
        previous_digest: Bytes::copy_from_slice(&first.digest),
        wall_time_ms: tso(3).millis(),
        ..commit::fence(&first.commit)
    };
    let (fence_bytes, fence) = commit::seal(fence);

    let mut writer = SegmentWriter::new(pb::SegmentHeader {
        log_id: LOG_ID.into(),
        epoch: 2,
        seq: 3,
        channels: vec![CHANNEL.into()],
    });
    definitions().iter().for_each(|definition| writer.definition(definition));
    let (defining_bytes, counted) = writer.finish();
    let defining = pb::Commit {
        seq: 3,
        previous_digest: Bytes::copy_from_slice(&fence.digest),
        fence: false,
        wall_time_ms: tso(5).millis(),
        segments: vec![object_ref(layout::segment, 2, Seq(3), &defining_bytes, counted)],
        ..fence.commit.clone()
    };
    let defining_key = defining.segments[0].key.clone();
    let (third_bytes, _) = commit::seal(defining);

    let checkpoint = pb::Checkpoint {
        n: 1,
        log_id: LOG_ID.into(),
        replayer: Bytes::from_static(&[3; 16]),
        ack: Some(pb::LogPosition { seq: 1, ..Default::default() }),
        intent: Some(pb::LogPosition { seq: 1, ..Default::default() }),
        applied_tso: tso(1).0,
        wall_time_ms: tso(4).millis(),
        incomplete_since: tso(1).0,
        incomplete: vec!["MsgType 408".into()],
        counts: Some(pb::Counts { inserted: 2, deleted: 0, upserted: 0 }),
        ..Default::default()
    };
    let bounded = pb::Checkpoint { n: 2, intent_tso: tso(1).0, ..checkpoint.clone() };
    let made = pb::Checkpoint { n: 3, checked: 1, made: [(7, 70), (8, 80)].into(), ..bounded.clone() };
    let identity = Identity::new(LOG_ID.parse().unwrap(), "2026-11-23T08:00:00Z".parse().unwrap());
    vec![
        (layout::IDENTITY.into(), identity.to_bytes()),
        (segment.key, segment_bytes),
        (catalog.key, catalog_bytes),
        (layout::commit(Seq(1)), first_bytes),
        (layout::commit(Seq(2)), fence_bytes),
        (defining_key, defining_bytes),
        (layout::commit(Seq(3)), third_bytes),
        (layout::checkpoint("readers/golden", 1), envelope::seal(Kind::Checkpoint, &checkpoint)),
        (layout::checkpoint("readers/golden", 2), envelope::seal(Kind::Checkpoint, &bounded)),
        (layout::checkpoint("readers/golden", 3), envelope::seal(Kind::Checkpoint, &made)),
    ]
}

pub async fn stored() -> Store {
    Store::open(&format!("file://{}", folder().display()), &StoreOptions::default()).await.unwrap()
}

#[test]
fn golden_objects_are_written_as_they_always_were() {
    for (key, bytes) in golden() {
        let path = folder().join(&key);
        if std::env::var_os("TAPEDECK_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(
            std::fs::read(&path).unwrap_or_default(),
            bytes,
            "{key} is no longer written in the same way"
        );
    }
}

#[tokio::test]
async fn golden_objects_are_read() {
    let store = stored().await;
    let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap();
    assert_eq!((report.commits, report.segments, report.orphans), (3, 2, vec![]));
    // They are samples of every kind of definition, older than the schema chain: their catalog is not what those make.
    let damages = report.damages.iter().map(ToString::to_string).collect::<Vec<_>>();
    let [first, third] = &damages[..] else { panic!("{damages:?}") };
    assert!(first.contains("definitions up to commit 1 make of the one before: database 1 comes"), "{first}");
    assert!(third.contains("commits/00000000000000000003.pb names a catalog without what"), "{third}");

    let reader = LogReader::open(store).await.unwrap();
    assert_eq!((reader.log_id(), reader.tail().await.unwrap()), (LOG_ID, Some(Seq(3))));
    let first = reader.commit(Seq(1)).await.unwrap().unwrap().commit;
    assert_eq!(reader.catalog(first.catalog.as_ref().unwrap()).await.unwrap(), catalog());

    let mut records = Vec::new();
    let seen = |record| {
        records.push(record);
        Ok(())
    };
    inspect::cat(reader, Seq(1)..Seq(3), seen).await.unwrap();
    let kinds =
        records.iter().map(|record| record.get("type").or(record.get("record")).unwrap().as_str().unwrap());
    assert_eq!(kinds.collect::<Vec<_>>(), ["definition", "Insert", "TimeTick"]);
    assert_eq!(records[1]["rows"], 2);
    assert_eq!(records[1]["collection_id"], 7);
    assert_eq!(records[1]["channel"], CHANNEL);
}

#[tokio::test]
async fn golden_definitions_are_understood_and_make_the_catalog() {
    let reader = LogReader::open(stored().await).await.unwrap();
    let mut shown = Vec::new();
    let seen = |record: serde_json::Value| {
        shown.push(record["change"].as_str().unwrap().to_owned());
        Ok(())
    };
    inspect::cat(reader.clone(), Seq(3)..Seq(4), seen).await.unwrap();
    assert_eq!(shown.len(), definitions().len());
    assert_eq!(shown.iter().collect::<std::collections::BTreeSet<_>>().len(), 17, "all kinds: {shown:?}");

    let mut made = catalog();
    definitions().iter().for_each(|definition| made.apply(definition).unwrap());
    let docs = &made.collections[&7];
    assert_eq!((docs.indexes[0].id, &docs.properties, &docs.load), (10, &vec![pair("a", "b")], &None));
    assert_eq!(docs.schema.as_ref().unwrap().fields[1].type_params.len(), 2);
    assert_eq!((made.databases.len(), made.collections.len(), made.aliases.len()), (1, 1, 1));
}

#[tokio::test]
async fn a_log_is_listed_by_its_commits() {
    let mut rows = Vec::new();
    let seen = |row| {
        rows.push(row);
        Ok(())
    };
    inspect::ls(LogReader::open(stored().await).await.unwrap(), Seq(1)..Seq(100), seen).await.unwrap();
    let rows = rows
        .iter()
        .map(|row| (row.seq, row.epoch, row.fence, row.rows, row.messages, row.definitions, row.holes));
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [(1, 1, false, 2, 2, 1, 1), (2, 2, true, 0, 0, 0, 0), (3, 2, false, 0, 0, 21, 0)]
    );
}

#[tokio::test]
async fn a_look_beyond_the_tail_or_where_no_log_is_speaks_of_no_damage() {
    let reader = LogReader::open(stored().await).await.unwrap();
    for first in [4, 100] {
        for error in [
            inspect::ls(reader.clone(), Seq(first)..Seq(200), |_| Ok(())).await.unwrap_err(),
            inspect::cat(reader.clone(), Seq(first)..Seq(200), |_| Ok(())).await.unwrap_err(),
        ] {
            assert_eq!((error.message.as_str(), error.exit_code()), ("the log ends at commit 3", 2));
        }
    }
    inspect::ls(reader, Seq(3)..Seq(200), |row| {
        assert_eq!(row.seq, 3);
        Ok(())
    })
    .await
    .unwrap();
    let error = verify(Store::memory(), Scope::Whole, |_, _| ready(())).await.unwrap_err();
    assert_eq!(error.message, "there is no log at memory://");
}

#[test]
fn a_segment_of_the_sample_recorder_has_a_stable_digest_too() {
    let (bytes, named) = segment(LOG_ID, 1, Seq(1), 0, 2);
    assert_eq!(named.digest, commit::digest(&bytes)[..]);
    assert_eq!((named.rows, named.messages, named.definitions), (4, 2, 1));
    assert_eq!((named.first_tso, named.last_tso), (tso(0).0, tso(1).0));
}
