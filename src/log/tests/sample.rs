//! A small recorder, a small replayer and the log between them.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::log::base::{self, Base};
use crate::log::layout;
use crate::log::reader::{Follower, LogReader};
use crate::log::segment::SegmentWriter;
use crate::log::store::Store;
use crate::log::writer::{LogWriter, Uploader};
use crate::pb::log::{self as pb, record::Body};
use crate::pb::milvus::proto::common::MsgBase;
use crate::pb::milvus::proto::msg::RowHeader;
use crate::position::{Position, Seq};
use crate::tick::Tso;

pub const CHANNEL: &str = "by-dev-rootcoord-dml_0";
pub const LOG_ID: &str = "6a2f41a3-c54c-4e8a-9f0e-3b1f3d6a7c11";

pub fn source() -> pb::SourceIdentity {
    pb::SourceIdentity { queue: "kafka:abc".into(), etcd: "1234/by-dev/meta".into() }
}

/// An Insert of two rows, as far as it is looked at.
pub fn payload(offset: i64) -> Bytes {
    let base = MsgBase { msg_type: 400, msg_id: offset, timestamp: tso(offset).0, ..Default::default() };
    let rows = RowHeader {
        base: Some(base),
        shard_name: format!("{CHANNEL}_7v0"),
        collection_id: 7,
        partition_id: 8,
        timestamps: vec![tso(offset).0; 2],
        version: 1,
    };
    rows.encode_to_vec().into()
}

pub fn tso(offset: i64) -> Tso {
    Tso::from_millis(1_795_411_930_000 + offset as u64)
}

pub fn definition(tso: Tso) -> pb::Definition {
    let database = pb::Database { id: 1, name: "default".into(), properties: vec![] };
    pb::Definition { tso: tso.0, exact: true, change: Some(pb::definition::Change::CreateDatabase(database)) }
}

pub fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    catalog.apply(&definition(Tso(1))).unwrap();
    catalog
}

/// A segment with the messages `[from, to)`; the first of a log also has the definition.
pub fn segment(log_id: &str, epoch: u64, seq: Seq, from: i64, to: i64) -> (Bytes, pb::ObjectRef) {
    let header =
        pb::SegmentHeader { log_id: log_id.into(), epoch, seq: seq.0, channels: vec![CHANNEL.into()] };
    let mut writer = SegmentWriter::new(header);
    if from == 0 {
        writer.definition(&definition(tso(0)));
    }
    for offset in from..to {
        writer.message(0, Position::offset(offset), tso(offset), 400, &payload(offset), 2);
    }
    writer.finish()
}

pub fn draft(from: i64, to: i64, segment: pb::ObjectRef, catalog: pb::ObjectRef) -> pb::Commit {
    pb::Commit {
        segments: vec![segment],
        channels: vec![pb::ChannelRange {
            channel: CHANNEL.into(),
            start: Some(Position::offset(from).into()),
            end: Some(Position::offset(to).into()),
            tick: tso(to - 1).0,
            anchor: Some(Position::offset(to - 1).into()),
            anchor_digest: Bytes::copy_from_slice(blake3::hash(&payload(to - 1)).as_bytes()),
            opened: from == 0,
        }],
        watermark: tso(to - 1).0,
        etcd_revision: 5,
        opens_at: tso(0).0,
        catalog: Some(catalog),
        ..Default::default()
    }
}

/// Tries again while the store fails for now.
pub async fn patiently<T>(mut act: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    for _ in 0..5 {
        match act().await {
            Err(error) if error.is_retry() => {}
            done => return done,
        }
    }
    Err(Error::retry("five tries"))
}

async fn upload(
    uploader: &Uploader,
    log_id: &str,
    epoch: u64,
    seq: Seq,
    from: i64,
    to: i64,
) -> Result<pb::Commit> {
    let (bytes, reference) = segment(log_id, epoch, seq, from, to);
    let segment =
        patiently(async || uploader.put_segment(seq, bytes.clone(), reference.clone()).await).await?;
    let catalog = patiently(async || uploader.put_catalog(seq, &catalog()).await).await?;
    Ok(draft(from, to, segment, catalog))
}

