//! Real services for the tests: where they are, how to stop and start them, and what to compare.
//!
//! `TAPEDECK_STAND=DIR` names a directory in which `deploy/stand up` has brought them up. Without it the tests say
//! that they were skipped; where they must not be (`CI`, `TAPEDECK_STAND_REQUIRED`) they fail.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

pub mod broker;
pub mod compare;
pub mod definition;
pub mod milvus;
pub mod objects;
pub mod patience;
pub mod process;
pub mod proxy;
pub mod rows;
pub mod service;
pub mod spec;
pub mod table;
pub mod workload;

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use tapedeck::change::CollectionName;
use tapedeck::tls::Tls;

pub use milvus::Milvus;
pub use patience::eventually;
pub use process::Process;
pub use service::Service;
pub use table::Table;

/// What a test ends with.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a test failed: text for a person.
pub struct Failure(pub String);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Failure(text)
    }
}

/// Ends a test with a text.
pub fn fail<T>(text: impl Into<String>) -> Outcome<T> {
    Err(Failure(text.into()))
}

/// Fails with `text` unless `condition` holds.
pub fn ensure(condition: bool, text: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { fail(text()) }
}

/// All random data of a run comes from this; `TAPEDECK_SEED` pins it.
pub static SEED: LazyLock<u64> = LazyLock::new(|| {
    let seed =
        std::env::var("TAPEDECK_SEED").ok().map_or_else(rand::random, |seed| seed.parse().expect("a number"));
    eprintln!("TAPEDECK_SEED={seed}");
    seed
});

/// Part of every name that a run gives, so that a stand can be used again. Not from the seed: a pinned run needs
/// fresh names as well.
pub static RUN: LazyLock<String> = LazyLock::new(|| format!("r{:08x}", rand::random::<u32>()));

/// A collection that no other test's task selects.
pub fn own(test: &str, part: &str) -> CollectionName {
    CollectionName::new("default", format!("own_{}_{test}_{part}", *RUN))
}

/// A name of a task or log.
pub fn task(test: &str) -> String {
    format!("{}-{test}", *RUN)
}

/// Random numbers for one purpose.
pub fn rng(purpose: &str) -> StdRng {
    let salt = purpose.bytes().fold(*SEED, |salt, byte| salt.rotate_left(9) ^ u64::from(byte));
    StdRng::seed_from_u64(salt)
}

/// A number from the environment.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |value| value.parse().expect(variable))
}

/// A port that is free now.
pub fn free_port() -> Outcome<u16> {
    let mut rng = rand::rng();
    let mut candidates = (0..100).map(|_| rng.random_range(12000..20000));
    // below the ephemeral range, so that no outgoing connection takes it meanwhile, and apart from the stand's own
    match candidates.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
        Some(port) => Ok(port),
        None => fail("no free port between 12000 and 20000"),
    }
}

/// Where the services listen: `DIR/stand.json`.
#[derive(Clone, Deserialize)]
pub struct Stand {
    /// host:port of etcd.
    pub etcd: String,
    /// The queue of the source, as `source.queue` of a task document has it.
    pub queue: serde_json::Value,
    /// Kafka for clients that go through a proxy, where the queue is Kafka.
    pub kafka_proxied: Option<Proxied>,
    /// Pulsar, where the queue is that.
    pub pulsar: Option<Pulsar>,
    /// The object store.
    pub minio: Minio,
    /// The Milvus that is recorded.
    pub source: Instance,
    /// The Milvus that is replayed into.
    pub target: Instance,
    /// Another one, once it was brought up.
    pub target2: Option<Instance>,
    /// Of a stand that was brought up with `--secured`.
    pub secured: Option<Secured>,
    #[serde(skip)]
    dir: PathBuf,
}

/// Kafka's clients go on to the address that it advertises.
#[derive(Clone, Deserialize)]
pub struct Proxied {
    /// host:port of Kafka itself.
    pub listener: String,
    /// host:port where the proxy has to listen.
    pub advertised: String,
}

/// A Pulsar.
#[derive(Clone, Deserialize)]
pub struct Pulsar {
    /// Of its operator interface.
    pub web: String,
}

