//! Whose the stored tasks are: the service that was started last. Another one that still runs on them stores nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Context, Error, Result};
use crate::log::store::Store;

/// Holds the id of the service that was started last, as text.
const KEY: &str = "owner";
/// How long a task waits for an answer before it is started.
const LOOK: Duration = Duration::from_secs(5);

/// One service's claim to the tasks of a store.
#[derive(Clone)]
pub struct Owner {
    store: Store,
    id: Arc<str>,
    claimed: Arc<AtomicBool>,
    lost: CancellationToken,
}

impl Owner {
    /// Nothing is claimed yet.
    pub fn new(store: Store) -> Owner {
        let (id, claimed) = (Uuid::new_v4().to_string().into(), Arc::default());
        Owner { store, id, claimed, lost: CancellationToken::new() }
    }

    /// Takes the tasks over from whatever service had them. Where that cannot be stored, on a full disk say, it is tried
    /// again before anything else is.
    pub async fn claim(&self) -> Result<()> {
        let id = Bytes::copy_from_slice(self.id.as_bytes());
        self.store.put(KEY, id).await.context(|| "the stored tasks cannot be taken over")?;
        self.claimed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Refused once another service has taken over. Asked right before something is stored: what that service does
    /// between this look and the put is not seen.
    pub async fn check(&self) -> Result<()> {
        if !self.claimed.load(Ordering::Relaxed) {
            return self.claim().await;
        }
        if !self.lost.is_cancelled() {
            match self.store.get(KEY).await.context(|| "whose the stored tasks are cannot be seen")? {
                Some(found) if found == self.id.as_bytes() => return Ok(()),
                Some(_) => self.lost.cancel(),
                None => {
                    return Err(Error::operator(format!("the stored tasks are gone from {}", self.store))
                        .advice("mount its disk, or bring its objects back, and start the service again"));
                }
            }
        }
        Err(taken_over())
    }

    /// Whether another service has certainly taken over.
    pub async fn is_lost(&self) -> bool {
        // Where nobody answers, nothing is known.
        let _ = timeout(LOOK, self.check()).await;
        self.lost.is_cancelled()
    }

    /// Whether it is known already that another service has taken over.
    pub fn is_known_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Returns when it is known that another service has taken over.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// What is said then.
pub fn taken_over() -> Error {
    Error::fenced("another service has taken over these tasks").advice("stop one of the two")
}
