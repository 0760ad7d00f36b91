//! The queue in memory, under the same hands as the real ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tapedeck::position::{Channel, Position};
use tapedeck::source::Queue;
use tapedeck::source::memory::MemoryQueue;

use crate::stand::broker::Broker;
use crate::stand::{Outcome, fail};

/// A new one; it has no neighbours.
pub async fn broker() -> Outcome<Option<((), Box<dyn Broker>)>> {
    Ok(Some(((), Box::new(Memory(MemoryQueue::default())))))
}

struct Memory(MemoryQueue);

#[async_trait(?Send)]
impl Broker for Memory {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.0.clone())
    }

    fn largest(&self) -> usize {
        16 << 20
    }

    async fn write(&self, topic: &Channel, messages: Vec<Vec<u8>>) -> Outcome<Vec<Position>> {
        self.0.set_clock(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64);
        Ok(messages.into_iter().map(|message| self.0.push(topic, message.into())).collect())
    }

    async fn write_with(&self, _: &Channel, _: Vec<u8>, _: HashMap<String, String>) -> Outcome<Position> {
        fail("messages in memory have no properties")
    }

    async fn expire(&self, topic: &Channel) -> Outcome {
        self.0.trim(topic, self.0.bounds(topic).await?.end);
        Ok(())
    }

    async fn remove(&self, topic: &Channel) -> Outcome {
        self.0.recreate(topic);
        Ok(())
    }

    async fn disturb(&self, topic: &Channel) -> Outcome {
        self.0.redeliver(topic, Position::offset(0));
        Ok(())
    }

    async fn away(&self) -> Outcome {
        self.0.fail_next(usize::MAX);
        Ok(())
    }

    async fn back(&self) -> Outcome {
        self.0.fail_next(0);
        Ok(())
    }
}
