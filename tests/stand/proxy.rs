//! A TCP proxy that does to a service's connections what networks do.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::{Outcome, Proxied, Stand, fail, free_port, rng};

/// What goes on in one read.
const PIECE: usize = 16 << 10;

/// What the network does now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Network {
    /// Everything passes.
    Good,
    /// Every piece comes so late.
    Late(Duration),
    /// Each connection is reset when so many bytes have passed in both directions.
    CutAfter(u64),
    /// As before, but with the bytes doubled up to ten times, by chance: whatever is repeated passes some time.
    Flaky(u64),
    /// Connections stay, also new ones, but nothing passes. Those that have met this are dead for ever.
    HalfOpen,
}

/// A proxy before one service. Dropped, it resets everything.
pub struct Proxy {
    network: watch::Sender<Network>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens at `listen` and passes on to `service`, both host:port.
    pub async fn start(listen: &str, service: &str) -> Outcome<Proxy> {
        let listener = TcpListener::bind(listen).await?;
        let (network, watched) = watch::channel(Network::Good);
        let accepting = tokio::spawn(accept(listener, service.to_owned(), watched));
        Ok(Proxy { network, _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// What the network does from now on.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Stand {
    /// A proxy before `kafka`, `etcd`, `minio` or `target`, and the stand as it is seen through it.
    pub async fn behind_proxy(&self, service: &str) -> Outcome<(Proxy, Stand)> {
        let mut seen = self.clone();
        if service == "kafka" {
            let Some(Proxied { listener, advertised }) = &self.kafka_proxied else {
                return fail("the stand has no Kafka");
            };
            seen.queue["kafka"]["brokers"] = advertised.as_str().into();
            return Ok((Proxy::start(advertised, listener).await?, seen));
        }
        let address = match service {
            "etcd" => &mut seen.etcd,
            "minio" => &mut seen.minio.endpoint,
            "target" => &mut seen.target.uri,
            other => return fail(format!("no proxy is made for {other}")),
        };
        let scheme = if address.starts_with("http://") { "http://" } else { "" };
        let listen = format!("127.0.0.1:{}", free_port()?);
        let to = address.trim_start_matches(scheme).to_owned();
        *address = format!("{scheme}{listen}");
        Ok((Proxy::start(&listen, &to).await?, seen))
    }
}

async fn accept(listener: TcpListener, service: String, network: watch::Receiver<Network>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else { continue };
        let line = Line {
            network: network.clone(),
            passed: AtomicU64::new(0),
            doublings: rng(&format!("proxy of {service} {number}")).random_range(0..=10),
        };
        connections.spawn(carry(client, service.clone(), line));
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(mut client: TcpStream, service: String, line: Line) -> io::Result<()> {
    let mut server = TcpStream::connect(service).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let ended = {
        let ((client_reads, client_writes), (server_reads, server_writes)) = (client.split(), server.split());
        let both = async {
            tokio::try_join!(line.pass(client_reads, server_writes), line.pass(server_reads, client_writes))
        };
        tokio::select! {
            biased;
            () = line.is_half_open() => std::future::pending().await,
            ended = both => ended,
        }
    };
    if ended.is_err() {
        // dropped, they send a reset instead of an end
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}

/// One connection.
struct Line {
    network: watch::Receiver<Network>,
    passed: AtomicU64,
    doublings: u32,
}

impl Line {
    /// Passes on one direction until its end.
    async fn pass(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let read = from.read(&mut piece).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            let network = *self.network.borrow();
            let before = self.passed.fetch_add(read as u64, Ordering::Relaxed);
            let most = match network {
                Network::CutAfter(most) => most,
                Network::Flaky(most) => most << self.doublings,
                _ => u64::MAX,
            };
            let passes = most.saturating_sub(before).min(read as u64) as usize;
            if let Network::Late(latency) = network {
                tokio::time::sleep(latency).await;
            }
            to.write_all(&piece[..passes]).await?;
            if passes < read {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        }
    }

    /// Waits until it swallows everything.
    async fn is_half_open(&self) {
        let mut network = self.network.clone();
        if network.wait_for(|network| *network == Network::HalfOpen).await.is_err() {
            std::future::pending().await
        }
    }
}
