//! The records of one commit in the order in which they are applied. Pure.
//!
//! Rows go by TSO, a delete before an insert of the same TSO, then by channel and position. A definition follows
//! every row whose TSO is at most its own, and precedes the rest.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::catalog::{CollectionId, PartitionId};
use crate::error::Result;
use crate::message::{self, Kind};
use crate::pb::log::{Definition, Message, Record, record::Body};
use crate::position::Position;
use crate::tick::Tso;

/// A virtual channel: rows of one key never change theirs, so the order within a lane is all the order that rows need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey {
    /// The collection.
    pub collection: CollectionId,
    /// Its virtual channel.
    pub shard: String,
}

/// A row message.
#[derive(Clone, Debug, PartialEq)]
pub struct RowMessage {
    /// When.
    pub tso: Tso,
    /// Whether it deletes.
    pub delete: bool,
    /// The partition; [`message::ALL_PARTITIONS`] of a delete over the whole collection.
    pub partition: PartitionId,
    /// Rows inserted or keys deleted.
    pub rows: u64,
    /// The verbatim message.
    pub payload: Bytes,
}

/// What is done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Rows, by lane.
    Rows(BTreeMap<LaneKey, Vec<RowMessage>>),
    /// A definition.
    Define(Box<Definition>),
    /// A message that no replayer can apply: its TSO and the name of its type.
    Unknown(Tso, String),
}

/// The steps of a commit up to a TSO (inclusive).
pub fn steps(records: Vec<Record>, until: Tso) -> Result<Vec<Step>> {
    let mut definitions = Vec::new();
    let mut rows = Vec::new();
    let mut steps = Vec::new();
    for record in records {
        match record.body {
            Some(Body::Definition(definition)) if definition.tso <= until.0 => definitions.push(definition),
            Some(Body::Message(message)) if message.tso <= until.0 => match message::kind(message.r#type) {
                Kind::Insert | Kind::Delete => rows.push(message),
                _ => steps
                    .push(Step::Unknown(Tso(message.tso), message::type_name(message.r#type).into_owned())),
            },
            _ => {}
        }
    }
    rows.sort_by_key(order);
    let mut rows = rows.into_iter().peekable();
    for definition in definitions {
        let before = std::iter::from_fn(|| rows.next_if(|row| row.tso <= definition.tso));
        push_rows(before, &mut steps)?;
        steps.push(Step::Define(Box::new(definition)));
    }
    push_rows(rows, &mut steps)?;
    Ok(steps)
}

fn order(message: &Message) -> (u64, bool, u32, Position) {
    let position = Position::from(message.position.unwrap_or_default());
    (message.tso, message::kind(message.r#type) == Kind::Insert, message.channel, position)
}

fn push_rows(messages: impl Iterator<Item = Message>, steps: &mut Vec<Step>) -> Result<()> {
    let mut lanes = BTreeMap::<LaneKey, Vec<RowMessage>>::new();
    for message in messages {
        let delete = message::kind(message.r#type) == Kind::Delete;
        let Some(rows) = message::header(&message.payload)?.rows else { continue };
        let key = LaneKey { collection: rows.collection_id, shard: rows.shard };
        lanes.entry(key).or_default().push(RowMessage {
            tso: Tso(message.tso),
            delete,
            partition: rows.partition_id,
            rows: rows.rows,
            payload: message.payload,
        });
    }
    if !lanes.is_empty() {
        steps.push(Step::Rows(lanes));
    }
    Ok(())
}
