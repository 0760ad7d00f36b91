//! A half that is kept going: what may pass by itself starts it again, with back-off.

use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::error::Result;
use crate::progress::Retrying;

/// A half that ran this long was well: what fails now is something new.
const STEADY: Duration = Duration::from_secs(60);

/// How long a half waits before it is started again.
pub fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(15))
}

/// Runs `run` again and again while it ends with `Retry` errors, and tells of each before the wait. Returns how it
/// ended for good; when cancelled, `Ok`.
pub async fn keep_running<F: Future<Output = Result<()>>>(
    run: impl Fn() -> F,
    mut failed: impl FnMut(Retrying),
    mut backoff: Backoff,
    cancel: &CancellationToken,
) -> Result<()> {
    let mut since = SystemTime::now();
    loop {
        let started = Instant::now();
        let error = match run().await {
            Err(error) if error.is_retry() => error,
            ended => return ended,
        };
        if started.elapsed() > STEADY {
            backoff.reset();
        }
        if backoff.tries() == 0 {
            since = SystemTime::now();
        }
        let count = u64::from(backoff.tries()).saturating_add(1);
        failed(Retrying { message: error.message, advice: error.advice, since, count });
        if !backoff.wait(cancel).await {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::cell::{Cell, RefCell};

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_counted_until_a_person_must_act() {
        let (runs, told) = (Cell::new(0), RefCell::new(Vec::new()));
        let run = || async {
            runs.set(runs.get() + 1);
            if runs.get() < 4 { Err(Error::retry("gone")) } else { Err(Error::refused("a hole")) }
        };
        let (soon, cancel) =
            (Backoff::new(Duration::from_millis(1), Duration::from_millis(1)), CancellationToken::new());
        let ended = keep_running(run, |retrying| told.borrow_mut().push(retrying.count), soon, &cancel).await;
        assert_eq!((runs.get(), told.into_inner()), (4, vec![1, 2, 3]));
        assert_eq!(ended.unwrap_err().message, "a hole");
    }

    #[tokio::test]
    async fn cancelling_ends_the_waiting() {
        let cancel = CancellationToken::new();
        let ended =
            keep_running(|| async { Err(Error::retry("gone")) }, |_| cancel.cancel(), backoff(), &cancel)
                .await;
        assert!(ended.is_ok());
    }
}
