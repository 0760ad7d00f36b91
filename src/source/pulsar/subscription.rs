//! One topic being read.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::ANSWER;
use super::entry::{Entry, EntryId};
use super::order::{Order, Place};
use super::reader::{Event, Last, Reader};
use super::{Follower, PulsarQueue};
use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::source::order::check_kept;
use crate::source::{QueueMessage, Subscription};

/// After so long without an entry the broker is asked where the topic ends.
const QUIET: Duration = Duration::from_secs(3);
/// How often a topic is opened at the same position before that is an error.
const LOOKS: u32 = 3;
/// How long a reader that was moved ahead stays closed: long enough to be seen.
const SHOWN: Duration = Duration::from_secs(1);
/// What to do about readers that do not get what is kept.
const MOVED: &str = "a message TTL moves readers ahead: see that the namespace has none (pulsar-admin namespaces \
                     get-message-ttl), or one that is no shorter than its retention; else look at the broker's log";

/// A topic being read.
///
/// Whatever happens to a reader, the next one begins at the next position, and only what follows on the last entry is
/// taken; whether that position is still kept is found out when it is opened, and nowhere else. A reader that falls silent asks for the end of the topic: there its silence must be.
pub(super) struct PulsarSubscription {
    queue: PulsarQueue,
    channel: Channel,
    order: Order,
    /// What is left of the last entry.
    ready: VecDeque<QueueMessage>,
    /// None while one is opened.
    reader: Option<Reader>,
    /// Like the other question it stays here: it goes on when `next` is cancelled and called again.
    opening: Option<BoxFuture<'static, Result<Reader>>>,
    /// An entry, and what follows the last one.
    held: Option<(Entry, BoxFuture<'static, Result<Follower>>)>,
    /// When silence, or the missing answer, becomes odd.
    until: Instant,
    asked: bool,
    /// The reader has seen all that there was when the broker last answered, and since then all that came.
    at_end: bool,
    /// Readers opened at the next position in vain.
    looks: u32,
}

impl PulsarSubscription {
    /// `reader` begins at `from`; none: one is opened.
    pub fn new(
        queue: PulsarQueue,
        channel: Channel,
        from: Position,
        reader: Option<Reader>,
    ) -> PulsarSubscription {
        PulsarSubscription {
            queue,
            channel,
            order: Order::start(from),
            ready: VecDeque::new(),
            reader,
            opening: None,
            held: None,
            until: Instant::now() + QUIET,
            asked: false,
            at_end: false,
            looks: 0,
        }
    }

    /// Opens a reader at the next position.
    async fn open(&mut self) -> Result<()> {
        if self.opening.is_none() {
            self.open_after(Duration::ZERO);
        }
        let Some(opening) = &mut self.opening else { return Ok(()) };
        let opened = opening.await;
        self.opening = None;
        self.reader = Some(opened?);
        self.listen();
        Ok(())
    }

    fn open_after(&mut self, pause: Duration) {
        let (queue, channel, next) = (self.queue.clone(), self.channel.clone(), self.order.next());
        let opening = async move {
            sleep(pause).await;
            queue.resume(&channel, next).await
        };
        self.opening = Some(opening.boxed());
    }

    fn listen(&mut self) {
        (self.until, self.asked) = (Instant::now() + QUIET, false);
    }

    fn close(&mut self) {
        (self.reader, self.held, self.at_end) = (None, None, false);
    }

    /// Begins anew at the next position; where that has been in vain too often, the caller decides when.
    fn stumble(&mut self, why: Error) -> Result<()> {
        self.close();
        self.looks += 1;
        if !why.is_retry() || self.looks > LOOKS {
            self.looks = 0;
            return Err(why);
        }
        tracing::debug!(channel = %self.channel, next = %self.order.next(), "Pulsar is read anew: {why}");
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Entry(entry) => {
                self.listen();
                self.judge(entry)
            }
            // An entry that came since the question was asked may have been written after the answer was found.
            Event::Last(_) if !self.asked => Ok(()),
            Event::Last(Last { message, .. }) => self.compare(message),
            Event::Closed => {
                self.stumble(Error::retry(format!("Pulsar closed channel {} for the moment", self.channel)))
            }
        }
    }

    fn judge(&mut self, entry: Entry) -> Result<()> {
        match self.order.place(entry.id) {
            Place::Next => self.take(entry),
            Place::Repeated => {}
            Place::After(last) => self.hold(entry, last),
            // At the end nothing more was in the entry with which the reading began.
            Place::Gap if self.at_end => self.hold(entry, EntryId::of(self.order.next())),
            Place::Gap => return Err(self.moved(entry.id)),
        }
        Ok(())
    }

