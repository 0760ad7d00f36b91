//! Waiting between tries: exponential, with jitter, ended by cancellation. The only sleep loop.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// How long to wait before the next try. Doubles from `first` to `most`, each time with a random share of one half.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
    since: Option<Instant>,
}

impl Backoff {
    /// A back-off between two bounds.
    pub fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most, tries: 0, since: None }
    }

    /// Tries that failed since the last success.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// How long it has been failing.
    pub fn failing_for(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.tries = 0;
        self.since = None;
    }

    /// Counts a failed try and says how long to wait.
    pub fn next_delay(&mut self) -> Duration {
        self.since.get_or_insert_with(Instant::now);
        let whole = self.first.saturating_mul(1 << self.tries.min(16)).min(self.most);
        self.tries = self.tries.saturating_add(1);
        whole.mul_f64(0.5 + 0.5 * rand::random::<f64>())
    }

    /// Waits before the next try; false when cancelled.
    pub async fn wait(&mut self, cancel: &CancellationToken) -> bool {
        let delay = self.next_delay();
        cancel.run_until_cancelled(tokio::time::sleep(delay)).await.is_some()
    }
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_bound_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let delays = (0..8).map(|_| backoff.next_delay()).collect::<Vec<_>>();
        assert!(delays[0] >= Duration::from_millis(50) && delays[0] <= Duration::from_millis(100));
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(1)));
        assert!(delays[7] >= Duration::from_millis(500));
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn cancellation_ends_a_wait() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(!Backoff::new(Duration::from_secs(60), Duration::from_secs(60)).wait(&cancel).await);
    }
}
