//! One topic being read.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::Message;
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

/// How long brokers may be away before it is told.
const GRACE: Duration = Duration::from_secs(1);
/// How often the same position is looked for before a jump over it is believed.
const LOOKS: u32 = 3;

/// A topic being read. Without a feed it has stumbled: before it goes on, the topic's bounds must show that the next
/// position is still kept.
pub(super) struct KafkaSubscription {
    queue: KafkaQueue,
    channel: Channel,
    order: Order,
    feed: Option<Feed>,
    /// Feeds opened at the next position in vain.
    looks: u32,
}

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
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Result<QueueMessage> {
        loop {
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
            }
        }
    }
}

fn take(position: Position, message: &BorrowedMessage<'_>) -> Result<QueueMessage> {
    if message.headers().is_some_and(|headers| headers.iter().any(|header| header.key == STREAMING_PROPERTY)) {
        return Err(streaming(STREAMING_PROPERTY).context(format_args!("{} at {position}", message.topic())));
    }
    Ok(QueueMessage { position, payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()) })
}
