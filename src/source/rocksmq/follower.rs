//! Keeps the secondary close to its primary, for all who wait for messages.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::blocking;
use super::store::Store;
use crate::error::Error;

/// How far behind the primary a message may be seen. One look costs about a millisecond; Milvus ticks every 200.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks at the primary at intervals while somebody waits. Dropped, it stops.
#[derive(Debug)]
pub(super) struct Follower {
    wake: watch::Sender<Wake>,
    task: AbortHandle,
}

/// What woke those who wait: something new, or what failed.
pub(super) type Wake = Option<Error>;

impl Follower {
    pub fn start(store: Arc<Store>) -> Follower {
        let wake = watch::Sender::new(None);
        let task = tokio::spawn(follow(store, wake.clone())).abort_handle();
        Follower { wake, task }
    }

    /// Wakes with whatever is written from now on.
    pub fn wake(&self) -> watch::Receiver<Wake> {
        self.wake.subscribe()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(store: Arc<Store>, wake: watch::Sender<Wake>) {
    let mut interval = interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = 0;
    loop {
        interval.tick().await;
        if wake.is_closed() {
            continue; // nobody waits
        }
        let store = store.clone();
        match blocking(move || store.catch_up()).await {
            Ok(sequence) if sequence == seen => {}
            Ok(sequence) => {
                seen = sequence;
                wake.send_replace(None);
            }
            Err(error) => {
                wake.send_replace(Some(error));
            }
        }
    }
}