/// Commits the messages `[from, to)`.
pub async fn commit(writer: &mut LogWriter, from: i64, to: i64) -> Result<pb::Commit> {
    let log_id = writer.log_id().to_owned();
    let draft = upload(&writer.uploader(), &log_id, writer.epoch(), writer.next_seq(), from, to).await?;
    patiently(async || writer.commit(draft.clone()).await).await
}

/// The uuid of a log.
pub async fn log_id(store: &Store) -> String {
    LogReader::open(store.clone()).await.unwrap().log_id().to_owned()
}

/// Records the messages up to `until`, two a commit, from wherever the log ends. Returns its number of commits.
pub async fn record(store: &Store, until: i64) -> Result<u64> {
    let source = source();
    let (mut writer, tail) = patiently(async || LogWriter::open(store.clone(), &source).await).await?;
    let mut from = match tail {
        Some(tail) => {
            assert_eq!(tail.catalog, catalog());
            tail.commit.channels[0].end.unwrap().offset
        }
        None => 0,
    };
    let mut commits = 0;
    while from < until {
        let to = (from + 2).min(until);
        commit(&mut writer, from, to).await?;
        commits += 1;
        from = to;
    }
    Ok(commits)
}

/// What a replayer would apply: how often each message, by offset; and definitions.
#[derive(Debug, Default, PartialEq)]
pub struct Replayed {
    pub messages: BTreeMap<i64, u64>,
    pub definitions: u64,
    pub watermark: u64,
}

impl Replayed {
    /// Every message once.
    pub fn all(until: i64) -> Replayed {
        let messages = (0..until).map(|offset| (offset, 1)).collect();
        Replayed { messages, definitions: 1, watermark: tso(until - 1).0 }
    }

    /// Takes in a commit, or a base as one.
    pub async fn take(&mut self, reader: &LogReader, commit: &pb::Commit) -> Result<()> {
        if let Some(named) = &commit.catalog {
            assert_eq!(reader.catalog(named).await?, catalog());
        }
        for named in &commit.segments {
            for record in reader.segment(named).await?.records {
                match record.body.unwrap() {
                    Body::Definition(_) => self.definitions += 1,
                    Body::Message(message) => {
                        let offset = message.position.unwrap().offset;
                        assert_eq!(message.payload, payload(offset));
                        *self.messages.entry(offset).or_default() += 1;
                    }
                }
            }
        }
        self.watermark = commit.watermark;
        Ok(())
    }
}

/// Replays the whole log, from its base if it begins with one.
pub async fn replay(store: &Store) -> Result<Replayed> {
    let reader = LogReader::open(store.clone()).await?;
    let beginning = reader.beginning().await?;
    let mut replayed = Replayed::default();
    let mut follower = match &beginning {
        Some(base) => Follower::after(reader, base.seq()).await?,
        None => Follower::after(reader, Seq(0)).await?,
    };
    if let Some(base) = beginning {
        replayed.take(follower.reader(), &base.as_commit()).await?;
    }
    while let Some(sealed) = follower.next().await? {
        replayed.take(follower.reader(), &sealed.commit).await?;
    }
    Ok(replayed)
}

/// Takes the base of a commit: all messages so far.
pub async fn take_base(store: &Store, seq: Seq) -> Result<Base> {
    let reader = LogReader::open(store.clone()).await?;
    let after = reader.existing(seq).await?;
    let commit = &after.commit;
    let (log_id, channels) = (reader.log_id().to_owned(), vec![CHANNEL.into()]);
    let mut writer =
        SegmentWriter::new(pb::SegmentHeader { log_id, epoch: commit.epoch, seq: seq.0, channels });
    writer.definition(&definition(Tso(0)));
    for offset in 0..commit.channels[0].end.unwrap().offset {
        writer.message(0, Position::offset(offset), Tso::BASE, 400, &payload(offset), 2);
    }
    let (bytes, counted) = writer.finish();
    let key = layout::base_segment(seq, counted.digest.first_chunk().unwrap());
    patiently(async || store.put(&key, bytes.clone()).await).await?;
    let segments = vec![pb::ObjectRef { key, ..counted }];
    let base = Base { after, segments, wall_time_ms: 7, incomplete: Default::default() };
    store.put(&layout::base(seq), base::seal(reader.log_id(), &base)).await?;
    Ok(base)
}
