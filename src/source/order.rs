//! The order that sources promise: of messages, positions that rise without gap and without repetition; of events,
//!  by TSO and then so that each can be applied.

use std::fmt::Display;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::source::{Event, Object, QueueMessage};
use crate::tick::Tso;

impl Event {
    /// By TSO; at one TSO what is above before what lies in it, creations before drops.
    pub(super) fn order(&self) -> (Tso, u8) {
        let rank = match self.object {
            Object::Database { .. } => 0,
            Object::Collection(_) => 1,
            Object::Partition { .. } => 2,
            Object::Alias { .. } => 3,
            Object::AliasGone { .. } => 4,
            Object::PartitionGone { .. } => 5,
            Object::CollectionGone { .. } => 6,
            Object::DatabaseGone { .. } => 7,
        };
        (self.tso, rank)
    }
}

/// Follows one channel whose positions rise by one, and judges what is delivered.
#[derive(Clone, Debug)]
pub(super) struct Order {
    channel: Channel,
    next: Position,
    /// The last message given out. Whoever takes it in holds it too: it costs no memory.
    last: Option<QueueMessage>,
    /// After an interruption: whether `last` has to come once more before anything else counts.
    in_doubt: bool,
}

impl Order {
    /// Starts at `from` where `bounds` are kept; refuses a position outside them.
    pub fn start(channel: &Channel, from: Position, bounds: &Range<Position>) -> Result<Order> {
        check_kept(channel, from, bounds)?;
        Ok(Order { channel: channel.clone(), next: from, last: None, in_doubt: false })
    }

    /// The position that comes next.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Where to go on after an interruption, in which the channel may have become another one and outgrown the next
    /// position: at the last message, which shows that. Where retention has removed it, at the next one.
    pub fn go_on(&mut self, kept: &Range<Position>) -> Result<Position> {
        check_kept(&self.channel, self.next, kept)?;
        let last = self.last.as_ref().map(|last| last.position).filter(|last| *last >= kept.start);
        self.in_doubt = last.is_some();
        Ok(last.unwrap_or(self.next))
    }

    /// Whether a message is the next one. One that was there before is not, and must be the same still where the order
    /// goes on with it; one that comes too early is a hole.
    pub fn admit(&mut self, message: &QueueMessage) -> Result<bool> {
        let position = message.position;
        if let Some(last) = self.last.as_ref().filter(|last| self.in_doubt && position >= last.position) {
            if position > last.position {
                return Err(hole(&self.channel, last.position..position));
            }
            if message.payload != last.payload {
                let why = format_args!("position {position} holds another message than was read there");
                return Err(truncated(&self.channel, why));
            }
            self.in_doubt = false;
        }
        if position > self.next {
            return Err(hole(&self.channel, self.next..position));
        }
        let expected = position == self.next;
        if expected {
            self.next = position.next();
            self.last = Some(message.clone());
        }
        Ok(expected)
    }
}

/// Refuses a position that is no longer kept or not yet written.
pub(super) fn check_kept(channel: &Channel, from: Position, bounds: &Range<Position>) -> Result<()> {
    if from < bounds.start {
        return Err(hole(channel, from..bounds.start));
    }
    if from > bounds.end {
        return Err(truncated(channel, format_args!("position {from} is beyond its end {}", bounds.end)));
    }
    Ok(())
}

/// The refusal to go on where messages were that are no longer those of the queue.
pub(super) fn truncated(channel: &Channel, why: impl Display) -> Error {
    Error::refused(format!("channel {channel} was re-created or truncated: {why}"))
        .advice("start a new log: what was recorded does not belong to what the queue holds now")
}

/// The refusal to skip a range.
pub(super) fn hole(channel: &Channel, missing: Range<Position>) -> Error {
    Error::refused(format!(
        "hole [{}, {}) on channel {channel}: retention has removed what was not yet recorded",
        missing.start, missing.end
    ))
    .advice("start a new log, and give the queue a retention longer than the recorder may be away")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Verdict;
    use proptest::prelude::*;

    #[test]
    fn a_start_outside_of_what_is_kept_is_refused_with_the_hole_named() {
        let (channel, kept) = (Channel::from("dml_0"), Position::offset(5)..Position::offset(9));
        let before = Order::start(&channel, Position::offset(3), &kept).unwrap_err();
        assert_eq!(before.verdict, Verdict::Refused);
        assert!(before.message.contains("hole [3, 5) on channel dml_0"), "{before}");
        let beyond = Order::start(&channel, Position::offset(10), &kept).unwrap_err();
        assert_eq!(beyond.verdict, Verdict::Refused);
        assert!(beyond.message.contains("position 10 is beyond its end 9"), "{beyond}");
        assert!(Order::start(&channel, Position::offset(5), &kept).is_ok());
        assert!(Order::start(&channel, Position::offset(9), &kept).is_ok());
    }

    fn message(position: i64, text: &'static str) -> QueueMessage {
        QueueMessage { position: Position::offset(position), payload: text.into() }
    }

    fn interrupted(read: i64) -> Order {
        let kept = Position::offset(0)..Position::offset(read);
        let mut order = Order::start(&"dml_0".into(), Position::offset(0), &kept).unwrap();
        for position in 0..read {
            assert!(order.admit(&message(position, "old")).unwrap());
        }
        order
    }

    #[test]
    fn after_an_interruption_a_channel_is_read_on_only_after_the_message_that_was_read_last() {
        let outgrown = Position::offset(0)..Position::offset(9);
        let mut order = interrupted(5);
        assert_eq!(order.go_on(&outgrown).unwrap(), Position::offset(4));
        assert!(!order.admit(&message(3, "another")).unwrap(), "what comes before it shows nothing");
        assert!(!order.clone().admit(&message(4, "old")).unwrap());
        let error = order.clone().admit(&message(4, "another")).unwrap_err();
        assert!(error.verdict == Verdict::Refused && error.message.contains("was re-created"), "{error}");
        let error = order.clone().admit(&message(5, "new")).unwrap_err();
        assert!(error.message.contains("hole [4, 5)"), "{error}");
        assert!(!order.admit(&message(4, "old")).unwrap() && order.admit(&message(5, "new")).unwrap());

        let mut order = interrupted(5);
        assert_eq!(order.go_on(&(Position::offset(5)..Position::offset(9))).unwrap(), Position::offset(5));
        assert!(order.admit(&message(5, "new")).unwrap(), "retention has removed the last");
        assert!(interrupted(5).go_on(&(Position::offset(0)..Position::offset(4))).is_err(), "truncated");
        assert!(interrupted(5).go_on(&(Position::offset(6)..Position::offset(9))).is_err(), "a hole");
        assert_eq!(interrupted(0).go_on(&outgrown).unwrap(), Position::offset(0), "nothing was read");
    }

    proptest! {
        #[test]
        fn whatever_is_delivered_positions_rise_by_one(delivered in proptest::collection::vec(0i64..8, 0..64)) {
            let mut order = Order::start(&"c".into(), Position::offset(2), &(Position::offset(0)..Position::offset(8))).unwrap();
            let mut admitted = vec![];
            for position in delivered {
                match order.admit(&message(position, "text")) {
                    Ok(true) => admitted.push(position),
                    Ok(false) => prop_assert!(position < order.next().offset),
                    Err(error) => {
                        prop_assert_eq!(error.verdict, Verdict::Refused);
                        prop_assert!(position > order.next().offset);
                    }
                }
            }
            prop_assert_eq!(&admitted, &(2..2 + admitted.len() as i64).collect::<Vec<_>>());
        }
    }
}
