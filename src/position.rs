//! Where we are: in a channel of the source, and in the log.

use std::fmt;
use std::sync::Arc;

use crate::pb::log as pb;

/// A physical channel of the source's queue: a topic with one partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(Arc<str>);

impl Channel {
    /// The topic's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Channel {
    fn from(name: &str) -> Channel {
        Channel(name.into())
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a message in its channel: a Kafka offset, a message id of RocksMQ. Ranges of positions are half open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub i64);

impl Position {
    /// The place after this one.
    pub fn next(self) -> Position {
        Position(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Position> for pb::Position {
    fn from(position: Position) -> pb::Position {
        pb::Position { offset: position.0 }
    }
}

impl From<pb::Position> for Position {
    fn from(position: pb::Position) -> Position {
        Position(position.offset)
    }
}

/// Number of a commit. The first is 1; numbers have no holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The commit after this one.
    pub fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Commits up to `seq` and, of the one after, the first `definitions` definitions with the rows before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The last whole commit.
    pub seq: Seq,
    /// Definitions of the commit after it.
    pub definitions: u64,
    /// And the rows after them, up to the next definition.
    pub rows: bool,
}

impl LogPosition {
    /// After a whole commit.
    pub fn after(seq: Seq) -> LogPosition {
        LogPosition { seq, ..LogPosition::default() }
    }
}

impl From<LogPosition> for pb::LogPosition {
    fn from(position: LogPosition) -> pb::LogPosition {
        let LogPosition { seq, definitions, rows } = position;
        pb::LogPosition { seq: seq.0, definitions, rows }
    }
}

impl From<pb::LogPosition> for LogPosition {
    fn from(position: pb::LogPosition) -> LogPosition {
        LogPosition { seq: Seq(position.seq), definitions: position.definitions, rows: position.rows }
    }
}
