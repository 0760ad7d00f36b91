//! Waiting with a deadline, the only kind there is.

use std::time::{Duration, Instant};

use super::{Failure, Outcome};

/// How long anything may take before it counts as never. Two cores carry all services and tests.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Asks `look` until it answers `Ok(None)`; `Ok(Some(text))` says what is still missing. An `Err` while waiting
/// (a service that starts again) counts as missing as well; it is what the failure shows if it lasts.
pub async fn eventually(what: &str, mut look: impl AsyncFnMut() -> Outcome<Option<String>>) -> Outcome {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let missing = match look().await {
            Ok(None) => return Ok(()),
            Ok(Some(missing)) => missing,
            Err(Failure(error)) => error,
        };
        if begin.elapsed() > PATIENCE {
            return Err(Failure(format!("{what}: not within {PATIENCE:?}; still: {missing}")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(1));
    }
}
