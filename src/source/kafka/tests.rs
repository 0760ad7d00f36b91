use rdkafka::error::RDKafkaErrorCode as Code;

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
    ] {
        assert_eq!(verdict(passes), Verdict::Retry, "{passes:?}");
    }
    for person in [
        Code::UnknownTopicOrPartition,
        Code::TopicAuthorizationFailed,
        Code::Authentication,
        Code::UnsupportedVersion,
    ] {
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
