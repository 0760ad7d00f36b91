//! What goes into the segments of one cut. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message;

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

/// Bytes of a segment; more only where one TSO has more. A segment is read as a whole.
const SEGMENT_BYTES: usize = 32 << 20;

/// The changes of a cut, and what they count.
pub struct Content {
    header: pb::SegmentHeader,
    channels: Vec<Channel>,
    all: Piece,
    /// Rows in it.
    pub rows: RowCounts,
    /// Types of messages that no replayer can apply.
    pub unknown: Vec<String>,
}

/// The content of one segment. The messages are those that wait, not copies of them.
#[derive(Default)]
struct Piece {
    definitions: Vec<pb::Definition>,
    messages: Vec<(u32, Held)>,
    bytes: usize,
}

impl Piece {
    fn definition(&mut self, definition: pb::Definition) {
        self.bytes += definition.encoded_len();
        self.definitions.push(definition);
    }

    fn message(&mut self, channel: u32, held: Held) {
        self.bytes += held.payload.len();
        self.messages.push((channel, held));
    }

    fn append(&mut self, later: Piece) {
        self.bytes += later.bytes;
        self.definitions.extend(later.definitions);
        self.messages.extend(later.messages);
    }

    /// In pieces of a bounded size. What has one TSO stays together, and nothing changes places with a later TSO.
    fn split(self, most: usize) -> Vec<Piece> {
        if self.bytes <= most {
            return vec![self];
        }
        let mut by_tso = BTreeMap::<Tso, Piece>::new();
        for definition in self.definitions {
            by_tso.entry(Tso(definition.tso)).or_default().definition(definition);
        }
        for (channel, held) in self.messages {
            by_tso.entry(held.tso).or_default().message(channel, held);
        }
        let mut pieces = Vec::<Piece>::new();
        for piece in by_tso.into_values() {
            match pieces.last_mut().filter(|last| last.bytes.saturating_add(piece.bytes) <= most) {
                Some(last) => last.append(piece),
                None => pieces.push(piece),
            }
        }
        pieces
    }
}

/// A segment that is not written yet.
pub struct Unwritten {
    header: pb::SegmentHeader,
    piece: Piece,
}

impl Unwritten {
    /// Copies the changes into the segment.
    pub fn write(self) -> SegmentWriter {
        let mut segment = SegmentWriter::new(self.header);
        for definition in &self.piece.definitions {
            segment.definition(definition);
        }
        for (channel, Held { position, tso, header, payload }) in self.piece.messages {
            let rows = header.rows.as_ref().map_or(0, |rows| rows.rows);
            segment.message(channel, position, tso, header.msg_type, &payload, rows);
        }
        segment
    }
}

impl Content {
    /// Nothing yet, of these channels.
    pub fn new(log_id: &str, epoch: u64, seq: u64, channels: Vec<Channel>) -> Content {
        let names = channels.iter().map(Channel::to_string).collect();
        let header = pb::SegmentHeader { log_id: log_id.to_owned(), epoch, seq, channels: names };
        Content { header, channels, all: Piece::default(), rows: RowCounts::default(), unknown: Vec::new() }
    }

    /// Adds definitions.
    pub fn definitions(&mut self, definitions: &[pb::Definition]) {
        for definition in definitions {
            self.all.definition(definition.clone());
        }
    }

    /// Adds messages of one channel.
    pub fn messages(&mut self, channel: &Channel, messages: impl Iterator<Item = Held>) {
        let index = self.channels.iter().position(|known| known == channel).unwrap_or_default();
        let index = u32::try_from(index).unwrap_or_default();
        for held in messages {
            let rows = held.header.rows.as_ref().map_or(0, |rows| rows.rows);
            match held.header.kind {
                Kind::Insert => self.rows.inserted += rows,
                Kind::Delete => self.rows.deleted += rows,
                _ => self.unknown.push(message::type_name(held.header.msg_type).into_owned()),
            }
            self.all.message(index, held);
        }
    }

    /// The segments in their order; none where nothing was added.
    pub fn finish(self) -> (Vec<Unwritten>, RowCounts, Vec<String>) {
        if self.is_empty() {
            return (Vec::new(), self.rows, self.unknown);
        }
        let Content { header, all, rows, unknown, .. } = self;
        let pieces = all.split(SEGMENT_BYTES).into_iter();
        (pieces.map(|piece| Unwritten { header: header.clone(), piece }).collect(), rows, unknown)
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.all.definitions.is_empty() && self.all.messages.is_empty()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::message::Header;
    use crate::position::Position;

    fn held(tso: u64, bytes: usize) -> Held {
        let tso = Tso(tso);
        let header = Header { kind: Kind::Other, msg_type: 1212, id: 0, tso, rows: None };
        Held { position: Position::offset(0), tso, header, payload: vec![0; bytes].into() }
    }

    proptest! {
        #[test]
        fn what_has_one_tso_is_in_one_segment_and_segments_are_bounded_and_follow_each_other(
            all in proptest::collection::vec((1u64..20, 0usize..40, any::<bool>()), 0..60)
        ) {
            let mut whole = Piece::default();
            for (tso, bytes, defines) in &all {
                match defines {
                    true => whole.definition(pb::Definition { tso: *tso, exact: true, change: None }),
                    false => whole.message(0, held(*tso, *bytes)),
                }
            }
            let pieces = whole.split(64);
            let mut found = 0;
            let mut before = 0;
            for piece in &pieces {
                let tsos = piece.messages.iter().map(|(_, held)| held.tso.0);
                let tsos = tsos.chain(piece.definitions.iter().map(|it| it.tso)).collect::<BTreeSet<_>>();
                found += piece.messages.len() + piece.definitions.len();
                prop_assert!(piece.bytes <= 64 || tsos.len() == 1, "{} bytes", piece.bytes);
                prop_assert!(tsos.first().is_none_or(|first| *first > before), "{tsos:?} after {before}");
                before = tsos.last().copied().unwrap_or(before);
            }
            prop_assert_eq!(found, all.len());
        }
    }
}
