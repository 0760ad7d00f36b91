//! One topic being read.

<<<<<<< HEAD
=======
use std::ops::Range;
>>>>>>> source
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
<<<<<<< HEAD
use rdkafka::Message;
=======
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::Message;
use rdkafka::error::KafkaError;
>>>>>>> source
use rdkafka::message::{BorrowedMessage, Headers};
use tokio::time::sleep;

use super::KafkaQueue;
use super::failure::lost_position;
use super::reader::Feed;
use crate::error::{Error, Result};
use crate::message::{STREAMING_PROPERTY, streaming};
use crate::position::{Channel, Position};
use crate::source::order::{Order, check_kept};
use crate::source::{Queue, QueueMessage, Subscription};

<<<<<<< HEAD
/// How long brokers may be away before it is told.
const GRACE: Duration = Duration::from_secs(1);
/// How often the same position is looked for before a jump over it is believed.
const LOOKS: u32 = 3;

/// A topic being read. Without a feed it has stumbled: before it goes on, the topic's bounds must show that the next
/// position is still kept.
=======
/// After so long without a message the brokers are asked whether they are there, and hold the next position still.
const QUIET: Duration = Duration::from_secs(3);
/// How often the same position is looked for before a jump over it is believed.
const LOOKS: u32 = 3;

/// A topic being read.
///
/// librdkafka reconnects by itself and says little about it, so what counts is the topic's bounds: they are asked for
/// when a feed is quiet, and before a feed that stumbled is opened anew.
>>>>>>> source
pub(super) struct KafkaSubscription {
    queue: KafkaQueue,
    channel: Channel,
    order: Order,
<<<<<<< HEAD
    feed: Option<Feed>,
=======
    /// None after it has stumbled.
    feed: Option<Feed>,
    /// The question for the bounds; kept here, it goes on when `next` is cancelled and called again.
    question: Option<BoxFuture<'static, Result<Range<Position>>>>,
>>>>>>> source
    /// Feeds opened at the next position in vain.
    looks: u32,
}

<<<<<<< HEAD
impl KafkaSubscription {
    pub fn new(queue: KafkaQueue, channel: Channel, order: Order, feed: Feed) -> KafkaSubscription {
        KafkaSubscription { queue, channel, order, feed: Some(feed), looks: 0 }
    }

    /// Opens a feed at the next position, or says why that is gone.
    async fn resume(&mut self) -> Result<()> {
        let bounds = self.queue.bounds(&self.channel).await?;
        check_kept(&self.channel, self.order.next(), &bounds)?;
        self.feed = Some(self.queue.feed(&self.channel, self.order.next())?);
        self.looks = self.looks.saturating_add(1);
        Ok(())
    }

    /// What comes next from the feed: the message that is due, one that is not, or the reason to look again.
    async fn receive(&mut self) -> Result<Received> {
        let Some(feed) = &self.feed else { return Ok(Received::Lost(None)) };
        let received = tokio::select! {
            biased;
            received = feed.receive() => received,
            error = async { let error = feed.trouble().await; sleep(GRACE).await; error } => return Err(error),
        };
        match received {
            Ok(message) => {
                let position = Position(message.offset());
                match self.order.admit(position) {
                    Ok(true) => Ok(Received::Next(take(position, &message)?)),
                    Ok(false) => Ok(Received::Repeated),
                    Err(hole) => Ok(Received::Lost(Some(hole))),
                }
            }
            Err(error) if lost_position(&error) => {
                Ok(Received::Lost(Some(self.queue.failed(&self.channel, &error))))
            }
            Err(error) => {
                let error = self.queue.failed(&self.channel, &error);
                self.feed = None;
                Err(error)
            }
        }
    }
}