    /// Asks whether an entry follows the last one.
    fn hold(&mut self, entry: Entry, last: EntryId) {
        let (queue, channel, found) = (self.queue.clone(), self.channel.clone(), entry.id);
        let question = async move { queue.follows(&channel, last, found).await }.boxed();
        self.held = Some((entry, question));
    }

    fn take(&mut self, entry: Entry) {
        self.ready.extend(self.order.take(entry));
        (self.at_end, self.looks) = (false, 0);
    }

    /// Settles whether the held entry follows the last one. Retention may have taken the last one from a reader that
    /// was at the end: then nothing can have come between. Elsewhere the next opening finds the hole.
    async fn settle(&mut self) -> Result<()> {
        let Some((_, question)) = &mut self.held else { return Ok(()) };
        let follows = question.await;
        let Some((entry, _)) = self.held.take() else { return Ok(()) };
        match follows {
            Ok(Follower::Found) => self.take(entry),
            Ok(Follower::Unknown) if self.at_end => self.take(entry),
            Ok(Follower::Unknown) => self.close(),
            Ok(Follower::Another) => return Err(self.moved(entry.id)),
            Err(error) => self.stumble(error)?,
        }
        Ok(())
    }

    /// The reader was moved ahead. It is read on from where it stood: but it may happen again.
    fn moved(&mut self, found: EntryId) -> Error {
        self.close();
        self.open_after(SHOWN);
        let (channel, next, found) = (&self.channel, self.order.next(), found.message(0));
        let why =
            format!("Pulsar sent {found} on channel {channel} where {next} was to come: it is read anew");
        Error::retry(why).advice(MOVED)
    }

    /// Compares the end of the topic with what was read.
    fn compare(&mut self, last: Option<Position>) -> Result<()> {
        let next = self.order.next();
        if let Some(last) = last {
            let end = last.next();
            check_kept(&self.channel, next, &(next.min(end)..end))?;
            if end > next {
                let channel = &self.channel;
                let why = format!(
                    "Pulsar holds messages up to {last} on channel {channel} and sends none from {next}"
                );
                return self.stumble(Error::retry(why).advice(MOVED));
            }
        }
        self.at_end = true;
        self.looks = 0;
        self.listen();
        Ok(())
    }

    async fn step(&mut self) -> Result<()> {
        if self.held.is_some() {
            return self.settle().await;
        }
        let Some(reader) = &mut self.reader else { return self.open().await };
        let patience = if self.asked { ANSWER } else { QUIET };
        match timeout_at(self.until, reader.event()).await {
            Ok(Ok(event)) => self.event(event),
            Ok(Err(error)) => self.stumble(error),
            // A part of an entry has come since: that is no silence.
            Err(_) if reader.heard() + patience > self.until => {
                self.until = reader.heard() + patience;
                Ok(())
            }
            Err(_) if self.asked => {
                self.stumble(Error::retry(format!("Pulsar does not answer on channel {}", self.channel)))
            }
            Err(_) => {
                (self.until, self.asked) = (Instant::now() + ANSWER, true);
                match reader.ask_last().await {
                    Ok(()) => Ok(()),
                    Err(error) => self.stumble(error),
                }
            }
        }
    }
}

#[async_trait]
impl Subscription for PulsarSubscription {
    async fn next(&mut self) -> Result<QueueMessage> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            self.step().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::pulsar::PulsarOptions;

    #[test]
    fn an_end_that_was_found_before_an_entry_came_is_no_truncation() {
        let options = PulsarOptions { url: "pulsar://127.0.0.1:1".into(), ..PulsarOptions::default() };
        let queue = PulsarQueue::connect(&options).unwrap();
        let [before, then] = [156, 157].map(|entry| EntryId { ledger: 17, entry });
        let mut topic = PulsarSubscription::new(queue, "dml_0".into(), then.message(0), None);
        let end = || Event::Last(Last { message: Some(before.message(0)), next: None });
        topic.asked = true;
        topic.event(Event::Entry(Entry { id: then, messages: vec!["new".into()] })).unwrap();
        topic.event(end()).unwrap();
        topic.asked = true;
        assert!(topic.event(end()).unwrap_err().message.contains("is beyond its end"));
    }
}
