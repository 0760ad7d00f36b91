//! The stand's Kafka.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tapedeck::position::{Channel, Position};
use tapedeck::source::Queue;
use tapedeck::source::kafka::{KafkaOptions, KafkaQueue};

use super::Broker;
use crate::stand::{Failure, Outcome, Stand};

const WITHIN: Duration = Duration::from_secs(30);
/// `message.max.bytes` of the stand, without what a batch has around its messages.
const LARGEST: usize = 12_582_912 - 1024;

pub struct Kafka {
    stand: Stand,
    queue: Arc<KafkaQueue>,
    brokers: String,
}

impl Kafka {
    pub fn new(stand: &Stand) -> Outcome<Kafka> {
        let brokers = stand.queue["kafka"]["brokers"].as_str().unwrap_or_default().to_owned();
        let queue =
            KafkaQueue::connect(KafkaOptions { brokers: brokers.clone(), ..KafkaOptions::default() })?;
        Ok(Kafka { stand: stand.clone(), queue: Arc::new(queue), brokers })
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("message.max.bytes", "12582912");
        config
    }

    fn admin(&self) -> Outcome<AdminClient<DefaultClientContext>> {
        Ok(self.config().create()?)
    }
}

#[async_trait(?Send)]
impl Broker for Kafka {
    fn queue(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    fn largest(&self) -> usize {
        LARGEST
    }

    async fn write(&self, topic: &Channel, messages: Vec<Vec<u8>>) -> Outcome<Vec<Position>> {
        let producer: FutureProducer = self.config().create()?;
        let mut positions = Vec::new();
        for message in messages {
            let record = FutureRecord::<(), [u8]>::to(topic.as_str()).payload(&message).partition(0);
            let delivery = producer.send(record, WITHIN).await;
            let delivery = delivery.map_err(|(error, _)| Failure(error.to_string()))?;
            positions.push(Position::offset(delivery.offset));
        }
        Ok(positions)
    }

    async fn write_with(
        &self,
        topic: &Channel,
        message: Vec<u8>,
        properties: HashMap<String, String>,
    ) -> Outcome<Position> {
        let producer: FutureProducer = self.config().create()?;
        let headers = properties.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        });
        let record = FutureRecord::<(), [u8]>::to(topic.as_str()).payload(&message).partition(0);
        let delivery = producer.send(record.headers(headers), WITHIN).await;
        Ok(Position::offset(delivery.map_err(|(error, _)| Failure(error.to_string()))?.offset))
    }

    async fn expire(&self, topic: &Channel) -> Outcome {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic.as_str(), 0, Offset::End)?;
        let options = AdminOptions::new().operation_timeout(Some(WITHIN));
        self.admin()?.delete_records(&offsets, &options).await?;
        Ok(())
    }

    async fn remove(&self, topic: &Channel) -> Outcome {
        let options = AdminOptions::new().operation_timeout(Some(WITHIN));
        self.admin()?.delete_topics(&[topic.as_str()], &options).await?;
        Ok(())
    }

    async fn disturb(&self, _: &Channel) -> Outcome {
        self.stand.crash("kafka").await
    }

    async fn away(&self) -> Outcome {
        self.stand.control("kill", "kafka").await
    }

    async fn back(&self) -> Outcome {
        self.stand.control("start", "kafka").await
    }
}
