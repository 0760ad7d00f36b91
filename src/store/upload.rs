//! Uploads over slow lines.
//!
//! A client's read timeout runs while a body goes up, so a large body is given a time of its own, which follows its
//! length. After one that took longer the next are given more, and go up one at a time, until the line is fast again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long an answer may take to begin, or to go on. A dead connection is noticed within it, where what was sent is
/// short. (Tests do not wait as long.)
pub(super) const ANSWER: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });
/// Bodies from here on are large: a shorter one goes up within [`ANSWER`] at 10 kB/s.
const LARGE: usize = 256 << 10;
/// Bytes in a second that are expected of an upload, 1 Mbit/s; halved after each one that was slower.
const RATE: u32 = 128 << 10;
/// How often it is halved.
const SLOWEST: u32 = 4;
/// Uploads that may go up side by side as long as the line is fast enough for so many.
const SIDE_BY_SIDE: u32 = 4;

/// A client for each length of body.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = ReqwestConnector::default();
        Ok(HttpClient::new(Clients {
            small: plain.connect(options)?,
            large: plain.connect(&options.clone().with_read_timeout_disabled())?,
        }))
    }
}

#[derive(Debug)]
struct Clients {
    small: HttpClient,
    large: HttpClient,
}

#[async_trait]
impl HttpService for Clients {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_large = request.body().content_length() >= LARGE;
        (if is_large { &self.large } else { &self.small }).execute(request).await
    }
}

/// The uploads to one store.
#[derive(Default)]
pub(super) struct Uploads {
    /// How often the expected rate is halved.
    halved: AtomicU32,
    turn: Mutex<()>,
}

impl Uploads {
    /// Runs the put of so many bytes in the time that it is given. It is not begun before it is its turn: the time of a
    /// signature would pass.
    pub(super) async fn run<T>(
        &self,
        bytes: usize,
        put: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        if bytes < LARGE {
            return put.await;
        }
        let _turn = match self.halved.load(Ordering::Relaxed) {
            0 => None,
            _ => Some(self.turn.lock().await),
        };
        let halved = self.halved.load(Ordering::Relaxed);
        let (begun, patience) = (Instant::now(), patience(bytes, halved));
        let Ok(outcome) = timeout(patience, put).await else {
            // Of those side by side one alone halves it.
            let next = halved.saturating_add(1).min(SLOWEST);
            let _ = self.halved.compare_exchange(halved, next, Ordering::Relaxed, Ordering::Relaxed);
            let source = format!("no answer within {} s to {bytes} bytes", patience.as_secs()).into();
            return Err(object_store::Error::Generic { store: "upload", source });
        };
        if outcome.is_ok() && begun.elapsed().saturating_mul(SIDE_BY_SIDE) < self::patience(bytes, 0) {
            self.halved.store(0, Ordering::Relaxed);
        }
        outcome
    }
}

fn patience(bytes: usize, halved: u32) -> Duration {
    let rate = f64::from(RATE >> halved.min(SLOWEST));
    ANSWER + Duration::from_secs_f64(bytes as f64 / rate)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// What is sent side by side over a line shares it.
    struct Line {
        rate: usize,
        sending: AtomicUsize,
    }

    struct Sending<'a>(&'a Line);

    impl Drop for Sending<'_> {
        fn drop(&mut self) {
            self.0.sending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl Line {
        async fn send(&self, mut bytes: usize) -> object_store::Result<()> {
            self.sending.fetch_add(1, Ordering::Relaxed);
            let _sending = Sending(self);
            while bytes > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                bytes = bytes.saturating_sub(self.rate / self.sending.load(Ordering::Relaxed));
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_uploaded_side_by_side_passes_every_line() {
        for (rate, bytes) in [(10 << 10, 8 << 20), (125_000, 32 << 20), (625_000, 32 << 20)] {
            let (line, uploads) = (Line { rate, sending: AtomicUsize::new(0) }, Uploads::default());
            let begun = Instant::now();
            let upload = async || {
                while uploads.run(bytes, line.send(bytes)).await.is_err() {
                    assert!(begun.elapsed() < Duration::from_secs(5 * 3600), "{rate}: nothing passes");
                }
            };
            futures::join!(upload(), upload(), upload());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_connection_is_noticed_while_a_body_goes_up() {
        let (uploads, begun) = (Uploads::default(), Instant::now());
        uploads.run(8 << 20, std::future::pending::<object_store::Result<()>>()).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(120));
    }
}
