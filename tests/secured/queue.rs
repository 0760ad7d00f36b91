//! What differs from queue to queue.

use serde_json::Value;

use crate::document::Place;
use crate::kafka::Kafka;
use crate::pulsar::Pulsar;
use crate::refused::Case;
use crate::stand::{Outcome, Stand};

/// The queue of a source, whose connection is secured.
pub trait Queue: Sync {
    /// As `check` calls it.
    fn connection(&self) -> &'static str;

    /// As the stand calls it.
    fn service(&self) -> &'static str;

    /// `source.queue` with TLS and a login.
    fn section(&self, place: &Place) -> Outcome<Value>;

    /// The same with another secret, and what is said when that is wrong.
    fn with_secret(&self, place: &Place, secret: Value) -> Outcome<(Value, [&'static str; 2])>;

    /// host:port where it speaks no TLS.
    fn plain<'a>(&self, place: &'a Place) -> &'a str;

    /// A secret of the queue is wrong.
    fn secrets(&self, place: &Place) -> Outcome<Vec<Case>>;

    /// A certificate of the queue is.
    fn certificates(&self, place: &Place) -> Outcome<Vec<Case>>;

    /// TLS where the queue has none, and no login where it wants one.
    fn mixed_up(&self, place: &Place) -> Outcome<Vec<Case>>;
}

/// None of one that is a folder.
pub fn of(stand: &Stand) -> Option<&'static dyn Queue> {
    match stand.queue_kind() {
        "kafka" => Some(&Kafka),
        "pulsar" => Some(&Pulsar),
        _ => None,
    }
}
