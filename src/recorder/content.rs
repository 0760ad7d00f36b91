//! What goes into the segment of one cut.

use std::collections::{HashMap, HashSet};

use crate::catalog::{Catalog, CollectionId, PartitionId};
use crate::error::Result;
use crate::log::segment::SegmentWriter;
use crate::message::{self, ALL_PARTITIONS, Kind};
use crate::pb::log::{self as pb, definition::Change};
use crate::position::Channel;
use crate::progress::RowCounts;
use crate::tick::Tso;

use super::base::is_in_base;
use super::reading::Held;
use super::requests::Requests;

/// The changes of a cut, encoded, and what they count.
pub struct Content {
    segment: SegmentWriter,
    channels: Vec<Channel>,
    /// Rows in it.
    pub rows: RowCounts,
    /// Types of messages that no replayer can apply.
    pub unknown: Vec<String>,
}

impl Content {
    /// Nothing yet, of these channels.
    pub fn new(log_id: &str, epoch: u64, seq: u64, channels: Vec<Channel>) -> Content {
        let names = channels.iter().map(Channel::to_string).collect();
        let header = pb::SegmentHeader { log_id: log_id.to_owned(), epoch, seq, channels: names };
        Content {
            segment: SegmentWriter::new(header),
            channels,
            rows: RowCounts::default(),
            unknown: Vec::new(),
        }
    }

    /// Adds definitions.
    pub fn definitions(&mut self, definitions: &[pb::Definition]) {
        for definition in definitions {
            self.segment.definition(definition);
        }
    }

    /// Adds messages of one channel.
    pub fn messages<'a>(&mut self, channel: &Channel, messages: impl Iterator<Item = &'a Held>) {
        let index = self.channels.iter().position(|known| known == channel).unwrap_or_default();
        let index = u32::try_from(index).unwrap_or_default();
        for Held { position, tso, header, payload } in messages {
            let rows = header.rows.as_ref().map_or(0, |rows| rows.rows);
            match header.kind {
                Kind::Insert => self.rows.inserted += rows,
                Kind::Delete => self.rows.deleted += rows,
                _ => self.unknown.push(message::type_name(header.msg_type).into_owned()),
            }
            self.segment.message(index, *position, *tso, header.msg_type, payload, rows);
        }
    }

    /// The segment; none where nothing was added.
    pub fn finish(self) -> (Option<SegmentWriter>, RowCounts, Vec<String>) {
        let Content { segment, rows, unknown, .. } = self;
        ((segment.records() > 0).then_some(segment), rows, unknown)
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.segment.records() == 0
    }
}

/// Whether a message concerns what a catalog holds. Rows of collections or partitions that are not selected, never came
/// to be, or were gone when the log began are passed over, and those of a base; a message without rows concerns everybody.
pub fn concerns(catalog: &Catalog, held: &Held) -> bool {
    let Some(rows) = &held.header.rows else { return true };
    let Some(collection) = catalog.collections.get(&rows.collection_id) else { return false };
    if is_in_base(collection, &rows.shard, held.tso) {
        return false;
    }
    rows.partition_id == ALL_PARTITIONS
        || collection.partitions.iter().any(|partition| partition.id == rows.partition_id)
}

/// What the definitions of a cut bring and take away.
#[derive(Debug, Default)]
pub struct Turnover {
    created: HashSet<(CollectionId, PartitionId)>,
    gone: HashMap<(CollectionId, PartitionId), Tso>,
}

impl Turnover {
    /// Of these definitions.
    pub fn of(definitions: &[pb::Definition]) -> Turnover {
        let mut this = Turnover::default();
        for definition in definitions {
            let tso = Tso(definition.tso);
            match &definition.change {
                Some(Change::CreateCollection(collection)) => {
                    let partitions = collection.partitions.iter().map(|partition| partition.id);
                    let all = partitions.chain([ALL_PARTITIONS]).map(|partition| (collection.id, partition));
                    this.created.extend(all);
                }
                Some(Change::CreatePartition(pb::CreatePartition { collection_id, partition })) => {
                    this.created.extend(partition.iter().map(|partition| (*collection_id, partition.id)));
                }
                Some(Change::DropCollection(dropped)) => {
                    this.gone.insert((dropped.id, ALL_PARTITIONS), tso);
                }
                Some(Change::DropPartition(dropped)) => {
                    this.gone.insert((dropped.collection_id, dropped.partition_id), tso);
                }
                _ => {}
            }
        }
        this
    }

    /// Whether a message of the cut belongs in the log: what it concerns was `known` before the cut or came to be in
    /// it, and was not gone yet. A source may still accept rows while it drops what they go to; they die with it.
    pub fn keeps(&self, known: bool, held: &Held) -> bool {
        let Some(rows) = &held.header.rows else { return true };
        let place = (rows.collection_id, rows.partition_id);
        let gone = [place, (rows.collection_id, ALL_PARTITIONS)].map(|place| self.gone.get(&place));
        (known || self.created.contains(&place)) && gone.iter().flatten().all(|gone| held.tso <= **gone)
    }
}

/// The requests among the messages of the replicate channel.
pub fn requests(held: &[Held]) -> Result<Requests> {
    let requests = held.iter().filter(|held| held.header.kind == Kind::Request);
    Ok(Requests(requests.map(|held| message::request(held.payload.clone())).collect::<Result<_>>()?))
}