enum Received {
    Next(QueueMessage),
    Repeated,
    /// The feed does not stand at the next position.
    Lost(Option<Error>),
=======
enum Event {
    Next(QueueMessage),
    Repeated,
    /// The feed does not stand at the next position.
    Stumbled(Error),
    Bounds(Range<Position>),
}

impl KafkaSubscription {
    pub fn new(queue: KafkaQueue, channel: Channel, order: Order, feed: Feed) -> KafkaSubscription {
        KafkaSubscription { queue, channel, order, feed: Some(feed), question: None, looks: 0 }
    }

    /// Whatever comes first. Safe to cancel: a message is taken in the same step in which it comes.
    async fn event(&mut self) -> Result<Event> {
        let KafkaSubscription { queue, channel, order, feed, question, .. } = self;
        let feed = feed.as_ref();
        let receive = async {
            match feed {
                Some(feed) => feed.receive().await,
                None => std::future::pending().await,
            }
        };
        let mut receive = std::pin::pin!(receive);
        if let Some(received) = receive.as_mut().now_or_never() {
            return judge(queue, channel, order, received);
        }
        let wait = if feed.is_some() { QUIET } else { Duration::ZERO };
        let asking = question.get_or_insert_with(|| ask_after(wait, queue.clone(), channel.clone()).boxed());
        tokio::select! {
            biased;
            received = receive => judge(queue, channel, order, received),
            bounds = asking => {
                *question = None;
                bounds.map(Event::Bounds)
            }
        }
    }
>>>>>>> source
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Result<QueueMessage> {
        loop {
<<<<<<< HEAD
            if self.feed.is_none() {
                self.resume().await?;
            }
            match self.receive().await? {
                Received::Next(message) => {
                    self.looks = 0;
                    return Ok(message);
                }
                Received::Repeated => {}
                Received::Lost(why) => {
                    self.feed = None;
                    if let Some(why) = why.filter(|_| self.looks >= LOOKS) {
                        return Err(why);
                    }
                }
=======
            match self.event().await? {
                Event::Next(message) => {
                    (self.question, self.looks) = (None, 0);
                    return Ok(message);
                }
                Event::Repeated => {}
                Event::Stumbled(why) => {
                    (self.question, self.feed) = (None, None);
                    if self.looks >= LOOKS {
                        return Err(why);
                    }
                }
                Event::Bounds(bounds) => {
                    check_kept(&self.channel, self.order.next(), &bounds)?;
                    if self.feed.is_none() {
                        self.feed = Some(self.queue.feed(&self.channel, self.order.next())?);
                        self.looks = self.looks.saturating_add(1);
                    }
                }
>>>>>>> source
            }
        }
    }
}

<<<<<<< HEAD
fn take(position: Position, message: &BorrowedMessage<'_>) -> Result<QueueMessage> {
    if message.headers().is_some_and(|headers| headers.iter().any(|header| header.key == STREAMING_PROPERTY)) {
=======
async fn ask_after(wait: Duration, queue: KafkaQueue, channel: Channel) -> Result<Range<Position>> {
    sleep(wait).await;
    queue.bounds(&channel).await
}

fn judge(
    queue: &KafkaQueue,
    channel: &Channel,
    order: &mut Order,
    received: Result<BorrowedMessage<'_>, KafkaError>,
) -> Result<Event> {
    match received {
        Ok(message) => {
            let position = Position(message.offset());
            match order.admit(position) {
                Ok(true) => take(position, &message).map(Event::Next),
                Ok(false) => Ok(Event::Repeated),
                Err(hole) => Ok(Event::Stumbled(hole)),
            }
        }
        Err(error) if lost_position(&error) => Ok(Event::Stumbled(queue.failed(channel, &error))),
        Err(error) => Err(queue.failed(channel, &error)),
    }
}

fn take(position: Position, message: &BorrowedMessage<'_>) -> Result<QueueMessage> {
    if message.headers().is_some_and(|headers| headers.iter().any(|header| header.key == STREAMING_PROPERTY))
    {
>>>>>>> source
        return Err(streaming(STREAMING_PROPERTY).context(format_args!("{} at {position}", message.topic())));
    }
    Ok(QueueMessage { position, payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()) })
}
