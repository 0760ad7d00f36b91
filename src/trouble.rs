//! What is being tried again, made visible in the progress of a recorder or a replayer.

use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::progress::{RecordProgress, ReplayProgress, Retrying, Tries};

/// A progress that shows tries.
pub trait ShowsTries {
    /// Those of all stages.
    fn tries(&mut self) -> &mut Tries;
}

impl ShowsTries for RecordProgress {
    fn tries(&mut self) -> &mut Tries {
        &mut self.tries
    }
}

impl ShowsTries for ReplayProgress {
    fn tries(&mut self) -> &mut Tries {
        &mut self.tries
    }
}

/// The tries of one stage. Dropped, nothing is tried again any more.
pub struct Trouble<P: ShowsTries> {
    progress: watch::Sender<P>,
    doing: String,
    backoff: Backoff,
    /// While something is tried again: under which number that is shown, and since when.
    shown: Option<(u64, SystemTime)>,
}

impl<P: ShowsTries> Trouble<P> {
    /// No trouble yet.
    pub fn new(progress: &watch::Sender<P>, doing: impl Into<String>) -> Trouble<P> {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        Trouble { progress: progress.clone(), doing: doing.into(), backoff, shown: None }
    }

    /// Waits before the next try of something that may pass by itself; any other error comes back.
    pub async fn wait(&mut self, error: Error) -> Result<()> {
        if !error.is_retry() {
            return Err(error);
        }
        let delay = self.backoff.next_delay();
        self.tell(error);
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Tries something until it is done; an error that does not pass by itself comes back.
    pub async fn until_done<T, F>(&mut self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            match call().await {
                Ok(done) => {
                    self.over();
                    return Ok(done);
                }
                Err(error) => self.wait(error).await?,
            }
        }
    }

    /// Shows what is waited for, once.
    pub fn tell_once(&mut self, error: impl FnOnce() -> Error) {
        if self.shown.is_none() {
            self.tell(error());
        }
    }

    fn tell(&mut self, error: Error) {
        let count = u64::from(self.backoff.tries().max(1));
        tracing::warn!(error = %error, doing = %self.doing, count, "trying again");
        let message = format!("{}: {error}", self.doing);
        let shown = &mut self.shown;
        self.progress.send_modify(|progress| {
            let tries = progress.tries();
            tries.failed += 1;
            let (number, since) = *shown.get_or_insert_with(|| (tries.failed, SystemTime::now()));
            tries.now.insert(number, Retrying { message, advice: error.advice, since, count });
        });
    }

    /// It has passed.
    pub fn over(&mut self) {
        if let Some((number, _)) = self.shown.take() {
            self.backoff.reset();
            self.progress.send_modify(|progress| {
                progress.tries().now.remove(&number);
            });
        }
    }
}

impl<P: ShowsTries> Drop for Trouble<P> {
    fn drop(&mut self) {
        self.over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_passes_takes_nothing_away_that_has_not_passed() {
        let progress = watch::Sender::new(RecordProgress::default());
        let oldest =
            || progress.borrow().tries.oldest().map(|retrying| (retrying.message.clone(), retrying.count));
        let (mut reading, mut cutting) =
            (Trouble::new(&progress, "reading"), Trouble::new(&progress, "cutting"));
        reading.wait(Error::retry("gone")).await.unwrap();
        cutting.wait(Error::retry("slow")).await.unwrap();
        reading.wait(Error::retry("gone")).await.unwrap();
        cutting.over();
        assert_eq!(oldest(), Some(("reading: gone".to_owned(), 2)));
        drop(reading);
        assert_eq!(oldest(), None);
        assert_eq!(progress.borrow().tries.failed, 3);
    }
}
