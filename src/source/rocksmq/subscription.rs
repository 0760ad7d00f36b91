//! One topic being read, a batch ahead.

use std::sync::Arc;
use std::vec;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use super::blocking;
use super::follower::{Follower, Wake};
use super::store::Store;
use crate::error::{Error, Result};
use crate::position::{Channel, Position};
use crate::source::{QueueMessage, Subscription};

/// Bytes of a batch, besides its last message. Three batches at most are held: one given out, one ready, one being
/// read. Those of 240 channels add up to less than 48 MiB.
const BATCH: usize = 64 << 10;

type Batch = Vec<QueueMessage>;

/// A topic being read.
pub(super) struct RocksmqSubscription {
    batches: mpsc::Receiver<Result<Batch>>,
    batch: vec::IntoIter<QueueMessage>,
    _follower: Arc<Follower>,
}

impl RocksmqSubscription {
    pub fn start(
        store: Arc<Store>,
        follower: Arc<Follower>,
        channel: Channel,
        from: Position,
    ) -> RocksmqSubscription {
        let (sender, batches) = mpsc::channel(1);
        tokio::spawn(read_ahead(store, follower.wake(), channel, from, sender));
        RocksmqSubscription { batches, batch: vec![].into_iter(), _follower: follower }
    }
}

#[async_trait]
impl Subscription for RocksmqSubscription {
    async fn next(&mut self) -> Result<QueueMessage> {
        loop {
            if let Some(message) = self.batch.next() {
                return Ok(message);
            }
            let batch = self.batches.recv().await;
            self.batch =
                batch.unwrap_or_else(|| Err(Error::operator("RocksMQ: the reading has ended")))?.into_iter();
        }
    }
}

/// Reads until the subscription is dropped, or an error that does not pass by itself.
async fn read_ahead(
    store: Arc<Store>,
    mut wake: watch::Receiver<Wake>,
    channel: Channel,
    mut next: Position,
    batches: mpsc::Sender<Result<Batch>>,
) {
    while !batches.is_closed() {
        wake.mark_unchanged();
        let read = {
            let (store, channel) = (store.clone(), channel.clone());
            blocking(move || store.read(&channel, next, BATCH)).await
        };
        let given = match read {
            Ok(batch) if batch.is_empty() => match woken(&mut wake, &batches).await {
                Ok(()) => continue,
                Err(error) => Err(error),
            },
            read => read,
        };
        if let Some(last) = given.iter().flatten().last() {
            next = last.position.next();
        }
        let ended = given.as_ref().is_err_and(|error| !error.is_retry());
        if batches.send(given).await.is_err() || ended {
            return;
        }
    }
}

/// Waits until there is something new, or nobody who wants it.
async fn woken(wake: &mut watch::Receiver<Wake>, batches: &mpsc::Sender<Result<Batch>>) -> Result<()> {
    tokio::select! {
        () = batches.closed() => Ok(()),
        // with the follower its subscriptions have ended
        _ = wake.changed() => wake.borrow_and_update().clone().map_or(Ok(()), Err),
    }
}
