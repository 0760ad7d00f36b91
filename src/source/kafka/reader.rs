//! Consumers that many channels share, with bounded prefetch.
//!
//! Each channel has a queue of its own, so one that is not read holds up no other. librdkafka bounds what it prefetches
//! by channel, not in total: therefore every reader takes a fixed number of channels, and each further reader takes
//! twice as many with a quarter of the prefetch each. The bounds of 240 channels add up to less than 48 MiB. A single
//! message above the bound passes all the same.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::task::AbortHandle;

use super::failure::of_connection;
use super::{KafkaOptions, Login, PARTITION};
use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::tls::Tls;

/// Channels of the first reader.
const CHANNELS: usize = 16;
/// Prefetch of each channel of the first reader, besides one fetch.
const QUEUED_KB: usize = 1024;
/// One fetch of a channel of the first reader.
const FETCH_KB: usize = 512;
/// Messages queued by channel: small ones cost more than their bytes.
const QUEUED_MESSAGES: usize = 1000;
/// Below this nothing shrinks any more.
const LEAST_KB: usize = 16;

/// A consumer that several channels share.
pub(super) struct Reader {
    consumer: Arc<StreamConsumer<Context>>,
    capacity: usize,
    channels: Mutex<BTreeSet<Channel>>,
    /// Serves what belongs to no channel.
    events: AbortHandle,
}

/// A channel being read. Dropped, its place is free again.
pub(super) struct Feed {
    queue: StreamPartitionQueue<Context>,
    reader: Arc<Reader>,
    channel: Channel,
}

impl Reader {
    /// Starts the `number`-th reader.
    pub fn start(options: &KafkaOptions, number: usize) -> Result<Arc<Reader>> {
        let halvings = u32::try_from(number).unwrap_or(u32::MAX).min(8);
        let share = |kb: usize| (kb >> (2 * halvings)).max(LEAST_KB);
        let mut config = config(options);
        for (key, value) in [
            ("group.id", "tapedeck"), // only a name: no group is joined and nothing is committed
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("check.crcs", "true"),
            ("enable.partition.eof", "false"),
            ("isolation.level", "read_uncommitted"),
            ("fetch.wait.max.ms", "20"),
            ("fetch.error.backoff.ms", "100"),
            ("fetch.queue.backoff.ms", "2"),
            ("fetch.max.bytes", "8388608"),
        ] {
            config.set(key, value);
        }
        config.set("queued.min.messages", QUEUED_MESSAGES.to_string());
        config.set("queued.max.messages.kbytes", share(QUEUED_KB).to_string());
        config.set("max.partition.fetch.bytes", share(FETCH_KB).saturating_mul(1024).to_string());
        let consumer = StreamConsumer::<Context>::from_config_and_context(&config, Context::default());
        let consumer = Arc::new(consumer.map_err(|error| unusable(options, &error))?);
        let events = tokio::spawn({
            let consumer = consumer.clone();
            async move {
                // errors were told to the context; messages go to the channels' own queues
                loop {
                    let _ = consumer.recv().await;
                }
            }
        });
        Ok(Arc::new(Reader {
            consumer,
            capacity: CHANNELS << halvings,
            channels: Mutex::default(),
            events: events.abort_handle(),
        }))
    }

    /// Reads a channel; nothing when there is no room, or it is being read here already.
    pub fn feed(self: &Arc<Reader>, channel: &Channel, from: Position) -> Result<Option<Feed>, KafkaError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if channels.len() >= self.capacity || channels.contains(channel) {
            return Ok(None);
        }
        // split before it is assigned: no message can go to the common queue
        let queue = self.consumer.split_partition_queue(channel.as_str(), PARTITION);
        let queue = queue.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition))?;
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(channel.as_str(), PARTITION, Offset::Offset(from.offset))?;
        self.consumer.incremental_assign(&assignment)?;
        channels.insert(channel.clone());
        Ok(Some(Feed { queue, reader: self.clone(), channel: channel.clone() }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.events.abort();
    }
}

