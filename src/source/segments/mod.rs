//! The source's segments: rows as its data nodes have stored them, in files of one column each.
//!
//! etcd lists them ([`EtcdCatalog::segments`](crate::source::etcd::EtcdCatalog::segments)), the object storage holds the
//! files ([`SegmentReader`]). Below `minio.rootPath`, or `localStorage.path`, Milvus 2.3.5 has
//!
//! ```text
//! insert_log/{collection}/{partition}/{segment}/{field}/{log}   one column of some rows: a binlog
//! delta_log/{collection}/{partition}/{segment}/{log}            deleted keys, for the rows of this segment
//! ```
//!
//! The n-th binlogs of all fields hold the same rows in the same order, a [`Block`]; row ids (field 0) and timestamps
//! (field 1) are columns too. `event` and `payload` tell what is in a file, `column` and `delete` what it means.
//!
//! What a list promises, and Milvus' own recovery relies on: a virtual channel's [`Checkpoint`] says up to which TSO
//! everything of that channel is in segments. These may hold newer rows and deletes too; all of them come again in the
//! queue, behind the checkpoint.

mod column;
mod delete;
mod event;
mod payload;
mod reader;
mod requests;
mod unlisted;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use delete::{DeletedKeys, Deletes};
pub use reader::{Block, SegmentReader};

use crate::catalog::{CollectionId, PartitionId};
use crate::position::Position;
use crate::tick::Tso;

/// Id of a segment in the source.
pub type SegmentId = i64;
/// Id of a field in its collection: 0 row ids, 1 timestamps, those of users from 100 on.
pub type FieldId = i64;

/// The segments of some collections at one revision of etcd.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SegmentList {
    /// The revision.
    pub revision: i64,
    /// All segments that etcd still knows, also dropped ones.
    pub segments: BTreeMap<SegmentId, Segment>,
    /// By virtual channel; a channel of which nothing was stored yet may have none.
    pub checkpoints: BTreeMap<String, Checkpoint>,
}

impl SegmentList {
    /// The segments whose files are part of the source's state.
    pub fn readable(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values().filter(|segment| segment.is_readable())
    }

    /// A compaction of level 0 writes the deletes of such a segment to those that have the rows, and drops it; the writes
    /// may be seen in part. So the deletes of what was dropped since `millis` (Unix time) count on: one that is applied
    /// twice does no harm.
    pub fn with_deletes_dropped_since(mut self, millis: u64) -> SegmentList {
        for segment in self.segments.values_mut() {
            let may_be_halfway = segment.state == SegmentState::Dropped
                && (segment.dropped_ms == 0 || segment.dropped_ms >= millis);
            if segment.level == Level::L0 && may_be_halfway {
                segment.state = SegmentState::Flushed;
            }
        }
        self
    }

    /// The segments that a segment took over, and those that these had taken over.
    pub fn taken_over_by(&self, segment: &Segment) -> BTreeSet<SegmentId> {
        let mut all = BTreeSet::new();
        let mut next = vec![segment];
        while let Some(segment) = next.pop() {
            let new = segment.compacted_from.iter().filter(|from| all.insert(**from));
            next.extend(new.filter_map(|from| self.segments.get(from)));
        }
        all
    }

    /// The collections into which a bulk import is under way.
    pub fn importing(&self) -> BTreeSet<CollectionId> {
        let importing = |of: &&Segment| {
            of.state == SegmentState::Importing || (of.importing && of.state != SegmentState::Dropped)
        };
        self.segments.values().filter(importing).map(|segment| segment.collection_id).collect()
    }

    /// A segment of a later list that took over rows of segments which were dropped in this one already, where it was
    /// not to be seen itself: this one lies within a compaction.
    pub fn overtaken_by<'a>(&self, later: &'a SegmentList) -> Option<&'a Segment> {
        let reads = |id: &SegmentId| self.segments.get(id).map(Segment::is_readable);
        later.readable().find(|segment| {
            reads(&segment.id) != Some(true)
                && segment.compacted_from.iter().any(|from| reads(from) == Some(false))
        })
    }
}

/// A place in a virtual channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where to read from, inclusive: messages after `tso` may already stand there, and some up to `tso` still.
    pub position: Position,
    /// Everything with a TSO up to this is stored.
    pub tso: Tso,
}

/// A segment: rows of one partition that came through one virtual channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Its id, which its inserts in the queue carry.
    pub id: SegmentId,
    /// The collection.
    pub collection_id: CollectionId,
    /// The partition; -1 in a level-0 segment whose deletes concern all of them.
    pub partition_id: PartitionId,
    /// The virtual channel.
    pub shard: String,
    /// Where it stands in its life.
    pub state: SegmentState,
    /// What it holds.
    pub level: Level,
    /// Rows, as the source counts them; not kept exact while it grows.
    pub rows: u64,
    /// Before its first row; none of a growing segment of which nothing was stored.
    pub start: Option<Checkpoint>,
    /// Its rows up to here are in its files.
    pub dml: Option<Checkpoint>,
    /// The segments whose rows without the deleted ones it took over.
    pub compacted_from: Vec<SegmentId>,
    /// Dropped because another took over its rows, not with its partition or collection.
    pub compacted: bool,
    /// When it was dropped: Unix time in milliseconds; 0: it was not, or that is not known.
    pub dropped_ms: u64,
    /// Part of a bulk import that is not finished.
    pub importing: bool,
    /// Part of a bulk import or of another work that is not finished: its rows do not exist yet.
    pub unfinished: bool,
    /// Files of rows, by field, in order.
    pub binlogs: BTreeMap<FieldId, Vec<LogFile>>,
    /// Files of deletes, in order.
    pub deltas: Vec<LogFile>,
}

impl Segment {
    /// Whether its files are part of the source's state: those of a growing segment are, as far as they go.
    pub fn is_readable(&self) -> bool {
        let holds_rows = !matches!(self.state, SegmentState::Dropped | SegmentState::Importing);
        holds_rows && !self.unfinished
    }
}

/// Where a segment stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentState {
    /// Takes rows.
    Growing,
    /// Takes no more rows; not all of them need be in files.
    Sealed,
    /// Its last rows are being stored.
    Flushing,
    /// All its rows are in files.
    Flushed,
    /// Its rows are in another segment, or gone with their partition; its files stay for hours.
    Dropped,
    /// Of a bulk import that is not finished.
    Importing,
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Deletes alone, for all segments of its channel; since Milvus 2.4.
    L0,
    /// Rows, and deletes for them.
    L1,
    /// The same, after a clustering compaction; since Milvus 2.4.
    L2,
}

/// A file in the object storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its key below the root path.
    pub path: String,
    /// Rows, or deleted keys, where the list says how many.
    pub entries: Option<u64>,
}
