//! Who acts on an error of librdkafka.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::error::Error;
use crate::position::Channel;

pub(super) const NO_TOPIC: &str =
    "check the topic's name and that it was not deleted; nothing creates it here";

/// An error as the loops understand it. Whatever is not known to pass waits for a person.
pub(super) fn failed(brokers: &str, channel: Option<&Channel>, error: &KafkaError) -> Error {
    let what = match channel {
        Some(channel) => format!("Kafka at {brokers}, topic {channel}: {}", reason(error)),
        None => format!("Kafka at {brokers}: {}", reason(error)),
    };
    match error.rdkafka_error_code() {
        // A broker that has just started may know no topic yet: how long it says so tells.
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            Error::retry(what).advice(NO_TOPIC)
        }
        Some(Code::InvalidTopic) => Error::operator(what).advice(NO_TOPIC),
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState,
        ) => Error::operator(what)
            .advice("check user and password, and allow Describe and Read on Milvus' topics"),
        Some(code) if passes(code) => {
            Error::retry(what).advice("check that the brokers run and can be reached from here")
        }
        _ => Error::operator(what).advice("check the address and the version of the brokers"),
    }
}

/// Whether it tells why there is no connection to a broker.
pub(super) fn of_connection(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::Resolve
                | Code::SSL
                | Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::UnsupportedSASLMechanism
        )
    )
}

/// Whether a question had no answer for want of a connection, perhaps.
pub(super) fn unanswered(error: &KafkaError) -> bool {
    of_connection(error)
        || matches!(error.rdkafka_error_code(), Some(Code::AllBrokersDown | Code::OperationTimedOut))
}

/// Why there is no connection: `said` is librdkafka's sentence. A login that is refused does not pass by itself; a
/// certificate may, when the brokers get another one.
pub(super) fn no_connection(brokers: &str, error: &KafkaError, said: &str) -> Error {
    let what = format!("Kafka at {brokers}: {said}");
    match error.rdkafka_error_code() {
        Some(Code::BrokerTransportFailure | Code::Resolve) => Error::retry(what)
            .advice("check that this is a Kafka, that its brokers run and can be reached from here, and whether they want TLS, a certificate or a login"),
        Some(Code::SSL) => Error::retry(what)
            .advice("check that the listener speaks TLS, and source.queue.kafka.tls: ca, certificate and key"),
        _ => Error::operator(what).advice("check username, password and mechanism of source.queue.kafka"),
    }
}

/// Whether a position may be gone: the topic's bounds tell.
pub(super) fn lost_position(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::AutoOffsetReset
                | Code::OffsetOutOfRange
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::LogTruncation
        )
    )
}

fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::BrokerNotAvailable
            | Code::BrokerDestroy
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NetworkException
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::NotController
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::KafkaStorageError
            | Code::BadMessage
            | Code::InvalidMessage
            | Code::WaitingForCoordinator
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::Retry
            | Code::State
            | Code::InProgress
            | Code::PreviousInProgress
            | Code::Outdated
            | Code::AutoOffsetReset
            | Code::OffsetOutOfRange
            | Code::LogTruncation
    )
}

fn reason(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
