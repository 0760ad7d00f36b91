//! The connections of the server: how many there are, and how long one may take to ask.

use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Streams and requests under way get this long when the service stops.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Where no connection can be accepted, for want of file descriptors say, it is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// So many connections; further ones wait until one of them ends.
    pub connections: usize,
    /// The head of a request is here after this, else the connection is closed.
    pub head: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { connections: 256, head: Duration::from_secs(10) }
    }
}

/// Serves until cancelled.
pub async fn serve(router: Router, listener: TcpListener, bounds: Bounds, cancel: CancellationToken) {
    let (free, open) = (Arc::new(Semaphore::new(bounds.connections)), TaskTracker::new());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    let accepting = async {
        // It is never closed.
        while let Ok(turn) = free.clone().acquire_owned().await {
            let stream = accept(&listener).await;
            let connection =
                http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
            let stop = cancel.clone();
            open.spawn(async move {
                let _turn = turn;
                let mut connection = pin!(connection);
                let ended = tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = ended {
                    debug!(%error, "a connection broke off");
                }
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = cancel.cancelled() => {}
    }
    open.close();
    // What is not done by then is dropped with the process.
    let _ = tokio::time::timeout(DRAIN_TIME, open.wait()).await;
}

async fn accept(listener: &TcpListener) -> tokio::net::TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                warn!(%error, "connections cannot be accepted");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// Whether it says no more than that a client has gone.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const SOON: Duration = Duration::from_secs(10);
    const ASKED: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    async fn serving(bounds: Bounds, cancel: &CancellationToken) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "well" }));
        tokio::spawn(serve(router, listener, bounds, cancel.clone()));
        address
    }

    async fn send(address: std::net::SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// What comes until the other side closes.
    async fn all(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let read = tokio::time::timeout(SOON, stream.read_to_string(&mut text)).await;
        read.expect("the connection stays open").unwrap();
        text
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_request_is_hung_up_on() {
        let cancel = CancellationToken::new();
        let bounds = Bounds { head: Duration::from_millis(200), ..Bounds::default() };
        let address = serving(bounds, &cancel).await;
        for begun in [&b""[..], b"GET / HTTP/1.1\r\nhost: local"] {
            assert!(!all(send(address, begun).await).await.contains("well"));
        }
        assert!(all(send(address, ASKED).await).await.ends_with("well"));
    }

    #[tokio::test]
    async fn so_many_connections_are_served_and_further_ones_wait_for_an_end() {
        let cancel = CancellationToken::new();
        let address = serving(Bounds { connections: 2, ..Bounds::default() }, &cancel).await;
        let first = send(address, b"").await;
        let _second = send(address, b"").await;
        let mut third = send(address, ASKED).await;
        let mut answer = [0; 15];
        let early = tokio::time::timeout(Duration::from_millis(300), third.read_exact(&mut answer)).await;
        assert!(early.is_err(), "more connections than the bound");
        drop(first);
        tokio::time::timeout(SOON, third.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }

    #[tokio::test]
    async fn connections_end_with_the_service() {
        let cancel = CancellationToken::new();
        let mut stream = send(serving(Bounds::default(), &cancel).await, ASKED).await;
        let mut answer = [0; 15];
        tokio::time::timeout(SOON, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        cancel.cancel();
        all(stream).await;
    }
}
