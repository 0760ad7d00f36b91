//! One topic being read.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::Message;
use rdkafka::error::KafkaError;
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

/// After so long without a message the brokers are asked whether they are there, and hold the next position still.
const QUIET: Duration = Duration::from_secs(3);
/// How often the same position is looked for before a jump over it is believed.
const LOOKS: u32 = 3;
/// How often in turn a topic may hold more than has come before that is an error.
const STARVED: u32 = 2;

/// A topic being read.
///
/// librdkafka reconnects by itself and says little about it, so what counts is the topic's bounds: they are asked for
/// when a feed is quiet, and before a feed that stumbled is opened anew: with the last message, which must be the same.
pub(super) struct KafkaSubscription {
    queue: KafkaQueue,
    channel: Channel,
    order: Order,
    /// None after it has stumbled.
    feed: Option<Feed>,
    /// The question for the bounds; kept here, it goes on when `next` is cancelled and called again.
    question: Option<BoxFuture<'static, Result<Range<Position>>>>,
    /// Feeds opened anew in vain.
    looks: u32,
    /// Looks at the bounds that showed more than had come, since the last message.
    starved: u32,
}

enum Event {
    Next(QueueMessage),
    Repeated,
    /// The feed does not stand at the next position.
    Stumbled(Error),
    Bounds(Range<Position>),
}

impl KafkaSubscription {
    pub fn new(queue: KafkaQueue, channel: Channel, order: Order, feed: Feed) -> KafkaSubscription {
        KafkaSubscription { queue, channel, order, feed: Some(feed), question: None, looks: 0, starved: 0 }
    }

    /// The brokers answer questions, but what is there does not come.
    fn starves(&self, feed: &Feed, bounds: &Range<Position>) -> Error {
        let (brokers, channel, next) = (&self.queue.options.brokers, &self.channel, self.order.next());
        let why = feed.no_connection().map(|(_, said)| format!(": {said}")).unwrap_or_default();
        let message = format!(
            "Kafka at {brokers}, topic {channel}: it holds {next} to {}, but nothing comes{why}",
            bounds.end
        );
        Error::retry(message).advice("check the network to the brokers: small answers pass, messages do not")
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
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Result<QueueMessage> {
        loop {
            let event = self.event().await;
            if event.is_err() {
                // brokers that were away may come back with another topic
                (self.question, self.feed, self.looks) = (None, None, 0);
            }
            match event? {
                Event::Next(message) => {
                    (self.question, self.looks, self.starved) = (None, 0, 0);
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
                    match &self.feed {
                        None => {
                            let from = self.order.go_on(&bounds)?;
                            self.feed = Some(self.queue.feed(&self.channel, from)?);
                            self.looks = self.looks.saturating_add(1);
                        }
                        Some(feed) if self.order.next() < bounds.end => {
                            self.starved = self.starved.saturating_add(1);
                            if self.starved >= STARVED {
                                return Err(self.starves(feed, &bounds));
                            }
                        }
                        Some(_) => self.starved = 0,
                    }
                }
            }
        }
    }
}

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
            let message = take(&message)?;
            match order.admit(&message) {
                Ok(true) => Ok(Event::Next(message)),
                Ok(false) => Ok(Event::Repeated),
                Err(hole) => Ok(Event::Stumbled(hole)),
            }
        }
        Err(error) if lost_position(&error) => Ok(Event::Stumbled(queue.failed(Some(channel), &error))),
        Err(error) => Err(queue.failed(Some(channel), &error)),
    }
}

fn take(message: &BorrowedMessage<'_>) -> Result<QueueMessage> {
    let position = Position::offset(message.offset());
    if message.headers().is_some_and(|headers| headers.iter().any(|header| header.key == STREAMING_PROPERTY))
    {
        return Err(streaming(STREAMING_PROPERTY).context(format_args!("{} at {position}", message.topic())));
    }
    Ok(QueueMessage { position, payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()) })
}