/// Where everything speaks TLS and asks for logins, as `deploy/secured.py` says.
#[derive(Clone, Deserialize)]
pub struct Secured {
    /// The folder of the certificates.
    pub certificates: PathBuf,
    /// Of Kafka and etcd.
    pub user: String,
    pub password: String,
    /// host:port of the etcd that asks for no client certificate.
    pub etcd_one_way: String,
    /// host:port of Kafka's listener with a login and without TLS.
    #[serde(default)]
    pub kafka_login: String,
    /// host:port of Kafka's listener with client certificates and without a login.
    #[serde(default)]
    pub kafka_mutual: String,
    /// host:port of Pulsar's listener without TLS.
    #[serde(default)]
    pub pulsar_plain: String,
}

impl Secured {
    /// What a client of all its services brings.
    fn tls(&self) -> Outcome<Tls> {
        let read = |name: &str| std::fs::read_to_string(self.certificates.join(name));
        let identity = Some((read("client.pem")?, read("client.key")?));
        Ok(Tls { ca: Some(read("ca.pem")?), identity, server_name: None })
    }
}

/// An S3 store.
#[derive(Clone, Deserialize)]
pub struct Minio {
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    pub bucket: String,
}

/// One Milvus.
#[derive(Clone, Deserialize)]
pub struct Instance {
    /// Of its gRPC API.
    pub uri: String,
    /// Its `etcd.rootPath`.
    pub etcd_root: String,
    /// Where its files are; those of its segments in `data` below.
    pub dir: PathBuf,
    /// `user:password`, where it asks for one.
    pub token: Option<String>,
    /// Where it speaks TLS.
    #[serde(skip)]
    pub tls: Option<Tls>,
}

impl Stand {
    /// The stand, or none: then the test is skipped, visibly.
    pub fn find() -> Outcome<Option<Stand>> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Some(dir) = std::env::var_os("TAPEDECK_STAND").map(PathBuf::from) else {
            let required =
                ["CI", "TAPEDECK_STAND_REQUIRED"].iter().any(|name| std::env::var_os(name).is_some());
            ensure(!required, || {
                "no stand: set TAPEDECK_STAND to the directory of a running deploy/stand".into()
            })?;
            eprintln!("skipped: no stand (deploy/test starts one)");
            return Ok(None);
        };
        let path = dir.join("stand.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Failure(format!("{}: {error}", path.display())))?;
        let mut stand: Stand = serde_json::from_str(&text)?;
        stand.dir = dir;
        let tls = stand.secured.as_ref().map(Secured::tls).transpose()?;
        (stand.source.tls, stand.target.tls) = (tls.clone(), tls);
        Ok(Some(stand))
    }

    /// Which queue the source is on: `kafka`, `pulsar`, `rocksmq`.
    pub fn queue_kind(&self) -> &str {
        self.queue.as_object().and_then(|queue| queue.keys().next()).map_or("", String::as_str)
    }

    /// Where files of this run go.
    pub fn scratch(&self) -> Outcome<PathBuf> {
        let path = self.dir.join("tests").join(RUN.as_str());
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Lets `deploy/stand` do something with one service: `kill`, `stop`, `start`.
    pub async fn control(&self, verb: &'static str, service: &'static str) -> Outcome {
        self.program(&[verb, service]).await
    }

    async fn program(&self, arguments: &[&str]) -> Outcome {
        let mut program = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/stand"));
        program.args(arguments).arg("--dir").arg(&self.dir);
        let done = tokio::task::spawn_blocking(move || program.output()).await??;
        ensure(done.status.success(), || {
            format!("deploy/stand {arguments:?}: {}", String::from_utf8_lossy(&done.stderr))
        })
    }

    /// The same stand with another target, `target2`, that nobody has used.
    pub async fn with_new_target(&self) -> Outcome<Stand> {
        self.program(&["up", "--services", "target2", "--queue", self.queue_kind()]).await?;
        let Some(stand) = Stand::find()? else { return fail("the stand is gone") };
        let Some(target) = stand.target2.clone() else { return fail("the stand has no second target") };
        Ok(Stand { target, ..stand })
    }

    /// kill -9 of a service and its restart; returns when it serves again.
    pub async fn crash(&self, service: &'static str) -> Outcome {
        self.control("kill", service).await?;
        self.control("start", service).await
    }

    /// A client of the source.
    pub fn source(&self) -> Outcome<Milvus> {
        Milvus::at(&self.source)
    }

    /// A client of the target.
    pub fn target(&self) -> Outcome<Milvus> {
        Milvus::at(&self.target)
    }
}
