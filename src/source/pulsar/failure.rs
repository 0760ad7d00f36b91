//! Who acts on what a broker says, and on what it does not say.

use std::io::ErrorKind;

use pulsar::error::ConnectionError;
use pulsar::proto::ServerError;

use super::access::SECTION;
use super::connection::Address;
use crate::error::Error;
use crate::tls::{PULSAR, advice};

/// What a broker refuses. Whatever is not known to pass waits for a person.
pub(super) fn refused(Address(address): &Address, code: i32, message: &str) -> Error {
    let code = ServerError::try_from(code).unwrap_or(ServerError::UnknownError);
    let reason = message.lines().next().unwrap_or_default();
    let what = format!("Pulsar at {address}: {}: {reason}", code.as_str_name());
    match code {
        // what the broker needed to know it could not find out
        ServerError::AuthorizationError if reason.starts_with("Exception occurred") => {
            Error::retry(what).advice("look at the broker's log")
        }
        ServerError::AuthorizationError => Error::operator(what).advice(
            "allow the login's role to consume: pulsar-admin namespaces grant-permission --actions consume",
        ),
        ServerError::AuthenticationError => Error::operator(what),
        _ if nowhere(reason) => Error::operator(what).advice(
            "check source.queue.pulsar.tenant and namespace: Milvus' pulsar.tenant and pulsar.namespace",
        ),
        ServerError::TopicNotFound | ServerError::InvalidTopicName => {
            Error::operator(what).advice("check tenant and namespace, and that the topic was not deleted")
        }
        ServerError::UnknownError
        | ServerError::MetadataError
        | ServerError::PersistenceError
        | ServerError::ConsumerBusy
        // a broker that throws a consumer out, as after each seek, may throw out the next one with it
        | ServerError::ConsumerNotFound
        | ServerError::SubscriptionNotFound
        | ServerError::ServiceNotReady
        | ServerError::TooManyRequests => Error::retry(what).advice("look at the broker's log"),
        _ => Error::operator(what).advice("check the address and the version of the brokers"),
    }
}

/// How brokers say that a tenant or a namespace is not there: they have no code for it.
fn nowhere(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    let names = ["namespace", "tenant", "policies"].iter().any(|name| reason.contains(name));
    names && ["not found", "does not exist"].iter().any(|gone| reason.contains(gone))
}

/// Whether there is no such topic, in a namespace that is there.
pub(super) fn no_topic(code: i32, reason: &str) -> bool {
    code == i32::from(ServerError::TopicNotFound) && !reason.starts_with("Namespace not found")
}

/// A connection that broke, or could not be made.
pub(super) fn broken(Address(address): &Address, error: ConnectionError) -> Error {
    let reason = match error {
        ConnectionError::Io(error) => error.to_string(),
        ConnectionError::Disconnected => "the connection was closed".to_owned(),
        ConnectionError::Decoding(what) => format!("it sent what is no frame of Pulsar's protocol: {what}"),
        other => other.to_string(),
    };
    let error = Error::retry(format!("Pulsar at {address}: {reason}"));
    error.advice("check that the brokers run and can be reached from here")
}

/// A handshake that failed. A broker without TLS hangs up, in one way or another.
pub(super) fn no_tls(Address(address): &Address, error: &std::io::Error) -> Error {
    let [plain, _] = PULSAR;
    let said = error.to_string();
    let look = match error.kind() {
        ErrorKind::InvalidData => advice(&said, SECTION, PULSAR),
        _ => Some(format!("check {SECTION}.url: if the broker does not speak TLS at all, write {plain}")),
    };
    let look = look.unwrap_or_else(|| format!("check {SECTION}.tls"));
    Error::retry(format!("Pulsar at {address}: no TLS: {said}")).advice(look)
}

/// No answer.
pub(super) fn silent(Address(address): &Address) -> Error {
    Error::retry(format!("Pulsar at {address} does not answer"))
        .advice("check that the brokers run and can be reached from here, and that this is a Pulsar broker")
}

/// What broke before the broker had said who it is. In TLS 1.3 that is also when it refuses a client's certificate.
pub(super) fn stranger(Address(address): &Address, error: &Error, secured: bool) -> Error {
    if error.message.contains("received fatal alert") {
        return error.clone().advice(advice(&error.message, SECTION, PULSAR).unwrap_or_default());
    }
    let url = "it is that of a broker or proxy, as a rule pulsar:// with port 6650, or pulsar+ssl:// with port 6651 \
               where it wants TLS; neither its web address nor a Kafka";
    let certificate =
        if secured { "; and its tls: the broker may want another certificate and key" } else { "" };
    Error::retry(format!("{address} does not greet as a Pulsar broker does: {error}"))
        .advice(format!("check {SECTION}.url: {url}{certificate}"))
}
