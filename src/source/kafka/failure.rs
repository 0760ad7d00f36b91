//! Who acts on an error of librdkafka.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::error::Error;
use crate::position::Channel;

/// An error as the loops understand it. Whatever is not known to pass waits for a person.
pub(super) fn failed(brokers: &str, channel: Option<&Channel>, error: &KafkaError) -> Error {
    let what = match channel {
        Some(channel) => format!("Kafka at {brokers}, topic {channel}: {}", reason(error)),
        None => format!("Kafka at {brokers}: {}", reason(error)),
    };
    match error.rdkafka_error_code() {
        Some(
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::InvalidTopic,
        ) => Error::operator(what)
            .advice("check the topic's name and that it was not deleted; nothing creates it here"),
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

/// Whether the brokers, or a certificate, keep the client out.
pub(super) fn refused(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::SSL
                | Code::UnsupportedSASLMechanism
        )
    )
}

/// The refusal as a person understands it: `said` is librdkafka's sentence.
pub(super) fn refusal(brokers: &str, error: &KafkaError, said: &str) -> Error {
    let advice = match error.rdkafka_error_code() {
        Some(Code::SSL) => "check that the listener speaks TLS, tls.ca, and the names in its certificate",
        _ => "check username, password and mechanism",
    };
    Error::operator(format!("Kafka at {brokers}: {said}")).advice(advice)
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
