//! A queue in memory: channels are vectors.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::Outage;
use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::source::order::{Order, check_kept};
use crate::source::{Queue, QueueMessage, Subscription};

/// A queue in memory. Clones are the same queue.
#[derive(Clone, Debug, Default)]
pub struct MemoryQueue {
    state: Arc<Mutex<State>>,
    /// Changes with every call that can let a waiting subscription go on.
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct State {
    channels: BTreeMap<Channel, Log>,
    outage: Outage,
    /// Unix time in milliseconds that new messages are written at.
    clock: u64,
}

#[derive(Debug, Default)]
struct Log {
    /// Position of the first message kept.
    low: i64,
    /// When it was written, and what.
    messages: Vec<(u64, Bytes)>,
    /// How often it was created anew.
    recreated: u64,
    /// Where subscriptions went back to, in the order in which they were told.
    rewinds: Vec<Position>,
}

impl Log {
    fn bounds(&self) -> Range<Position> {
        Position::offset(self.low)..Position::offset(self.low.saturating_add(self.messages.len() as i64))
    }
    fn get(&self, position: Position) -> Option<&Bytes> {
        let index = usize::try_from(position.offset.checked_sub(self.low)?).ok()?;
        self.messages.get(index).map(|(_, payload)| payload)
    }
}

impl MemoryQueue {
    /// Adds a channel; one that exists stays as it is.
    pub fn create_channel(&self, name: &str) -> Channel {
        let channel = Channel::from(name);
        self.lock().channels.entry(channel.clone()).or_default();
        channel
    }

    /// Writes a message, creating the channel where need be.
    pub fn push(&self, channel: &Channel, payload: Bytes) -> Position {
        let position = {
            let mut state = self.lock();
            let clock = state.clock;
            let log = state.channels.entry(channel.clone()).or_default();
            log.messages.push((clock, payload));
            Position::offset(log.bounds().end.offset - 1)
        };
        self.wake();
        position
    }

    /// The time at which messages are written from now on.
    pub fn set_clock(&self, millis: u64) {
        self.lock().clock = millis;
    }

    /// Retention: removes everything before `low`.
    pub fn trim(&self, channel: &Channel, low: Position) {
        if let Some(log) = self.lock().channels.get_mut(channel) {
            let removed =
                usize::try_from(low.offset.saturating_sub(log.low)).unwrap_or(0).min(log.messages.len());
            log.messages.drain(..removed);
            log.low += removed as i64;
        }
        self.wake();
    }

    /// Removes the channel and creates it anew: positions start at 0 again.
    pub fn recreate(&self, channel: &Channel) {
        {
            let mut state = self.lock();
            let log = state.channels.entry(channel.clone()).or_default();
            *log = Log { recreated: log.recreated + 1, ..Log::default() };
        }
        self.wake();
    }

    /// Removes the channel.
    pub fn remove(&self, channel: &Channel) {
        self.lock().channels.remove(channel);
        self.wake();
    }

    /// Delivers everything from `from` on once more to every subscription, as after a reconnect.
    pub fn redeliver(&self, channel: &Channel, from: Position) {
        if let Some(log) = self.lock().channels.get_mut(channel) {
            log.rewinds.push(from);
        }
        self.wake();
    }

    /// Makes the next `calls` of the trait's methods fail for the moment.
    pub fn fail_next(&self, calls: usize) {
        self.lock().outage.left = calls;
        self.wake();
    }

    /// All that a channel holds, for oracles.
    pub fn messages(&self, channel: &Channel) -> Vec<QueueMessage> {
        let state = self.lock();
        let Some(log) = state.channels.get(channel) else { return vec![] };
        let positions = (log.low..).map(Position::offset);
        let payloads = log.messages.iter().map(|(_, payload)| payload.clone());
        positions.zip(payloads).map(|(position, payload)| QueueMessage { position, payload }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl State {
    fn channel(&mut self, channel: &Channel) -> Result<&mut Log> {
        self.outage.check("queue")?;
        self.channels.get_mut(channel).ok_or_else(|| {
            Error::operator(format!("there is no channel {channel}")).advice("check the channel's name")
        })
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn identity(&self) -> Result<String> {
        self.lock().outage.check("queue")?;
        Ok("memory:queue".into())
    }

    async fn exists(&self, channel: &Channel) -> Result<bool> {
        let mut state = self.lock();
        state.outage.check("queue")?;
        Ok(state.channels.contains_key(channel))
    }

    async fn bounds(&self, channel: &Channel) -> Result<Range<Position>> {
        Ok(self.lock().channel(channel)?.bounds())
    }

    async fn position_at(&self, channel: &Channel, millis: u64) -> Result<Position> {
        let mut state = self.lock();
        let log = state.channel(channel)?;
        let before = log.messages.iter().take_while(|(written, _)| *written < millis).count();
        Ok(Position::offset(log.low + before as i64))
    }

    async fn subscribe(&self, channel: &Channel, from: Position) -> Result<Box<dyn Subscription>> {
        let mut state = self.lock();
        let log = state.channel(channel)?;
        Ok(Box::new(Reader {
            order: Order::start(channel, from, &log.bounds())?,
            cursor: from,
            rewinds: log.rewinds.len(),
            recreated: log.recreated,
            changed: self.changed.subscribe(),
            queue: self.clone(),
            channel: channel.clone(),
        }))
    }
}

struct Reader {
    queue: MemoryQueue,
    channel: Channel,
    order: Order,
    /// What is delivered next: behind `order` after a redelivery.
    cursor: Position,
    rewinds: usize,
    recreated: u64,
    changed: watch::Receiver<u64>,
}

impl Reader {
    /// What there is without waiting.
    fn poll(&mut self) -> Result<Option<QueueMessage>> {
        let mut state = self.queue.lock();
        let log = state.channel(&self.channel)?;
        let bounds = log.bounds();
        check_kept(&self.channel, self.order.next(), &bounds)?;
        if let Some(rewind) = log.rewinds.get(self.rewinds..).unwrap_or_default().iter().min() {
            self.cursor = self.cursor.min(*rewind);
        }
        self.rewinds = log.rewinds.len();
        if log.recreated != self.recreated {
            self.recreated = log.recreated;
            self.cursor = self.order.go_on(&bounds)?;
        }
        self.cursor = self.cursor.max(bounds.start);
        while let Some(payload) = log.get(self.cursor) {
            let position = self.cursor;
            let message = QueueMessage { position, payload: payload.clone() };
            let admitted = self.order.admit(&message)?;
            self.cursor = position.next();
            if admitted {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Subscription for Reader {
    async fn next(&mut self) -> Result<QueueMessage> {
        loop {
            self.changed.mark_unchanged();
            if let Some(message) = self.poll()? {
                return Ok(message);
            }
            // the queue itself holds the sender: this never fails
            let _ = self.changed.changed().await;
        }
    }
}
