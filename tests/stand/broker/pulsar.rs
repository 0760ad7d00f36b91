//! The stand's Pulsar, written to by a client that is not tapedeck's.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use pulsar::compression::{Compression, CompressionZstd};
use pulsar::{ProducerOptions, TokioExecutor};
use reqwest::Method;
use serde_json::Value;
use tapedeck::position::{Channel, Position};
use tapedeck::source::Queue;
use tapedeck::source::pulsar::{PulsarOptions, PulsarQueue};

use super::Broker;
use crate::stand::{Outcome, Stand, ensure, eventually, fail};

/// `maxMessageSize` of the stand.
const LARGEST: usize = 5_242_880;
/// Messages in a batch; others stay over for the last one.
const BATCH: u32 = 7;

pub struct Pulsar {
    stand: Stand,
    queue: Arc<PulsarQueue>,
    url: String,
    web: String,
}

impl Pulsar {
    pub fn new(stand: &Stand) -> Outcome<Pulsar> {
        let url = stand.queue["pulsar"]["url"].as_str().unwrap_or_default().to_owned();
        let queue = PulsarQueue::connect(&PulsarOptions { url: url.clone(), ..PulsarOptions::default() })?;
        let Some(pulsar) = &stand.pulsar else { return fail("the stand has no Pulsar") };
        Ok(Pulsar { stand: stand.clone(), queue: Arc::new(queue), url, web: pulsar.web.clone() })
    }

    /// Asks Pulsar's own operator interface about a topic.
    pub async fn admin(&self, method: Method, topic: &Channel, what: &str) -> Outcome<String> {
        let url = format!("{}/admin/v2/persistent/public/default/{topic}{what}", self.web);
        let answer = reqwest::Client::new().request(method, &url).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure(status.is_success(), || format!("{url}: {status} {text}"))?;
        Ok(text)
    }

    /// A topic with so many partitions.
    pub async fn partitioned(&self, topic: &Channel, partitions: &'static str) -> Outcome {
        let url = format!("{}/admin/v2/persistent/public/default/{topic}/partitions", self.web);
        let json = ("content-type", "application/json");
        let answer = reqwest::Client::new().put(&url).header(json.0, json.1).body(partitions).send().await?;
        ensure(answer.status().is_success(), || format!("{url}: {}", answer.status()))
    }

    /// Removes all ledgers but the last one.
    pub async fn truncate(&self, topic: &Channel) -> Outcome {
        eventually("old ledgers gone", async || {
            self.admin(Method::DELETE, topic, "/truncate").await?;
            let left = self.entries(topic).await?;
            Ok((left > 0).then(|| format!("{left} entries")))
        })
        .await
    }

    /// In all ledgers but the last one.
    async fn entries(&self, topic: &Channel) -> Outcome<u64> {
        let stats: Value = serde_json::from_str(&self.admin(Method::GET, topic, "/internalStats").await?)?;
        let ledgers = stats["ledgers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let closed =
            ledgers.iter().rev().skip(1).filter_map(|ledger| ledger["entries"].as_u64()).sum::<u64>();
        Ok(closed)
    }
}

#[async_trait(?Send)]
impl Broker for Pulsar {
    fn queue(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    fn largest(&self) -> usize {
        LARGEST
    }

    async fn write(&self, topic: &Channel, messages: Vec<Vec<u8>>) -> Outcome<Vec<Position>> {
        let alone = messages.len() == 1;
        let options = ProducerOptions {
            batch_size: (!alone).then_some(BATCH),
            compression: (!alone).then(|| Compression::Zstd(CompressionZstd::default())),
            ..ProducerOptions::default()
        };
        let client = pulsar::Pulsar::builder(&self.url, TokioExecutor).build().await?;
        let mut producer = client.producer().with_topic(topic.as_str()).with_options(options).build().await?;
        let mut receipts = Vec::new();
        for message in messages {
            receipts.push(producer.send_non_blocking(message).await?);
        }
        if !alone {
            producer.send_batch().await?;
        }
        let mut positions = Vec::<Position>::new();
        for receipt in receipts {
            let Some(id) = receipt.await?.message_id else { return fail("a receipt without an id") };
            let first = Position::entry(id.ledger_id, id.entry_id as i64, 0);
            let last =
                positions.last().filter(|last| (last.ledger, last.offset) == (first.ledger, first.offset));
            positions.push(last.map_or(first, |last| last.next()));
        }
        producer.close().await?;
        Ok(positions)
    }

    async fn write_with(
        &self,
        topic: &Channel,
        message: Vec<u8>,
        properties: HashMap<String, String>,
    ) -> Outcome<Position> {
        let client = pulsar::Pulsar::builder(&self.url, TokioExecutor).build().await?;
        let mut producer = client.producer().with_topic(topic.as_str()).build().await?;
        let message = pulsar::producer::Message { payload: message, properties, ..Default::default() };
        let Some(id) = producer.send_non_blocking(message).await?.await?.message_id else {
            return fail("a receipt without an id");
        };
        producer.close().await?;
        Ok(Position::entry(id.ledger_id, id.entry_id as i64, 0))
    }

    /// Only ledgers that are closed can go.
    async fn expire(&self, topic: &Channel) -> Outcome {
        self.disturb(topic).await?;
        self.truncate(topic).await
    }

    async fn remove(&self, topic: &Channel) -> Outcome {
        self.admin(Method::DELETE, topic, "?force=true").await.map(drop)
    }

    async fn disturb(&self, topic: &Channel) -> Outcome {
        self.admin(Method::PUT, topic, "/unload").await.map(drop)
    }

    async fn away(&self) -> Outcome {
        self.stand.control("kill", "pulsar").await
    }

    async fn back(&self) -> Outcome {
        self.stand.control("start", "pulsar").await
    }
}
