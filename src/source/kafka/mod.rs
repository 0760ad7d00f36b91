//! A Kafka queue, over librdkafka: each channel is a topic with partition 0 alone.
//!
//! Offsets are the caller's: no group is joined, nothing is committed, and an offset that is not there is an error,
//! never a reset. A subscription that stumbles asks for the topic's bounds before it goes on, so that a hole is named
//! and never jumped over.

mod failure;
mod reader;
mod subscription;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;

use self::failure::failed;
use self::reader::{Context, Feed, Reader, asker};
use self::subscription::KafkaSubscription;
use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::source::order::Order;
use crate::source::{Queue, Subscription};

/// The one partition of every topic.
const PARTITION: i32 = 0;
const CALL: Duration = Duration::from_secs(5);

/// Where a Kafka is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaOptions {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// User name and password, where the brokers ask for them (SASL PLAIN without TLS).
    pub user: Option<(String, String)>,
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|(user, _)| user);
        f.debug_struct("KafkaOptions").field("brokers", &self.brokers).field("user", &user).finish()
    }
}

/// A Kafka queue. Clones share their connections.
#[derive(Clone)]
pub struct KafkaQueue {
    options: Arc<KafkaOptions>,
    asker: Arc<BaseConsumer<Context>>,
    readers: Arc<Mutex<Vec<Arc<Reader>>>>,
}

impl KafkaQueue {
    /// Makes a client; whether brokers are there shows the first question. Must be called within a Tokio runtime.
    pub fn connect(options: KafkaOptions) -> Result<KafkaQueue> {
        let asker = Arc::new(asker(&options)?);
        Ok(KafkaQueue { asker, options: Arc::new(options), readers: Arc::default() })
    }

    /// Reads a topic from an offset on, with the first reader that has room.
    fn feed(&self, channel: &Channel, from: Position) -> Result<Feed> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        for reader in readers.iter() {
            if let Some(feed) = reader.feed(channel, from).map_err(|error| self.failed(channel, &error))? {
                return Ok(feed);
            }
        }
        let reader = Reader::start(&self.options, readers.len())?;
        readers.push(reader.clone());
        let feed = reader.feed(channel, from).map_err(|error| self.failed(channel, &error))?;
        feed.ok_or_else(|| Error::operator(format!("Kafka: no room to read topic {channel}")))
    }

    /// Asks the brokers; librdkafka's questions block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Context>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let asker = self.asker.clone();
        let asked = spawn_blocking(move || {
            while asker.poll(Duration::ZERO).is_some() {} // its errors would gather otherwise
            question(&asker)
        });
        asked.await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// How many partitions a topic has; none where there is no such topic.
    async fn partitions(&self, channel: &Channel) -> Result<Option<usize>> {
        let topic = channel.clone();
        let partitions = self.ask(move |consumer| {
            let metadata = consumer.fetch_metadata(Some(topic.as_str()), CALL)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic.as_str());
            match found.map(|found| (found.error().map(RDKafkaErrorCode::from), found.partitions().len())) {
                Some((Some(RDKafkaErrorCode::UnknownTopicOrPartition), _)) | None => Ok(None),
                Some((Some(error), _)) => Err(KafkaError::MetadataFetch(error)),
                Some((None, partitions)) => Ok(Some(partitions)),
            }
        });
        partitions.await.map_err(|error| self.failed(channel, &error))
    }

    /// Refuses a topic that does not exist, or is none of Milvus'.
    async fn check_topic(&self, channel: &Channel) -> Result<()> {
        match self.partitions(channel).await? {
            Some(1) => Ok(()),
            None => {
                Err(self
                    .failed(channel, &KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)))
            }
            Some(partitions) => {
                let message = format!("Kafka topic {channel} has {partitions} partitions; Milvus' have one");
                Err(Error::operator(message)
                    .advice("check the topic's name, and that nothing but Milvus creates its topics"))
            }
        }
    }

    fn failed(&self, channel: &Channel, error: &KafkaError) -> Error {
        failed(&self.options.brokers, Some(channel), error)
    }
}

#[async_trait]
impl Queue for KafkaQueue {
    async fn identity(&self) -> Result<String> {
        let id = self.ask(|consumer| Ok(consumer.client().fetch_cluster_id(CALL))).await;
        let id = id.map_err(|error| failed(&self.options.brokers, None, &error))?;
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let id = id.ok_or_else(|| failed(&self.options.brokers, None, &timed_out))?;
        Ok(format!("kafka:{id}"))
    }

    async fn exists(&self, channel: &Channel) -> Result<bool> {
        Ok(self.partitions(channel).await?.is_some())
    }

    async fn bounds(&self, channel: &Channel) -> Result<Range<Position>> {
        self.check_topic(channel).await?;
        let topic = channel.clone();
        let bounds =
            self.ask(move |consumer| consumer.fetch_watermarks(topic.as_str(), PARTITION, CALL)).await;
        let (low, high) = bounds.map_err(|error| self.failed(channel, &error))?;
        Ok(Position::offset(low)..Position::offset(high))
    }

    async fn position_at(&self, channel: &Channel, millis: u64) -> Result<Position> {
        // asked for before the time is: what is written in between lies at or after it
        let end = self.bounds(channel).await?.end;
        let topic = channel.clone();
        let found = self.ask(move |consumer| {
            let mut asked = TopicPartitionList::new();
            let time = Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX));
            asked.add_partition_offset(topic.as_str(), PARTITION, time)?;
            let answer = consumer.offsets_for_times(asked, CALL)?;
            let found = answer.find_partition(topic.as_str(), PARTITION);
            if let Some(found) = &found {
                found.error()?;
            }
            Ok(found.map(|found| found.offset()))
        });
        match found.await.map_err(|error| self.failed(channel, &error))? {
            Some(Offset::Offset(offset)) => Ok(Position::offset(offset)),
            _ => Ok(end), // nothing was written since
        }
    }

    async fn subscribe(&self, channel: &Channel, from: Position) -> Result<Box<dyn Subscription>> {
        let order = Order::start(channel, from, &self.bounds(channel).await?)?;
        let feed = self.feed(channel, from)?;
        Ok(Box::new(KafkaSubscription::new(self.clone(), channel.clone(), order, feed)))
    }
}

impl fmt::Debug for KafkaQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaQueue").field("options", &self.options).finish_non_exhaustive()
    }
}