impl Feed {
    /// The next message or error of the channel, in whatever order the broker delivers. Safe to cancel.
    pub async fn receive(&self) -> Result<BorrowedMessage<'_>, KafkaError> {
        self.queue.recv().await
    }

    /// Why its reader's connection broke when it last did.
    pub fn no_connection(&self) -> Option<(KafkaError, String)> {
        self.reader.consumer.context().no_connection()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut channels = self.reader.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition(self.channel.as_str(), PARTITION);
        if let Err(error) = self.reader.consumer.incremental_unassign(&assignment) {
            tracing::warn!(channel = %self.channel, %error, "Kafka keeps on reading a topic that is no longer wanted");
        }
        channels.remove(&self.channel);
    }
}

/// A client that only asks: a broker answers the questions of one connection in turn, and readers keep theirs busy.
pub(super) fn asker(options: &KafkaOptions) -> Result<BaseConsumer<Context>> {
    BaseConsumer::from_config_and_context(&config(options), Context::default())
        .map_err(|error| unusable(options, &error))
}

/// What all clients have in common.
fn config(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    for (key, value) in [
        ("bootstrap.servers", options.brokers.as_str()),
        ("client.id", "tapedeck"),
        ("allow.auto.create.topics", "false"),
        ("socket.keepalive.enable", "true"),
        ("socket.timeout.ms", "10000"), // a connection that answers nothing is given up
        ("reconnect.backoff.max.ms", "2000"),
    ] {
        config.set(key, value);
    }
    let protocol = match (&options.login, &options.tls) {
        (None, None) => "plaintext",
        (None, Some(_)) => "ssl",
        (Some(_), None) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(Login { mechanism, user, password }) = &options.login {
        config.set("sasl.mechanism", mechanism.as_str());
        config.set("sasl.username", user).set("sasl.password", password);
    }
    if let Some(Tls { ca, identity, .. }) = &options.tls {
        if let Some(ca) = ca {
            config.set("ssl.ca.pem", ca);
        }
        if let Some((certificate, key)) = identity {
            config.set("ssl.certificate.pem", certificate).set("ssl.key.pem", key);
        }
    }
    config
}

fn unusable(options: &KafkaOptions, error: &KafkaError) -> Error {
    let why = match error {
        KafkaError::ClientConfig(_, why, key, _secret) => format!("{key}: {why}"),
        _ => error.to_string(),
    };
    let message = format!("Kafka at {}: {why}", options.brokers);
    if why.contains("ssl.") {
        return Error::operator(message)
            .advice("check source.queue.kafka.tls: ca, and that certificate and key belong together");
    }
    Error::usage(message)
}

/// Takes librdkafka's logs and errors. Which errors are told, and when, is not said anywhere: that brokers are away is
/// found out by asking them. But only here is told why no connection comes about, and the same reason not twice in 30 s:
/// questions just time out.
#[derive(Default)]
pub(super) struct Context {
    no_connection: Mutex<Option<(KafkaError, String)>>,
}

impl Context {
    /// Why there was no connection when one was last tried.
    pub fn no_connection(&self) -> Option<(KafkaError, String)> {
        self.no_connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fails(&self, error: KafkaError, said: &str) {
        let mut last = self.no_connection.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((error, said.to_owned()));
    }

    /// A broker has answered.
    pub fn connected(&self) {
        *self.no_connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel::{Debug, Info, Notice, Warning};
        if facility == "FAIL" && matches!(level, Info | Notice | Warning) {
            // a connection that brokers have closed is told here and nowhere else
            let closed = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
            self.fails(closed, message.split_once("]: ").map_or(message, |(_thread, said)| said));
        }
        match level {
            Debug => tracing::trace!(target: "tapedeck::kafka", facility, "{message}"),
            Info | Notice => tracing::debug!(target: "tapedeck::kafka", facility, "{message}"),
            _ => tracing::warn!(target: "tapedeck::kafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "tapedeck::kafka", %error, "{reason}");
        if of_connection(&error) {
            self.fails(error, reason);
        }
    }
}

impl ConsumerContext for Context {}
