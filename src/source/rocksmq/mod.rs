//! The RocksMQ of a Milvus standalone: its RocksDB, opened as a secondary beside the Milvus that writes it.
//!
//! A secondary only reads, follows the primary through its manifest and write-ahead log, and keeps what is its own in a
//! temporary folder: nothing is ever written into Milvus' directory. It reads as well when Milvus is stopped.
//!
//! A position is a message id. Milvus 2.3 counts the messages of all topics together, so the ids of one topic rise with
//! gaps. Retention only removes from the beginning of a topic: a message that is kept shows that nothing after it is gone,
//! and one that is gone while older ones are kept, that the topic lost its end. At every start of Milvus the ids jump to
//! the time, so that new messages soon lie beyond a lost end.

mod failure;
mod follower;
mod identity;
mod key;
mod scratch;
mod store;
mod subscription;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use self::follower::Follower;
use self::store::Store;
use self::subscription::RocksmqSubscription;
use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::source::{Queue, Subscription};

/// A RocksMQ. Clones read the same secondary.
#[derive(Clone, Debug)]
pub struct RocksmqQueue {
    store: Arc<Store>,
    follower: Arc<Follower>,
}

impl RocksmqQueue {
    /// Opens Milvus' `rocksmq.path`. Must be called within a Tokio runtime.
    pub async fn open(path: &Path) -> Result<RocksmqQueue> {
        let path = path.to_owned();
        let store = Arc::new(blocking(move || Store::open(&path)).await?);
        Ok(RocksmqQueue { follower: Arc::new(Follower::start(store.clone())), store })
    }

    /// Asks the store as it is now.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        blocking(move || {
            store.catch_up()?;
            question(&store)
        })
        .await
    }
}

#[async_trait]
impl Queue for RocksmqQueue {
    async fn identity(&self) -> Result<String> {
        self.ask(|store| Ok(format!("rocksmq:{}", store.id()))).await
    }

    /// A topic exists from its first message on.
    async fn exists(&self, channel: &Channel) -> Result<bool> {
        let channel = channel.clone();
        self.ask(move |store| Ok(store.kept(&channel)?.is_some())).await
    }

    async fn bounds(&self, channel: &Channel) -> Result<Range<Position>> {
        let channel = channel.clone();
        self.ask(move |store| store.bounds(&channel)).await
    }

    async fn position_at(&self, channel: &Channel, millis: u64) -> Result<Position> {
        let channel = channel.clone();
        self.ask(move |store| store.position_at(&channel, millis)).await
    }

    async fn subscribe(&self, channel: &Channel, from: Position) -> Result<Box<dyn Subscription>> {
        let topic = channel.clone();
        self.ask(move |store| store.check(&topic, from)).await?;
        let (store, follower) = (self.store.clone(), self.follower.clone());
        Ok(Box::new(RocksmqSubscription::start(store, follower, channel.clone(), from)))
    }
}

/// RocksDB's calls block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::retry("RocksMQ: a reading was cancelled")))
}
