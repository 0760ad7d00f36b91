//! Queues as their producers, an operator and retention treat them.

mod kafka;
pub mod pulsar;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tapedeck::position::{Channel, Position};
use tapedeck::source::Queue;

use super::{Outcome, Stand};

/// A queue that a test can write to and do things to.
#[async_trait(?Send)]
pub trait Broker: Send + Sync {
    /// What reads it.
    fn queue(&self) -> Arc<dyn Queue>;

    /// Bytes of the largest message that it takes.
    fn largest(&self) -> usize;

    /// Writes messages, creating the topic where need be. Returns where they are.
    async fn write(&self, topic: &Channel, messages: Vec<Vec<u8>>) -> Outcome<Vec<Position>>;

    /// Writes one message with properties (Kafka: headers). Returns where it is.
    async fn write_with(
        &self,
        topic: &Channel,
        message: Vec<u8>,
        properties: HashMap<String, String>,
    ) -> Outcome<Position>;

    /// What retention does: everything that was written so far is gone.
    async fn expire(&self, topic: &Channel) -> Outcome;

    /// Removes a topic.
    async fn remove(&self, topic: &Channel) -> Outcome;

    /// Makes the queue deliver to its readers anew.
    async fn disturb(&self, topic: &Channel) -> Outcome;

    /// Stops serving.
    async fn away(&self) -> Outcome;

    /// Serves again.
    async fn back(&self) -> Outcome;
}

/// The queue of the stand's source; none, visibly, where a test can do nothing to it.
pub fn of(stand: &Stand) -> Outcome<Option<Box<dyn Broker>>> {
    let kind = stand.queue_kind();
    match kind {
        "kafka" => Ok(Some(Box::new(kafka::Kafka::new(stand)?))),
        "pulsar" => Ok(Some(Box::new(pulsar::Pulsar::new(stand)?))),
        _ => {
            eprintln!("skipped: nothing can be done to {kind} but by the source itself");
            Ok(None)
        }
    }
}
