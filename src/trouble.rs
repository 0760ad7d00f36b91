//! What is being tried again, made visible in the progress of a recorder or a replayer.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::progress::{RecordProgress, ReplayProgress, Retrying};

/// A progress that shows tries.
pub trait ShowsTries {
    /// The count of failed tries, and what is being tried again now.
    fn tries(&mut self) -> (&mut u64, &mut Option<Retrying>);
}

impl ShowsTries for RecordProgress {
    fn tries(&mut self) -> (&mut u64, &mut Option<Retrying>) {
        (&mut self.retries, &mut self.retrying)
    }
}

impl ShowsTries for ReplayProgress {
    fn tries(&mut self) -> (&mut u64, &mut Option<Retrying>) {
        (&mut self.retries, &mut self.retrying)
    }
}

/// The tries of one stage.
pub struct Trouble<P: ShowsTries> {
    progress: watch::Sender<P>,
    doing: String,
    backoff: Backoff,
    since: Option<SystemTime>,
}

impl<P: ShowsTries> Trouble<P> {
    /// No trouble yet.
    pub fn new(progress: &watch::Sender<P>, doing: impl Into<String>) -> Trouble<P> {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        Trouble { progress: progress.clone(), doing: doing.into(), backoff, since: None }
    }

    /// Waits before the next try of something that may pass by itself; any other error comes back.
    pub async fn wait(&mut self, error: Error) -> Result<()> {
        if !error.is_retry() {
            return Err(error);
        }
        let since = *self.since.get_or_insert_with(SystemTime::now);
        let delay = self.backoff.next_delay();
        let count = u64::from(self.backoff.tries());
        tracing::warn!(error = %error, doing = %self.doing, count, "trying again");
        self.progress.send_modify(|progress| {
            let (retries, retrying) = progress.tries();
            *retries += 1;
            let message = format!("{}: {error}", self.doing);
            *retrying = Some(Retrying { message, advice: error.advice, since, count });
        });
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// It has passed.
    pub fn over(&mut self) {
        if self.since.take().is_some() {
            self.backoff.reset();
            self.progress.send_modify(|progress| *progress.tries().1 = None);
        }
    }
}
