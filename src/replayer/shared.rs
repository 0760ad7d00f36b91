//! What lanes and definitions share: the target, and the end of all work with the first failure.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::progress::ReplayProgress;
use crate::target::Target;
use crate::trouble::Trouble;

use super::journal::Journal;
use super::lease::Lease;
use super::ownership::Made;

/// Requests that the target gets at once.
const REQUESTS: usize = 6;

/// What lanes and definitions share.
pub struct Shared {
    /// Where rows go.
    pub target: Arc<dyn Target>,
    /// Room for requests.
    pub requests: Semaphore,
    /// Where counts and tries are shown.
    pub progress: watch::Sender<ReplayProgress>,
    /// What allows to write to it.
    pub lease: Arc<Lease>,
    /// What was created in the target.
    pub made: Arc<Made>,
    failure: Mutex<Option<Error>>,
    /// Cancelled by the first lane that cannot go on, or by a stop from outside.
    pub stop: CancellationToken,
}

impl Shared {
    /// What everybody works with. `stop` ends every wait.
    pub fn new(
        target: Arc<dyn Target>,
        progress: &watch::Sender<ReplayProgress>,
        journal: &Journal,
        stop: CancellationToken,
    ) -> Arc<Shared> {
        let requests = Semaphore::new(REQUESTS);
        let (progress, failure) = (progress.clone(), Mutex::new(None));
        let (lease, made) = (journal.lease(), journal.made());
        Arc::new(Shared { target, requests, progress, lease, made, failure, stop })
    }

    /// Why everything has stopped.
    pub fn failure(&self) -> Error {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.unwrap_or_else(|| Error::retry("stopped"))
    }

    /// Waits before the next try of something that may pass by itself; comes back with an error at a stop.
    pub async fn wait(&self, trouble: &mut Trouble<ReplayProgress>, error: Error) -> Result<()> {
        let waited = self.stop.run_until_cancelled(trouble.wait(error)).await;
        waited.unwrap_or_else(|| Err(Error::retry("stopped")))
    }

    /// Asks the target until it answers.
    pub async fn ask<T, F: Future<Output = Result<T>>>(
        &self,
        what: &'static str,
        call: impl Fn() -> F,
    ) -> Result<T> {
        let mut trouble = Trouble::new(&self.progress, what);
        let answer = loop {
            let answer = self.stop.run_until_cancelled(call()).await;
            match answer.unwrap_or_else(|| Err(Error::retry("stopped"))) {
                Ok(answer) => break answer,
                Err(error) => self.wait(&mut trouble, error).await?,
            }
        };
        trouble.over();
        Ok(answer)
    }

    /// Keeps the first failure and stops everything.
    pub fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.cancel();
    }
}
