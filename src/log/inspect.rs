//! A log for people: its commits as rows, its records as JSON.

use std::ops::Range;

use serde::Serialize;
use serde_json::{Value, json};

use super::commit::Sealed;
use super::describe;
use super::reader::{Follower, LogReader};
use crate::error::Result;
use crate::message::{self, Header};
use crate::pb::log::{self as pb, record::Body};
use crate::position::{Position, Seq};
use crate::tick::Tso;

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its number.
    pub seq: u64,
    /// Its writer's number.
    pub epoch: u64,
    /// First commit of an epoch; no data.
    pub fence: bool,
    /// When it was made, by the recorder's clock, RFC 3339.
    pub time: String,
    /// Every change with a TSO up to this is in it or before it.
    pub watermark: u64,
    /// The watermark as a time, RFC 3339.
    /// Empty where that is no time: after a base.
    pub watermark_time: String,
    /// Rows inserted, upserted or deleted.
    pub rows: u64,
    /// Messages.
    pub messages: u64,
    /// Definitions.
    pub definitions: u64,
    /// Bytes of segments.
    pub bytes: u64,
    /// Holes that it records.
    pub holes: usize,
}

impl From<&pb::Commit> for Row {
    fn from(commit: &pb::Commit) -> Row {
        let sum =
            |count: fn(&pb::ObjectRef) -> u64| commit.segments.iter().map(count).fold(0, u64::saturating_add);
        Row {
            seq: commit.seq,
            epoch: commit.epoch,
            fence: commit.fence,
            time: Tso::from_millis(commit.wall_time_ms).time(),
            watermark: commit.watermark,
            watermark_time: Tso(commit.watermark).time(),
            rows: sum(|segment| segment.rows),
            messages: sum(|segment| segment.messages),
            definitions: sum(|segment| segment.definitions),
            bytes: sum(|segment| segment.length),
            holes: commit.holes.len(),
        }
    }
}

/// The commits of a range; what lies beyond the tail is not waited for.
struct Commits {
    follower: Follower,
    end: Seq,
}

impl Commits {
    async fn of(reader: LogReader, range: Range<Seq>) -> Result<Commits> {
        let follower = match range.start {
            Seq(0) => {
                let before_last = Seq(range.end.0.saturating_sub(2));
                reader.floors().check_after(before_last).await?;
                Follower::beginning(reader).await?
            }
            first => Follower::from(reader, first).await?,
        };
        Ok(Commits { follower, end: range.end })
    }

    async fn next(&mut self) -> Result<Option<Sealed>> {
        let next = self.follower.last().map_or(Seq(1), |last| last.seq().next());
        if next < self.end { self.follower.next().await } else { Ok(None) }
    }
}

/// Shows the commits of a range, from 0: from where the log begins.
pub async fn ls(reader: LogReader, range: Range<Seq>, mut show: impl FnMut(Row) -> Result<()>) -> Result<()> {
    let mut commits = Commits::of(reader, range).await?;
    while let Some(sealed) = commits.next().await? {
        show(Row::from(&sealed.commit))?;
    }
    Ok(())
}

/// Shows the records of the commits of a range, as [`ls`]: one JSON value each; one segment is in memory at a time.
pub async fn cat(
    reader: LogReader,
    range: Range<Seq>,
    mut show: impl FnMut(Value) -> Result<()>,
) -> Result<()> {
    let mut commits = Commits::of(reader, range).await?;
    while let Some(sealed) = commits.next().await? {
        for reference in &sealed.commit.segments {
            let segment = commits.follower.reader().segment(reference).await?;
            for record in &segment.records {
                show(describe(sealed.seq(), &segment.header, record))?;
            }
        }
    }
    Ok(())
}

fn describe(seq: Seq, header: &pb::SegmentHeader, record: &pb::Record) -> Value {
    match &record.body {
        Some(Body::Message(message)) => {
            let channel = usize::try_from(message.channel).ok().and_then(|at| header.channels.get(at));
            let mut value = json!({
                "seq": seq.0,
                "record": "message",
                "channel": channel,
                "position": message.position.map(|position| Position::from(position).to_string()),
                "tso": message.tso,
                "time": Tso(message.tso).time(),
                "type": message::type_name(message.r#type),
                "bytes": message.payload.len(),
            });
            if let (Value::Object(fields), Value::Object(content)) = (&mut value, content(message)) {
                fields.extend(content);
            }
            value
        }
        Some(Body::Definition(definition)) => {
            let (change, of) = describe::change(definition.change.as_ref());
            json!({
                "seq": seq.0,
                "record": "definition",
                "tso": definition.tso,
                "time": Tso(definition.tso).time(),
                "exact": definition.exact,
                "change": change,
                "of": of,
            })
        }
        None => Value::Null,
    }
}

/// What a message says about itself, as far as it can be read.
fn content(message: &pb::Message) -> Value {
    match message::header(&message.payload) {
        Ok(Header { rows: Some(rows), .. }) => json!({
            "collection_id": rows.collection_id,
            "partition_id": rows.partition_id,
            "shard": rows.shard,
            "rows": rows.rows,
        }),
        Ok(_) => json!({}),
        Err(error) => json!({ "unreadable": error.to_string() }),
    }
}
