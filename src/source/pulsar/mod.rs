//! A Pulsar queue: each channel is a topic of one namespace, without partitions or with one.
//!
//! Of the crate `pulsar` only the protocol is used (frames and commands). Its consumers begin anew at their first
//! position after every reconnect, hold an unbounded number of bytes, and can end without a word. Here a channel that
//! is read has a connection of its own, and a question has one as long as it takes.
//!
//! Nothing is written to the cluster: no topic is created, no subscription stays, nothing is acknowledged. Therefore
//! nothing holds retention back either: the namespace must keep messages for as long as the recorder may be away.
//!
//! A message TTL expires what is not acknowledged for every subscription, those of readers too: what is kept stays where
//! it is, but the broker moves its readers ahead of it. A reader that was moved is opened again where it stood.

mod access;
mod connection;
mod entry;
mod failure;
mod order;
mod reader;
mod subscription;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use self::access::Access;
pub use self::access::Token;
use self::connection::{Address, Connection, command};
use self::entry::EntryId;
use self::failure::{no_topic, refused};
use self::reader::{Last, Reader};
use self::subscription::PulsarSubscription;
use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::source::order::check_kept;
use crate::source::{Queue, Subscription};
use crate::tls::{PULSAR, Tls};
use async_trait::async_trait;
use pulsar::proto::base_command::Type;
use pulsar::proto::command_lookup_topic_response::LookupType;
use pulsar::proto::command_partitioned_topic_metadata_response::LookupType as Metadata;
use pulsar::proto::{CommandLookupTopic, CommandPartitionedTopicMetadata};

/// Brokers that may send on to another one.
const REDIRECTS: usize = 8;

/// Where a Pulsar is.
#[derive(Clone, Debug)]
pub struct PulsarOptions {
    /// `pulsar://host:port`, or `pulsar+ssl://host:port` with TLS; several hosts separated by commas.
    pub url: String,
    /// Milvus' `pulsar.tenant`.
    pub tenant: String,
    /// Milvus' `pulsar.namespace`.
    pub namespace: String,
    /// Where brokers ask for a token.
    pub token: Option<Token>,
    /// Certificates, where the system's are not enough. Without a token the client's own is its login.
    pub tls: Option<Tls>,
}

impl Default for PulsarOptions {
    fn default() -> PulsarOptions {
        PulsarOptions {
            url: "pulsar://127.0.0.1:6650".into(),
            tenant: "public".into(),
            namespace: "default".into(),
            token: None,
            tls: None,
        }
    }
}

/// A Pulsar queue.
#[derive(Clone, Debug)]
pub struct PulsarQueue {
    hosts: Arc<[Address]>,
    access: Arc<Access>,
    /// `tenant/namespace`
    namespace: Arc<str>,
}

impl PulsarQueue {
    /// Takes the address; whether brokers are there shows the first question.
    pub fn connect(options: &PulsarOptions) -> Result<PulsarQueue> {
        let PulsarOptions { url, tenant, namespace, token, tls } = options;
        let [_, secured] = PULSAR;
        let access = Access::new(token.clone(), url.starts_with(secured), tls.as_ref())?;
        let hosts = Address::all(url, access.scheme()).ok_or_else(|| {
            Error::usage(format!("Pulsar at {url}: no address of Pulsar brokers"))
                .advice("write pulsar://host:6650 or pulsar+ssl://host:6651; the ports may be others")
        })?;
        let namespace = format!("{tenant}/{namespace}").into();
        Ok(PulsarQueue { hosts: hosts.into(), access: Arc::new(access), namespace })
    }

