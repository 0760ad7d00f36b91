//! The order of a Pulsar topic: entries follow one another within a ledger, and a ledger follows another.
//!
//! Which ledger follows cannot be seen from ids: they are given out for the whole cluster. It is found out by asking
//! what comes after the last entry, as long as that is kept: retention removes whole ledgers, and always the first.
//!
//! An empty topic has no last entry. Its first message may come in any later ledger, because a broker that takes a topic
//! over replaces the empty one; so what came to it and was removed before anyone looked is not missed. Topics of rows are never
//! empty: they begin with an announcement, and ticks follow.

use bytes::Bytes;

use super::entry::{Entry, EntryId};
use crate::position::Position;
use crate::source::QueueMessage;

/// Follows one topic and judges what is delivered.
#[derive(Debug)]
pub(super) struct Order {
    next: Position,
    /// All of the entry in which `next` lies was delivered.
    whole: bool,
}

/// What an entry is, compared to what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the next one, or holds the next message.
    Next,
    /// It was there before.
    Repeated,
    /// It is the next one if it follows this entry, or comes first where this is the beginning.
    After(EntryId),
    /// The entry with the next message has not come.
    Gap,
}

impl Order {
    /// From a position on, which must exist, or be just after one that does.
    pub fn start(from: Position) -> Order {
        Order { next: from, whole: false }
    }

    /// Nothing before it is missing, nothing from there on was delivered.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Where an entry stands.
    pub fn place(&self, found: EntryId) -> Place {
        let here = EntryId::of(self.next);
        if found < here || (found == here && self.whole) {
            return Place::Repeated;
        }
        match () {
            () if found == here => Place::Next,
            () if !self.whole && !here.is_beginning() => Place::Gap,
            () if found == (EntryId { entry: here.entry.saturating_add(1), ..here }) => Place::Next,
            () => Place::After(here),
        }
    }

    /// Takes in an entry that is the next one: its messages that were not delivered before.
    pub fn take(&mut self, entry: Entry) -> Vec<QueueMessage> {
        let Entry { id, messages } = entry;
        let from = std::mem::replace(&mut self.next, id.message(messages.len()));
        self.whole = true;
        let message = |(at, payload): (usize, Bytes)| QueueMessage { position: id.message(at), payload };
        messages.into_iter().enumerate().map(message).filter(|message| message.position >= from).collect()
    }
}
