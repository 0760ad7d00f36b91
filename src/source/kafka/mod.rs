//! A Kafka queue, over librdkafka: each channel is partition 0 of a topic. Milvus writes to no other, however many the
//! broker gives to the topics that it creates.
//!
//! Offsets are the caller's: no group is joined, nothing is committed, and an offset that is not there is an error,
//! never a reset. A subscription that stumbles asks for the topic's bounds before it goes on, and goes on after the same
//! message as before, so that a hole is named and never jumped over.

mod failure;
mod reader;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use self::failure::{failed, no_connection, unanswered};
use self::reader::{Context, Feed, Reader, asker};
use self::subscription::KafkaSubscription;
use crate::error::{Error, Result, Verdict};
use crate::position::{Channel, Position};
use crate::source::order::Order;
use crate::source::{Queue, Subscription};
use crate::tls::Tls;

/// The one partition of a topic that is written to.
const PARTITION: i32 = 0;
/// How long a broker may not know a topic before that is believed: one that has just started learns of them by and by.
const LEARNS: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(5);
/// How long events are taken before a question. librdkafka's logs are among them, and each ends a poll without time.
const EVENTS: Duration = Duration::from_millis(1);
/// How long events are taken that may say why there is no answer.
const REASONS: Duration = Duration::from_millis(100);

/// Where a Kafka is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaOptions {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// Where the brokers ask for a login (SASL).
    pub login: Option<Login>,
    /// Where they speak TLS.
    pub tls: Option<Tls>,
}

/// A SASL login.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// How.
    pub mechanism: Mechanism,
    /// Who.
    pub user: String,
    /// Shown by nothing.
    pub password: String,
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN: only TLS hides the password on the wire.
    #[default]
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

impl Mechanism {
    fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("user", &self.login.as_ref().map(|login| (login.mechanism, &login.user)))
            .field("tls", &self.tls)
            .finish()
    }
}

/// A Kafka queue. Clones share their connections.
#[derive(Clone)]
pub struct KafkaQueue {
    options: Arc<KafkaOptions>,
    asker: Arc<BaseConsumer<Context>>,
    readers: Arc<Mutex<Vec<Arc<Reader>>>>,
    /// Topics that the brokers do not know, and since when.
    unknown: Arc<Mutex<BTreeMap<Channel, Instant>>>,
}

impl KafkaQueue {
    /// Makes a client; whether brokers are there shows the first question. Must be called within a Tokio runtime.
    pub fn connect(options: KafkaOptions) -> Result<KafkaQueue> {
        let asker = Arc::new(asker(&options)?);
        let (readers, unknown) = Default::default();
        Ok(KafkaQueue { asker, options: Arc::new(options), readers, unknown })
    }

    /// Reads a topic from an offset on, with the first reader that has room.
    fn feed(&self, channel: &Channel, from: Position) -> Result<Feed> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        for reader in readers.iter() {
            if let Some(feed) =
                reader.feed(channel, from).map_err(|error| self.failed(Some(channel), &error))?
            {
                return Ok(feed);
            }
        }
        let reader = Reader::start(&self.options, readers.len())?;
        readers.push(reader.clone());
        let feed = reader.feed(channel, from).map_err(|error| self.failed(Some(channel), &error))?;
        feed.ok_or_else(|| Error::operator(format!("Kafka: no room to read topic {channel}")))
    }

    /// Asks the brokers; librdkafka's questions block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Context>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, KafkaError> {
        let asker = self.asker.clone();
        let asked = spawn_blocking(move || {
            let serve = |time| while asker.poll(time).is_some() {};
            serve(EVENTS); // they would gather otherwise
            let answer = question(&asker);
            match answer {
                Ok(_) => asker.context().connected(),
                Err(_) => serve(REASONS),
            }
            answer
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
        partitions.await.map_err(|error| self.failed(Some(channel), &error))
    }

    /// Refuses a topic that does not exist; how many partitions it has.
    async fn check_topic(&self, channel: &Channel) -> Result<usize> {
        let partitions = self.partitions(channel).await?;
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        match partitions {
            Some(partitions) => {
                unknown.remove(channel);
                Ok(partitions)
            }
            None => {
                let since = *unknown.entry(channel.clone()).or_insert_with(Instant::now);
                let error = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
                let error = self.failed(Some(channel), &error);
                Err(if since.elapsed() < LEARNS {
                    error
                } else {
                    Error { verdict: Verdict::Operator, ..error }
                })
            }
        }
    }

    /// Refuses a topic with messages that nobody would read.
    async fn check_partitions(&self, channel: &Channel) -> Result<()> {
        let partitions = i32::try_from(self.check_topic(channel).await?).unwrap_or(i32::MAX);
        for other in PARTITION + 1..partitions {
            if self.offsets(channel, other).await?.end > Position::offset(0) {
                let message = format!(
                    "Kafka topic {channel} has messages in partition {other}; Milvus writes to 0 alone"
                );
                return Err(Error::operator(message)
                    .advice("check the topic's name, and that nothing but Milvus writes to its topics"));
            }
        }
        Ok(())
    }

    async fn offsets(&self, channel: &Channel, partition: i32) -> Result<Range<Position>> {
        let topic = channel.clone();
        let offsets =
            self.ask(move |consumer| consumer.fetch_watermarks(topic.as_str(), partition, CALL)).await;
        let (low, high) = offsets.map_err(|error| self.failed(Some(channel), &error))?;
        Ok(Position::offset(low)..Position::offset(high))
    }

    fn failed(&self, channel: Option<&Channel>, error: &KafkaError) -> Error {
        let reason = self.asker.context().no_connection().filter(|_| unanswered(error));
        match reason {
            Some((error, said)) => no_connection(&self.options.brokers, &error, &said),
            None => failed(&self.options.brokers, channel, error),
        }
    }
}

#[async_trait]
impl Queue for KafkaQueue {
    async fn identity(&self) -> Result<String> {
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let id = self.ask(|consumer| consumer.client().fetch_cluster_id(CALL).ok_or(timed_out)).await;
        id.map(|id| format!("kafka:{id}")).map_err(|error| self.failed(None, &error))
    }

    async fn exists(&self, channel: &Channel) -> Result<bool> {
        Ok(self.partitions(channel).await?.is_some())
    }

    async fn bounds(&self, channel: &Channel) -> Result<Range<Position>> {
        self.check_topic(channel).await?;
        self.offsets(channel, PARTITION).await
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
        match found.await.map_err(|error| self.failed(Some(channel), &error))? {
            Some(Offset::Offset(offset)) => Ok(Position::offset(offset)),
            _ => Ok(end), // nothing was written since
        }
    }

    async fn subscribe(&self, channel: &Channel, from: Position) -> Result<Box<dyn Subscription>> {
        self.check_partitions(channel).await?;
        let order = Order::start(channel, from, &self.offsets(channel, PARTITION).await?)?;
        let feed = self.feed(channel, from)?;
        Ok(Box::new(KafkaSubscription::new(self.clone(), channel.clone(), order, feed)))
    }
}

impl fmt::Debug for KafkaQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaQueue").field("options", &self.options).finish_non_exhaustive()
    }
}
