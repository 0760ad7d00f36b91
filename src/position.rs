//! Where we are: in a channel of the source, and in the log.

use std::fmt;
use std::sync::Arc;

use prost::Message;

use crate::pb::log as pb;
use crate::pb::pulsar::MessageIdData;

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

/// The place of a message in its channel. Ranges of positions are half open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Pulsar's ledger; other queues have none. First, so that positions have the order of the channel.
    pub ledger: Option<u64>,
    /// A Kafka offset, a RocksMQ message id, an entry of the ledger.
    pub offset: i64,
    /// Which message of the entry.
    pub batch: u32,
}

impl Position {
    /// A Kafka offset or a RocksMQ message id.
    pub const fn offset(offset: i64) -> Position {
        Position { ledger: None, offset, batch: 0 }
    }

    /// A Pulsar message id. A message that stands alone in its entry is number 0 there.
    pub const fn entry(ledger: u64, entry: i64, batch: u32) -> Position {
        Position { ledger: Some(ledger), offset: entry, batch }
    }

    /// As the clients of queues write it: 8 bytes, little endian, in Kafka and RocksMQ; a protobuf message in Pulsar.
    /// A message id can have 8 bytes too. Read as a number it is near 2^53: beyond any offset, and long before the
    /// ids that RocksMQ makes from the time. One without its partition is none of Milvus', and could be such a time.
    pub fn of_queue(bytes: &[u8]) -> Option<Position> {
        let id =
            MessageIdData::decode(bytes).ok().filter(|id| id.encode_to_vec() == bytes).unwrap_or_default();
        match (id.ledger_id, id.entry_id, id.partition) {
            (Some(ledger), Some(entry), Some(-1 | 0)) => {
                let batch = id.batch_index.and_then(|batch| u32::try_from(batch).ok()).unwrap_or_default();
                Some(Position::entry(ledger, i64::try_from(entry).ok()?, batch))
            }
            _ => Some(Position::offset(i64::from_le_bytes(bytes.try_into().ok()?))),
        }
    }

    /// The place just after this one: nothing lies between. In Pulsar the next message may have a later one.
    pub fn next(self) -> Position {
        match self.ledger {
            Some(_) => Position { batch: self.batch.saturating_add(1), ..self },
            None => Position::offset(self.offset.saturating_add(1)),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ledger {
            Some(ledger) => write!(f, "{ledger}:{}:{}", self.offset, self.batch),
            None => self.offset.fmt(f),
        }
    }
}

impl From<Position> for pb::Position {
    fn from(position: Position) -> pb::Position {
        let Position { ledger, offset, batch } = position;
        pb::Position { offset, ledger, batch }
    }
}

impl From<pb::Position> for Position {
    fn from(position: pb::Position) -> Position {
        let pb::Position { offset, ledger, batch } = position;
        Position { ledger, offset, batch }
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

/// Commits up to `seq`; of the one after, the first `segments` segments; of the segment after these, the definitions up
/// to number `definitions` with the rows before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// The last whole commit.
    pub seq: Seq,
    /// Whole segments of the commit after it.
    pub segments: u64,
    /// Definitions of that commit, counted from its beginning: those of the whole segments too.
    pub definitions: u64,
    /// And the rows after them, up to the next definition or the end of the segment.
    pub rows: bool,
}

impl LogPosition {
    /// After a whole commit.
    pub fn after(seq: Seq) -> LogPosition {
        LogPosition { seq, ..LogPosition::default() }
    }

    /// Before everything in the segments of a commit from a number on, whatever stands before them; they count from 0.
    pub fn before_segment(seq: Seq, number: u64) -> LogPosition {
        LogPosition { segments: number, ..LogPosition::after(Seq(seq.0.saturating_sub(1))) }
    }

