//! What a timeline is made of, as it is shown.

use serde::Serialize;
use serde_json::Value;

use crate::log::coverage::{Coverage, HoleAt, Window};
use crate::log::identity::Identity;
use crate::pb::log::SourceIdentity;
use crate::tick::Tso;

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// Which log it is; the first entry.
    Log {
        /// Its uuid.
        log_id: String,
        /// When it was begun, RFC 3339.
        created: String,
        /// Version of its format.
        format: u32,
        /// The queue that is recorded.
        queue: String,
        /// The etcd that is recorded.
        etcd: String,
    },
    /// A change of what exists.
    Definition {
        /// By which a person can name it: commit and number within it, from 1.
        place: String,
        /// When.
        #[serde(flatten)]
        at: At,
        /// Whether the source itself dated it; else it lies somewhere in its commit.
        exact: bool,
        /// What it was: `drop_collection` and the like.
        change: &'static str,
        /// Of what, by the names of that instant: `database.collection`, or a database.
        of: String,
        /// All that the log says of it.
        details: Value,
    },
    /// Keys that were deleted from one collection in one commit. Upserts are none: their rows have come back.
    Delete {
        /// The commit.
        seq: u64,
        /// `database.collection`, by the name of that instant.
        of: String,
        /// Its id in the source.
        collection_id: i64,
        /// Keys that deletes name.
        rows: u64,
        /// The first delete...
        first: At,
        /// ...and the last one.
        last: At,
    },
    /// A range of a channel that the log lacks.
    Hole {
        /// The commit that records it.
        seq: u64,
        /// What is missing has a TSO after this (none: it is missing from the log's beginning on)...
        after: Option<At>,
        /// ...and up to this.
        to: At,
        /// The channel.
        channel: String,
        /// First position that is missing.
        start: String,
        /// The position after the last one that is missing.
        end: String,
        /// Why.
        reason: String,
    },
    /// Rows of one period. A period without rows is left out.
    Rows {
        /// The period: its first TSO, and the last one.
        #[serde(flatten)]
        span: Span,
        /// How many.
        #[serde(flatten)]
        rows: RowTotal,
    },
    /// An instant that is kept under a name, whatever is pruned.
    Point {
        /// The name.
        name: String,
        /// When.
        #[serde(flatten)]
        at: At,
    },
    /// Instants that can be restored, both ends included.
    Window(Span),
    /// The sums; the last entry.
    Total(LogTotal),
}

/// A point in the source's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct At {
    /// As TSO.
    pub tso: u64,
    /// In RFC 3339.
    pub time: String,
}

/// A stretch of the source's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// Where it begins...
    pub from: At,
    /// ...and ends.
    pub to: At,
}

/// Rows by what was done with them; an upsert is a delete and an insert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowTotal {
    /// Rows of inserts.
    pub inserted: u64,
    /// Keys that deletes name.
    pub deleted: u64,
}

/// The sums of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogTotal {
    /// Commits of the log.
    pub commits: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Windows that can be restored.
    pub windows: usize,
    /// Holes beyond those that are listed.
    pub more_holes: u64,
    /// Rows of the part that was asked for.
    #[serde(flatten)]
    pub rows: RowTotal,
}

impl Entry {
    pub(super) fn log(identity: &Identity, source: SourceIdentity) -> Entry {
        Entry::Log {
            log_id: identity.log_id.clone(),
            created: identity.created.clone(),
            format: identity.format,
            queue: source.queue,
            etcd: source.etcd,
        }
    }

    /// A hole of the commit that was taken in last.
    pub(super) fn hole(hole: &HoleAt, coverage: &Coverage) -> Entry {
        Entry::Hole {
            seq: hole.seq,
            after: (hole.after > Tso::ZERO).then(|| hole.after.into()),
            to: coverage.watermark.into(),
            channel: hole.channel.clone(),
            start: hole.start.to_string(),
            end: hole.end.to_string(),
            reason: hole.reason.clone(),
        }
    }

    pub(super) fn window(window: Window) -> Entry {
        Entry::Window(Span::new(window.from, window.to))
    }
}

impl LogTotal {
    pub(super) fn new(coverage: &Coverage, rows: RowTotal) -> LogTotal {
        LogTotal {
            commits: coverage.commits,
            segments: coverage.segments,
            bytes: coverage.bytes,
            windows: coverage.windows.len(),
            more_holes: coverage.more_holes,
            rows,
        }
    }
}

impl RowTotal {
    pub(super) fn add(&mut self, other: RowTotal) {
        self.inserted = self.inserted.saturating_add(other.inserted);
        self.deleted = self.deleted.saturating_add(other.deleted);
    }
}

impl From<Tso> for At {
    fn from(tso: Tso) -> At {
        At { tso: tso.0, time: tso.time() }
    }
}

impl Span {
    pub(super) fn new(from: Tso, to: Tso) -> Span {
        Span { from: from.into(), to: to.into() }
    }
}