    /// Connects to the first host that answers.
    async fn any_host(&self) -> Result<Connection> {
        let mut failed = Error::usage("Pulsar: no host is named");
        for host in self.hosts.iter() {
            match Connection::open(host, None, &self.access).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Connects to the broker that serves a topic. Looking it up does not create it; None where a broker already says
    /// that there is no such topic.
    async fn broker_of(&self, topic: &str) -> Result<Option<Connection>> {
        let mut connection = self.any_host().await?;
        let mut authoritative = false;
        for _ in 0..REDIRECTS {
            let lookup = CommandLookupTopic {
                topic: topic.to_owned(),
                authoritative: Some(authoritative),
                ..CommandLookupTopic::default()
            };
            let lookup = command(Type::Lookup, |command| command.lookup_topic = Some(lookup));
            let answer = connection.ask(lookup, |command| command.lookup_topic_response).await?;
            let kind = answer.response.and_then(|kind| LookupType::try_from(kind).ok());
            if kind.is_none() || kind == Some(LookupType::Failed) {
                let error = answer.error.unwrap_or_default();
                let message = answer.message.as_deref().unwrap_or_default();
                if no_topic(error, message) {
                    return Ok(None);
                }
                let error = refused(connection.address(), error, message);
                return Err(error.context(format_args!("namespace {}", self.namespace)));
            }
            let url = match self.access.is_secured() {
                true => answer.broker_service_url_tls,
                false => answer.broker_service_url,
            };
            let (url, scheme) = (url.unwrap_or_default(), self.access.scheme());
            let Some(broker) = Address::all(&url, scheme).and_then(|brokers| brokers.into_iter().next())
            else {
                return Err(Error::operator(format!(
                    "Pulsar names \"{url}\" as the broker of {topic}, which is no {scheme}"
                ))
                .advice("check that the brokers have such a listener, and advertise it"));
            };
            if broker != *connection.address() {
                let proxy = answer.proxy_through_service_url.unwrap_or_default();
                connection = match proxy {
                    true => {
                        Connection::open(&connection.address().clone(), Some(&broker), &self.access).await?
                    }
                    false => Connection::open(&broker, None, &self.access).await?,
                };
            }
            if kind == Some(LookupType::Connect) {
                return Ok(Some(connection));
            }
            authoritative = answer.authoritative.unwrap_or_default();
        }
        Err(Error::retry(format!("Pulsar: one broker after the other names another one for {topic}")))
    }

    fn topic(&self, channel: &Channel) -> String {
        format!("persistent://{}/{channel}", self.namespace)
    }

    /// Reads a channel from an entry on, or from the first that is kept. None where there is no such topic.
    async fn find(&self, channel: &Channel, from: Option<EntryId>) -> Result<Option<Reader>> {
        let plain = self.topic(channel);
        if let Some(reader) = self.find_topic(plain.clone(), from).await? {
            return Ok(Some(reader));
        }
        let Some(reader) = self.find_topic(format!("{plain}-partition-0"), from).await? else {
            return Ok(None);
        };
        match self.partitions(&plain).await? {
            ..=1 => Ok(Some(reader)),
            partitions => {
                Err(Error::operator(format!("{plain} has {partitions} partitions; Milvus' have one"))
                    .advice("check the topic's name, and that nothing but Milvus creates its topics"))
            }
        }
    }

    async fn find_topic(&self, topic: String, from: Option<EntryId>) -> Result<Option<Reader>> {
        match self.broker_of(&topic).await? {
            Some(broker) => Reader::open(broker, topic, from).await,
            None => Ok(None),
        }
    }

    async fn reader(&self, channel: &Channel, from: Option<EntryId>) -> Result<Reader> {
        self.find(channel, from).await?.ok_or_else(|| {
            Error::operator(format!("there is no Pulsar topic {}", self.topic(channel)))
                .advice("check the topic's name and that it was not deleted; nothing creates it here")
        })
    }

    /// How many partitions a topic has that is known to have one; none where it is a topic that is only called so.
    async fn partitions(&self, topic: &str) -> Result<u32> {
        let ask = CommandPartitionedTopicMetadata { topic: topic.to_owned(), ..Default::default() };
        let ask = command(Type::PartitionedMetadata, |command| command.partition_metadata = Some(ask));
        let mut connection = self.any_host().await?;
        let answer = connection.ask(ask, |command| command.partition_metadata_response).await?;
        if answer.response == Some(Metadata::Success.into()) {
            return Ok(answer.partitions.unwrap_or_default());
        }
        let (error, message) = (answer.error.unwrap_or_default(), answer.message.unwrap_or_default());
        if no_topic(error, &message) {
            return Ok(0);
        }
        Err(refused(connection.address(), error, &message).context(format_args!("partitions of {topic}")))
    }

    /// Reads on from `next`, which is still kept. Of a topic that was empty its beginning is.
    async fn resume(&self, channel: &Channel, next: Position) -> Result<Reader> {
        let next_entry = EntryId::of(next);
        if next_entry.is_beginning() {
            return self.reader(channel, None).await;
        }
        check_kept(channel, next, &self.kept(channel, next).await?)?;
        self.reader(channel, Some(next_entry)).await
    }

    /// The bounds of a channel. That they leave out a position is believed when it is seen twice: the reader that finds
    /// them may be moved ahead meanwhile, but not twice in turn, for brokers expire messages once in minutes.
    async fn kept(&self, channel: &Channel, position: Position) -> Result<Range<Position>> {
        let kept = self.bounds(channel).await?;
        if position < kept.start { self.bounds(channel).await } else { Ok(kept) }
    }

    /// Whether an entry that came is the one that follows `last`, or the first where that is the beginning: both are
    /// read once more.
    async fn follows(&self, channel: &Channel, last: EntryId, found: EntryId) -> Result<Follower> {
        let from = (!last.is_beginning()).then_some(last);
        let mut reader = self.reader(channel, from).await?;
        let mut next = reader.entry().await?.id;
        if from.is_some() {
            if next != last {
                let position = last.message(0);
                let gone = position < self.kept(channel, position).await?.start;
                return Ok(if gone { Follower::Unknown } else { Follower::Another });
            }
            next = reader.entry().await?.id;
        }
        // Nothing is acknowledged: a reader that stands elsewhere for the broker was moved ahead itself.
        let moved = from.is_some() && reader.stands().await?.is_none_or(|stands| stands > last);
        Ok(if next == found && !moved { Follower::Found } else { Follower::Another })
    }
}

/// What follows an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follower {
    /// The one that was found.
    Found,
    /// Another one: the broker has moved a reader ahead.
    Another,
    /// The entry is no longer kept: nobody can tell.
    Unknown,
}

#[async_trait]
impl Queue for PulsarQueue {
    /// No more than its place: brokers do not tell their cluster over this protocol. That a namespace is another one
    /// of the same name is found out by what it holds.
    async fn identity(&self) -> Result<String> {
        // a list of topics would be empty where there is no such namespace: who serves a topic is an error there
        let topic = self.topic(&Channel::from("tapedeck"));
        self.broker_of(&topic).await?;
        Ok(format!("pulsar:{}", self.namespace))
    }

