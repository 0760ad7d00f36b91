//! In place of the Kafka queue until it is merged: same names, same options, every call fails.
#![allow(missing_docs)]

use std::ops::Range;

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::source::{Queue, Subscription};

fn none<T>() -> Result<T> {
    Err(Error::operator("this build has no Kafka"))
}

pub struct KafkaOptions {
    pub brokers: String,
    pub user: Option<(String, String)>,
}
pub struct KafkaQueue;

impl KafkaQueue {
    pub fn connect(options: KafkaOptions) -> Result<KafkaQueue> {
        let _ = (options.brokers, options.user);
        Ok(KafkaQueue)
    }
}

#[async_trait]
impl Queue for KafkaQueue {
    async fn identity(&self) -> Result<String> {
        none()
    }
    async fn bounds(&self, _: &Channel) -> Result<Range<Position>> {
        none()
    }
    async fn position_at(&self, _: &Channel, _: u64) -> Result<Position> {
        none()
    }
    async fn subscribe(&self, _: &Channel, _: Position) -> Result<Box<dyn Subscription>> {
        none()
    }
}
