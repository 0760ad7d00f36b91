//! Whose the stored tasks are: the service that was started last. Another one that still runs on them stores nothing.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Context, Error, Result};
use crate::log::store::Store;

/// Holds the id of the service that was started last, as text.
const KEY: &str = "owner";

/// One service's claim to the tasks of a store.
#[derive(Clone)]
pub struct Owner {
    store: Store,
    id: Arc<str>,
    lost: CancellationToken,
}

impl Owner {
    /// Nothing is claimed yet.
    pub fn new(store: Store) -> Owner {
        Owner { store, id: Uuid::new_v4().to_string().into(), lost: CancellationToken::new() }
    }

    /// Takes the tasks over from whatever service had them.
    pub async fn claim(&self) -> Result<()> {
        let id = Bytes::copy_from_slice(self.id.as_bytes());
        self.store.put(KEY, id).await.context(|| "the stored tasks cannot be taken over")
    }

    /// Refused once another service has taken over. Asked right before something is stored: what that service does
    /// between this look and the put is not seen.
    pub async fn check(&self) -> Result<()> {
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
        let _ = self.check().await;
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