    async fn exists(&self, channel: &Channel) -> Result<bool> {
        Ok(self.find(channel, None).await?.is_some())
    }

    async fn bounds(&self, channel: &Channel) -> Result<Range<Position>> {
        let Last { message, next } = self.reader(channel, None).await?.last().await?;
        let first = next.unwrap_or(EntryId { ledger: 0, entry: 0 });
        match message {
            Some(last) => Ok(first.message(0)..last.next()),
            None => {
                let beginning = EntryId { entry: -1, ..first }.message(0);
                Ok(beginning..beginning)
            }
        }
    }

    async fn position_at(&self, channel: &Channel, millis: u64) -> Result<Position> {
        // asked for before the time is: what is written in between lies at or after it
        let end = self.bounds(channel).await?.end;
        let mut reader = self.reader(channel, None).await?;
        reader.seek(millis).await?;
        match reader.last().await?.next {
            Some(next) if next <= EntryId::of(end) => Ok(reader.entry().await?.id.message(0).min(end)),
            _ => Ok(end), // nothing was written since
        }
    }

    async fn subscribe(&self, channel: &Channel, from: Position) -> Result<Box<dyn Subscription>> {
        let reader = self.resume(channel, from).await?;
        Ok(Box::new(PulsarSubscription::new(self.clone(), channel.clone(), from, Some(reader))))
    }
}
