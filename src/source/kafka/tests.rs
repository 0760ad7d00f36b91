use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::RDKafkaRespErr;

use super::failure::lost_position;
use super::*;
use crate::error::Verdict;

#[test]
fn who_acts_on_an_error_of_kafka() {
    let verdict =
        |code| failed("k:9092", Some(&"dml_0".into()), &KafkaError::MessageConsumption(code)).verdict;
    for passes in [
        Code::AllBrokersDown,
        Code::BrokerTransportFailure,
        Code::OperationTimedOut,
        Code::NotLeaderForPartition,
        Code::BadMessage,
        Code::UnknownTopicOrPartition,
    ] {
        assert_eq!(verdict(passes), Verdict::Retry, "{passes:?}");
    }
    for person in
        [Code::InvalidTopic, Code::TopicAuthorizationFailed, Code::Authentication, Code::UnsupportedVersion]
    {
        assert_eq!(verdict(person), Verdict::Operator, "{person:?}");
    }
    let named = failed("k:9092", Some(&"dml_0".into()), &KafkaError::MetadataFetch(Code::UnknownTopic));
    assert!(named.message.contains("k:9092") && named.message.contains("dml_0"), "{named}");
}

#[test]
fn an_offset_that_is_gone_is_looked_into() {
    assert!(lost_position(&KafkaError::MessageConsumption(Code::AutoOffsetReset)));
    assert!(lost_position(&KafkaError::MessageConsumption(Code::OffsetOutOfRange)));
    assert!(!lost_position(&KafkaError::MessageConsumption(Code::BrokerTransportFailure)));
}

#[test]
fn a_password_is_not_shown() {
    let options = KafkaOptions {
        brokers: "k:9092".into(),
        login: Some(Login {
            mechanism: Mechanism::ScramSha256,
            user: "reader".into(),
            password: "hunter2".into(),
        }),
        tls: None,
    };
    let shown = format!("{options:?}");
    assert!(shown.contains("reader") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn settings_that_librdkafka_refuses_are_an_error_of_use() {
    let made = KafkaQueue::connect(KafkaOptions { brokers: "\0".into(), ..KafkaOptions::default() });
    assert!(made.is_err_and(|error| error.verdict == Verdict::Usage));
}

/// Brokers with one topic of so many partitions.
fn brokers(partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, KafkaQueue) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("dml_0", partitions, 1).unwrap();
    let options = KafkaOptions { brokers: cluster.bootstrap_servers(), ..KafkaOptions::default() };
    (cluster, KafkaQueue::connect(options).unwrap())
}

#[tokio::test]
async fn a_topic_that_a_broker_does_not_know_yet_is_asked_for_again_and_a_deleted_one_waits_for_a_person() {
    let (cluster, queue) = brokers(1);
    let topic = Channel::from("dml_0");
    queue.bounds(&topic).await.unwrap();
    cluster.topic_error("dml_0", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let error = queue.bounds(&topic).await.unwrap_err();
    assert!(error.is_retry() && error.advice.is_some(), "{error}");
    tokio::time::pause();
    tokio::time::advance(LEARNS - Duration::from_secs(1)).await;
    assert!(queue.bounds(&topic).await.unwrap_err().is_retry());
    tokio::time::advance(Duration::from_secs(1)).await;
    let error = queue.bounds(&topic).await.unwrap_err();
    assert!(error.verdict == Verdict::Operator && error.advice.is_some(), "{error}");
    cluster.topic_error("dml_0", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    queue.bounds(&topic).await.unwrap();
    cluster.topic_error("dml_0", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    assert!(queue.bounds(&topic).await.unwrap_err().is_retry(), "known in between");
}

#[tokio::test]
async fn further_partitions_are_accepted_as_long_as_nothing_is_in_them() {
    let (cluster, queue) = brokers(3);
    let topic = Channel::from("dml_0");
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    let send = |partition| {
        let record = BaseRecord::<(), str>::to("dml_0").partition(partition).payload("a");
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(CALL).unwrap();
    };
    send(0);
    let mut subscription = queue.subscribe(&topic, Position::offset(0)).await.unwrap();
    assert_eq!(subscription.next().await.unwrap().payload, "a");
    send(2);
    let error = queue.subscribe(&topic, Position::offset(0)).await.err().unwrap();
    assert!(
        error.verdict == Verdict::Operator && error.message.contains("messages in partition 2"),
        "{error}"
    );
}
