//! Kafka topics, as an operator or a broken client may treat them.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use super::{Failure, Outcome, Stand};

const WITHIN: Duration = Duration::from_secs(30);

fn config(stand: &Stand) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", stand.queue["kafka"]["brokers"].as_str().unwrap_or_default());
    config
}

/// `[first kept, next to be written)`.
pub async fn bounds(stand: &Stand, topic: &str) -> Outcome<(i64, i64)> {
    let (config, topic) = (config(stand), topic.to_owned());
    let look = move || config.create::<BaseConsumer>()?.fetch_watermarks(&topic, 0, WITHIN);
    Ok(tokio::task::spawn_blocking(look).await??)
}

/// What retention does: everything that was written so far is gone.
pub async fn expire(stand: &Stand, topic: &str) -> Outcome<(i64, i64)> {
    let admin: AdminClient<DefaultClientContext> = config(stand).create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::End)?;
    admin.delete_records(&offsets, &AdminOptions::new().operation_timeout(Some(WITHIN))).await?;
    bounds(stand, topic).await
}

/// Writes a message and returns its offset.
pub async fn produce(stand: &Stand, topic: &str, payload: &[u8]) -> Outcome<i64> {
    produce_with(stand, topic, payload, []).await
}

/// Writes a message with headers and returns its offset.
pub async fn produce_with<'a>(
    stand: &Stand,
    topic: &str,
    payload: &[u8],
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Outcome<i64> {
    let producer: FutureProducer = config(stand).create()?;
    let headers = headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    });
    let record = FutureRecord::<(), [u8]>::to(topic).payload(payload).partition(0).headers(headers);
    let delivery = producer.send(record, WITHIN).await.map_err(|(error, _)| Failure(error.to_string()))?;
    Ok(delivery.offset)
}