    /// The last commit of which anything lies before it.
    pub fn reaches(self) -> Seq {
        if self > LogPosition::after(self.seq) { self.seq.next() } else { self.seq }
    }
}

impl From<LogPosition> for pb::LogPosition {
    fn from(position: LogPosition) -> pb::LogPosition {
        let LogPosition { seq, segments, definitions, rows } = position;
        pb::LogPosition { seq: seq.0, definitions, rows, segments }
    }
}

impl From<pb::LogPosition> for LogPosition {
    fn from(position: pb::LogPosition) -> LogPosition {
        let pb::LogPosition { seq, definitions, rows, segments } = position;
        LogPosition { seq: Seq(seq), segments, definitions, rows }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_have_the_order_of_their_channel() {
        let pulsar = [(17, 4, 0), (17, 4, 1), (17, 5, 0), (18, 0, 0)];
        let pulsar = pulsar.map(|(ledger, entry, batch)| Position::entry(ledger, entry, batch));
        assert!(pulsar.is_sorted() && Position::offset(9) < Position::offset(10));
        for (here, there) in pulsar.iter().zip(&pulsar[1..]) {
            assert!(*here < here.next() && here.next() <= *there, "{here} {there}");
        }
    }

    #[test]
    fn a_position_is_shown_and_stored_as_what_the_queue_calls_it() {
        let (kafka, pulsar) = (Position::offset(123), Position::entry(17, 4, 2));
        assert_eq!((kafka.to_string(), pulsar.to_string()), ("123".into(), "17:4:2".into()));
        assert_eq!(pb::Position::from(kafka).encode_to_vec(), [0x08, 123]);
        for position in [kafka, pulsar, Position::entry(0, 0, 0)] {
            let stored = pb::Position::from(position).encode_to_vec();
            assert_eq!(Position::from(pb::Position::decode(&*stored).unwrap()), position);
        }
    }

    #[test]
    fn what_a_client_wrote_is_read_as_that_of_its_queue() {
        for number in [0, 1, 8, 123, i64::from(u32::MAX), 445_566_778_899_001_122] {
            assert_eq!(Position::of_queue(&i64::to_le_bytes(number)), Some(Position::offset(number)));
        }
        // of Milvus 2.3.5
        let start = Position::of_queue(&[0x08, 0x95, 0xaa, 0x01, 0x10, 0x00, 0x18, 0x00, 0x20, 0x00]);
        assert_eq!(start, Some(Position::entry(21_781, 0, 0)));
        let start = Position::of_queue(&[0x08, 0x15, 0x10, 0x04, 0x18, 0x00, 0x20, 0x00]);
        assert_eq!(start, Some(Position::entry(21, 4, 0)));
        let id = |ledger, entry, partition, batch_index| {
            let (ledger_id, entry_id) = (Some(ledger), Some(entry));
            let id = MessageIdData { ledger_id, entry_id, partition, batch_index, ..Default::default() };
            Position::of_queue(&id.encode_to_vec())
        };
        assert_eq!(id(17, 4, Some(-1), Some(-1)), Some(Position::entry(17, 4, 0)));
        assert_eq!(id(17, 4, Some(0), Some(2)), Some(Position::entry(17, 4, 2)));
        assert_eq!(id(170_000, 0, Some(0), None), Some(Position::entry(170_000, 0, 0)));
        let others = [Position::of_queue(&[1, 2, 3]), id(1, 2, Some(7), None), id(170_000, 0, None, None)];
        assert_eq!(others, [None; 3]);
    }

    proptest! {
        /// Their last byte is 6 for decades.
        #[test]
        fn an_id_that_rocksmq_made_from_the_time_is_never_read_as_one_of_pulsar(
            more in proptest::array::uniform4(0x80u8..), split in 0usize..=4, low in 1u8..0x80,
        ) {
            let (ledger, entry) = more.split_at(split);
            let id = [&[0x08][..], ledger, &[low, 0x10][..], entry, &[6][..]].concat();
            let number = i64::from_le_bytes(id.clone().try_into().unwrap());
            prop_assert_eq!(Position::of_queue(&id), Some(Position::offset(number)));
        }
    }
}
