//! From a document to connections: the one place where secrets are read and clients are made.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::encryption::EncryptionSpec;
use super::secret::{Secret, resolve};
use super::spec::{
    EtcdSpec, KafkaSpec, Kind, LogSpec, MechanismSpec, MilvusSpec, PulsarSpec, QueueSpec, RocksmqSpec,
    SourceSpec, StorageSpec, StoreSpec, TaskSpec,
};
use super::tls::TlsSpec;
use super::verification::gently;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::log::layout;
use crate::log::reader::{LogReader, no_log};
use crate::log::store::{Owner, Store, StoreOptions};
use crate::log::verify::{Report, Scope};
use crate::position::{Channel, Seq};
use crate::progress::{RecordProgress, ReplayProgress};
use crate::recorder::{Recorder, check_origin, check_replicate_channel, check_storage, newest};
use crate::replayer::Replayer;
use crate::source::etcd::{EtcdCatalog, EtcdOptions};
use crate::source::kafka::{KafkaOptions, KafkaQueue, Login, Mechanism};
use crate::source::milvus::SourceMilvus;
use crate::source::pulsar::{PulsarOptions, PulsarQueue, Token};
#[cfg(feature = "rocksmq")]
use crate::source::rocksmq::RocksmqQueue;
use crate::source::{CatalogSource, Observation, Queue};
use crate::target::Target;
use crate::target::milvus::{MilvusOptions, MilvusReader, MilvusTarget};
use crate::tls::Tls;

const CHECK_TIME: Duration = Duration::from_secs(10);

/// A half of a task: connects and runs until cancelled, until its end, or until an error.
pub type Half<P> = Arc<
    dyn Fn(Arc<TaskSpec>, Arc<watch::Sender<P>>, CancellationToken) -> BoxFuture<'static, Result<()>>
        + Send
        + Sync,
>;

/// Verifies a part of a task's log.
pub type Verify = Arc<dyn Fn(Arc<TaskSpec>, Scope) -> BoxFuture<'static, Result<Report>> + Send + Sync>;

/// What tasks do. Tests put their own here.
#[derive(Clone)]
pub struct Work {
    /// The recording half.
    pub record: Half<RecordProgress>,
    /// The replaying half.
    pub replay: Half<ReplayProgress>,
    /// Tries every connection of a task once.
    pub check: Arc<dyn Fn(Arc<TaskSpec>) -> BoxFuture<'static, Vec<Check>> + Send + Sync>,
    /// Verifies its log.
    pub verify: Verify,
}

/// One connection that was tried.
#[derive(Debug)]
pub struct Check {
    /// Which, by its place in the document and its address.
    pub what: String,
    /// What it says of itself, or what is wrong.
    pub outcome: Result<String>,
}

impl Work {
    /// With real connections.
    pub fn real() -> Work {
        Work {
            record: Arc::new(|spec, progress, cancel| {
                async move { recorder(&spec).await?.run(&progress, cancel).await }.boxed()
            }),
            replay: Arc::new(|spec, progress, cancel| {
                async move {
                    match replayer(&spec, &cancel).await? {
                        Some(replayer) => replayer.run(&progress, cancel).await,
                        None => Ok(()),
                    }
                }
                .boxed()
            }),
            check: Arc::new(|spec| async move { check(&spec).await }.boxed()),
            verify: Arc::new(|spec, scope| {
                async move {
                    rows_can_be_read(&spec.log)?;
                    let store = store_to_read(&spec.log).await?.ok_or_else(|| no_log(&spec.log.url))?;
                    gently(store, scope).await
                }
                .boxed()
            }),
        }
    }
}

/// The store of a log, which is encrypted where the document says so.
pub async fn log_store(spec: &LogSpec) -> Result<Store> {
    let encryption = spec.encryption.as_ref().map(EncryptionSpec::resolve).transpose()?;
    let store = store(&spec.url, &spec.options).await?;
    Ok(match encryption {
        Some(encryption) => store.encrypted(encryption),
        None => store,
    })
}

/// An object store, as those of the service's own documents.
pub async fn store(url: &str, spec: &StoreSpec) -> Result<Store> {
    store_of(Owner::Log, url, spec).await
}

async fn storage(spec: &StorageSpec) -> Result<Store> {
    store_of(Owner::Source, &spec.url, &spec.options).await
}

async fn store_of(owner: Owner, url: &str, spec: &StoreSpec) -> Result<Store> {
    let options = StoreOptions {
        endpoint: spec.endpoint.clone(),
        region: spec.region.clone(),
        access_key_id: resolve(spec.access_key_id.as_ref())?,
        // that of Google is a document
        secret_access_key: spec.secret_access_key.as_ref().map(Secret::resolve_text).transpose()?,
        session_token: resolve(spec.session_token.as_ref())?,
        virtual_hosted_style: spec.virtual_hosted_style,
        ca: tls(spec.tls.as_ref())?.and_then(|tls| tls.ca),
        owner,
    };
    Store::open(url, &options).await
}

/// The store of a log that is only read; none where it would be a folder that there is not: none is made.
pub async fn store_to_read(spec: &LogSpec) -> Result<Option<Store>> {
    let folder = Url::parse(&spec.url).ok().filter(|url| url.scheme() == "file");
    if folder.and_then(|url| url.to_file_path().ok()).is_some_and(|folder| !folder.exists()) {
        return Ok(None);
    }
    log_store(spec).await.map(Some)
}

fn rows_can_be_read(spec: &LogSpec) -> Result<()> {
    match &spec.encryption {
        Some(EncryptionSpec { identity: None, .. }) => {
            Err(Error::usage("log.encryption.identity: it is missing; rows cannot be verified without it")
                .advice(
                    "add it to the task, or verify where the key is: `tapedeck log verify --identity FILE`",
                ))
        }
        _ => Ok(()),
    }
}

/// Tries every connection of a task once, all at the same time.
pub async fn check(spec: &TaskSpec) -> Vec<Check> {
    let at = |url: &str, options: &StoreSpec| {
        let endpoint = options.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}"));
        format!("{url}{}", endpoint.unwrap_or_default())
    };
    let log = format!("log {}", at(&spec.log.url, &spec.log.options));
    let mut checks = vec![check_one(log, check_log(spec)).boxed()];
    if let Some(encryption) = &spec.log.encryption {
        let trying = check_encryption(&spec.log, encryption);
        checks.push(check_one("log.encryption".to_owned(), trying).boxed());
    }
    if let Some(source) = &spec.source {
        let etcd = format!("source.etcd {}", source.etcd.endpoints.join(","));
        checks.push(check_one(etcd, check_catalog(&source.etcd)).boxed());
        let queue = match &source.queue {
            QueueSpec::Kafka(kafka) => format!("source.queue.kafka {}", kafka.brokers),
            QueueSpec::Pulsar(pulsar) => format!("source.queue.pulsar {}", pulsar.url),
            QueueSpec::Rocksmq(rocksmq) => format!("source.queue.rocksmq {}", rocksmq.path.display()),
        };
        checks.push(check_one(queue, check_queue(source)).boxed());
        if let Some(storage) = &source.storage {
            let trying = check_segments(storage, &source.etcd);
            let storage = format!("source.storage {}", at(&storage.url, &storage.options));
            checks.push(check_one(storage, trying).boxed());
        }
        if let Some(milvus) = &source.milvus {
            let hello = async { asked(milvus)?.hello().await };
            checks.push(check_one(format!("source.milvus {}", milvus.uri), hello).boxed());
        }
    }
    if let Some(milvus) = &spec.target {
        let hello = async { target(milvus)?.hello().await };
        checks.push(check_one(format!("target {}", milvus.uri), hello).boxed());
    }
    join_all(checks).await
}

async fn check_one(what: String, trying: impl Future<Output = Result<String>>) -> Check {
    let seconds = CHECK_TIME.as_secs();
    let outcome = tokio::time::timeout(CHECK_TIME, trying).await.unwrap_or_else(|_| {
        Err(Error::retry(format!("no answer within {seconds} s")).advice("check the address and the network"))
    });
    Check { what, outcome }
}

async fn check_log(spec: &TaskSpec) -> Result<String> {
    if spec.kind.records() {
        let store = log_store(&spec.log).await?;
        store.probe().await?;
        LogReader::find(store).await?;
        return Ok("readable, writable, put-if-absent works".to_owned());
    }
    let store = store_to_read(&spec.log).await?.ok_or_else(|| no_log(&spec.log.url))?;
    Ok(format!("log {}", LogReader::open(store).await?.log_id()))
}

/// Whether the keys fit each other, and an identity the rows that are there; the log's own line says the rest.
async fn check_encryption(log: &LogSpec, spec: &EncryptionSpec) -> Result<String> {
    spec.resolve()?;
    let recipients = match spec.recipients.len() {
        0 => String::new(),
        count => format!(", recipients: {count}"),
    };
    let rows = match spec.identity {
        None => "the recorder's own key opens no rows",
        Some(_) if opens_rows(log).await? => "the identity opens rows",
        Some(_) => "there are no rows yet to try the identity on",
    };
    Ok(format!("age{recipients}; {rows}"))
}

/// Tries the first segment; false where there is none.
async fn opens_rows(log: &LogSpec) -> Result<bool> {
    let Some(store) = store_to_read(log).await? else { return Ok(false) };
    let Some(reader) = LogReader::find(store).await? else { return Ok(false) };
    let segments = match reader.beginning().await? {
        Some(base) => base.segments,
        None => reader.commit(Seq(1)).await?.map(|first| first.commit.segments).unwrap_or_default(),
    };
    let Some(named) = segments.first() else { return Ok(false) };
    reader.segment(named).await.map(|_| true)
}

/// Also sees whether a Milvus is there.
async fn check_catalog(spec: &EtcdSpec) -> Result<String> {
    let mut catalog = catalog(spec).await?;
    let found = catalog.read().await?.live;
    let (databases, collections) = (found.databases.len(), found.collections.len());
    Ok(format!("{databases} databases, {collections} collections"))
}

/// Whether what etcd names is there and can be read.
async fn check_segments(spec: &StorageSpec, etcd: &EtcdSpec) -> Result<String> {
    let storage = storage(spec).await?;
    let stored = check_storage(&storage, &mut catalog(etcd).await?).await?;
    Ok(match stored {
        0 => "nothing is stored yet: there is no file to try".to_owned(),
        stored => format!("{stored} segments, a file of one was read"),
    })
}

async fn recorder(spec: &TaskSpec) -> Result<Recorder> {
    let source = spec.source.as_ref().ok_or_else(|| missing("source"))?;
    Ok(Recorder {
        store: log_store(&spec.log).await?,
        selection: spec.selection()?,
        queue: queue(&source.queue).await?,
        catalog: Box::new(catalog(&source.etcd).await?),
        milvus: source.milvus.as_ref().map(asked).transpose()?,
        storage: match &source.storage {
            Some(spec) => Some(storage(spec).await?),
            None => None,
        },
        replicate_channel: source.replicate_channel.as_deref().map(Channel::from),
        start: spec.start(),
    })
}

/// None when cancelled before the log was there: that of a `replicate` is made by its recorder.
pub(super) async fn replayer(spec: &TaskSpec, cancel: &CancellationToken) -> Result<Option<Replayer>> {
    let store = match spec.kind {
        Kind::Replicate => log_store(&spec.log).await?,
        _ => store_to_read(&spec.log).await?.ok_or_else(|| no_log(&spec.log.url))?,
    };
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    while spec.kind == Kind::Replicate && !store.exists(layout::IDENTITY).await? {
        if !backoff.wait(cancel).await {
            return Ok(None);
        }
    }
    Ok(Some(Replayer {
        store,
        selection: spec.selection()?,
        renames: spec.renames()?,
        target: target(spec.target.as_ref().ok_or_else(|| missing("target"))?)?,
        reader: spec.name.clone(),
        until: spec.until(),
        skip: spec.skip()?,
    }))
}

/// Also sees whether it is the queue of this etcd and can be read, and whether the replicate channel is there, or can come
/// to be.
async fn check_queue(spec: &SourceSpec) -> Result<String> {
    let queue = queue(&spec.queue).await?;
    let identity = queue.identity().await?;
    let found = async { catalog(&spec.etcd).await?.read().await };
    let Ok(Observation { live, .. }) = found.await else {
        return Ok(identity); // etcd's own line says why
    };
    if let Some((channel, announcement)) = newest(&live).into_iter().max_by_key(|(_, it)| *it) {
        check_origin(queue.as_ref(), &channel, announcement).await?;
    }
    if let Some(channel) = &spec.replicate_channel {
        check_replicate_channel(queue.as_ref(), &channel.as_str().into(), &live).await?;
    }
    Ok(identity)
}

async fn queue(spec: &QueueSpec) -> Result<Arc<dyn Queue>> {
    match spec {
        QueueSpec::Kafka(kafka) => self::kafka(kafka),
        QueueSpec::Pulsar(pulsar) => self::pulsar(pulsar),
        QueueSpec::Rocksmq(rocksmq) => self::rocksmq(rocksmq).await,
    }
}

fn kafka(spec: &KafkaSpec) -> Result<Arc<dyn Queue>> {
    let user = user(spec.username.as_ref(), spec.password.as_ref())?;
    let mechanism = match spec.mechanism {
        MechanismSpec::Plain => Mechanism::Plain,
        MechanismSpec::ScramSha256 => Mechanism::ScramSha256,
        MechanismSpec::ScramSha512 => Mechanism::ScramSha512,
    };
    let login = user.map(|(user, password)| Login { mechanism, user, password });
    let (brokers, tls) = (spec.brokers.clone(), tls(spec.tls.as_ref())?);
    Ok(Arc::new(KafkaQueue::connect(KafkaOptions { brokers, login, tls })?))
}

fn pulsar(spec: &PulsarSpec) -> Result<Arc<dyn Queue>> {
    Ok(Arc::new(PulsarQueue::connect(&PulsarOptions {
        url: spec.url.clone(),
        tenant: spec.tenant.clone(),
        namespace: spec.namespace.clone(),
        token: spec.token.clone().map(|secret| Token::new(move || secret.resolve())),
        tls: tls(spec.tls.as_ref())?,
    })?))
}

#[cfg(feature = "rocksmq")]
async fn rocksmq(spec: &RocksmqSpec) -> Result<Arc<dyn Queue>> {
    Ok(Arc::new(RocksmqQueue::open(&spec.path).await?))
}

#[cfg(not(feature = "rocksmq"))]
async fn rocksmq(_: &RocksmqSpec) -> Result<Arc<dyn Queue>> {
    Err(Error::usage("source.queue.rocksmq: this tapedeck was built without RocksDB")
        .advice("build it with the feature rocksmq, which is on by default"))
}

async fn catalog(spec: &EtcdSpec) -> Result<EtcdCatalog> {
    EtcdCatalog::connect(&EtcdOptions {
        endpoints: spec.endpoints.clone(),
        root_path: spec.root_path.clone(),
        meta_sub_path: spec.meta_sub_path.clone(),
        user: user(spec.username.as_ref(), spec.password.as_ref())?,
        tls: tls(spec.tls.as_ref())?,
    })
    .await
}

fn asked(spec: &MilvusSpec) -> Result<SourceMilvus> {
    let (token, tls) = (resolve(spec.token.as_ref())?, tls(spec.tls.as_ref())?);
    SourceMilvus::new(&spec.uri, token.as_deref(), tls.as_ref())
}

fn target(spec: &MilvusSpec) -> Result<Arc<dyn Target>> {
    Ok(Arc::new(MilvusTarget::new(milvus(spec)?)?))
}

/// A Milvus that is only read; `whose` (source, target) stands in the errors.
pub fn reader(whose: &'static str, spec: &MilvusSpec) -> Result<MilvusReader> {
    MilvusReader::new(whose, &milvus(spec)?)
}

fn milvus(spec: &MilvusSpec) -> Result<MilvusOptions> {
    let (token, tls) = (resolve(spec.token.as_ref())?, tls(spec.tls.as_ref())?);
    Ok(MilvusOptions { token, tls, ..MilvusOptions::new(&spec.uri) })
}

fn tls(spec: Option<&TlsSpec>) -> Result<Option<Tls>> {
    spec.map(TlsSpec::resolve).transpose()
}

fn user(name: Option<&Secret>, password: Option<&Secret>) -> Result<Option<(String, String)>> {
    Ok(resolve(name)?.zip(resolve(password)?))
}

fn missing(section: &str) -> Error {
    Error::usage(format!("{section}: it is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay_of(folder: &std::path::Path, kind: &str) -> TaskSpec {
        let mut spec = serde_json::json!({"name": "r", "kind": kind, "log": {"url": format!("file://{}", folder.display())},
            "target": {"uri": "http://127.0.0.1:1"}});
        if kind == "replicate" {
            spec["source"] = serde_json::json!({"etcd": {"endpoints": ["http://127.0.0.1:1"]}, "queue": {"kafka": {"brokers": "127.0.0.1:1"}}});
        }
        TaskSpec::parse(spec.to_string().as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn the_replayer_of_a_replicate_waits_until_the_log_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let spec = replay_of(folder.path(), "replicate");
        let cancel = CancellationToken::new();
        let waiting = replayer(&spec, &cancel);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        std::fs::write(folder.path().join(layout::IDENTITY), "{}").unwrap();
        assert!(waiting.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn waiting_for_the_log_ends_with_the_task() {
        let folder = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(replayer(&replay_of(folder.path(), "replicate"), &cancel).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_replay_of_no_log_is_an_error_that_names_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let error = check_log(&replay_of(folder.path(), "replay")).await.unwrap_err();
        assert!(error.message.contains("there is no log at file://") && error.advice.is_some());
    }

    /// The golden encrypted log, with keys from files.
    fn encrypted(keys: serde_json::Value) -> TaskSpec {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/golden");
        let mut spec = replay_of(&golden.join("v1-encrypted"), "replay");
        let key = |name: &str| serde_json::json!({"file": golden.join("keys").join(name)});
        let keys = keys
            .as_object()
            .unwrap()
            .iter()
            .map(|(field, name)| (field.clone(), key(name.as_str().unwrap())));
        let keys = serde_json::Value::Object(keys.collect());
        spec.log.encryption = Some(serde_json::from_value(keys).unwrap());
        spec
    }

    #[tokio::test]
    async fn an_encrypted_log_is_checked_with_its_keys() {
        let spec = encrypted(serde_json::json!({"identity": "reader.key"}));
        assert!(check_log(&spec).await.unwrap().starts_with("log "));
        let keys = |spec: &TaskSpec| spec.log.encryption.clone().unwrap();
        assert_eq!(check_encryption(&spec.log, &keys(&spec)).await.unwrap(), "age; the identity opens rows");
        let recorders = encrypted(serde_json::json!({"identity": "recorder.key"}));
        let error = check_encryption(&recorders.log, &keys(&recorders)).await.unwrap_err();
        assert!(error.message.contains("object segments/1-1-"), "{error}");
        let nowhere = LogSpec { url: "memory://of-no-log".to_owned(), ..spec.log.clone() };
        let said = check_encryption(&nowhere, &keys(&spec)).await.unwrap();
        assert_eq!(said, "age; there are no rows yet to try the identity on");
        let mut none = spec.clone();
        none.log.encryption = None;
        let error = check_log(&none).await.unwrap_err();
        assert!(
            error.message.contains("object log.json") && error.message.contains("is encrypted (age)"),
            "{error}"
        );
        let wrong = encrypted(serde_json::json!({"identity": "README.md"}));
        let error = check_log(&wrong).await.unwrap_err();
        assert!(error.message.contains("keys/README.md: a line of it is no secret key of age"), "{error}");
        let clear =
            TaskSpec { log: LogSpec { url: spec.log.url.replace("v1-encrypted", "v1"), ..spec.log }, ..none };
        let error = check_log(&clear).await.unwrap_err();
        assert!(
            error.message.contains("object log.json") && error.message.contains("is not encrypted"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn rows_are_not_verified_with_a_recorders_key() {
        let spec = encrypted(serde_json::json!({"recorder_identity": "recorder.key"}));
        let keys = spec.log.encryption.as_ref().unwrap();
        let said = check_encryption(&spec.log, keys).await.unwrap();
        assert_eq!(said, "age; the recorder's own key opens no rows");
        let error = (Work::real().verify)(Arc::new(spec), Scope::Whole).await.unwrap_err();
        assert!(error.message.starts_with("log.encryption.identity: it is missing"), "{error}");
        assert!(error.advice.unwrap().contains("--identity FILE"));
    }

    #[tokio::test]
    async fn a_replay_of_no_log_makes_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("typo");
        let spec = replay_of(&nowhere, "replay");
        let replayed = replayer(&spec, &CancellationToken::new()).await.map(drop);
        for error in [replayed.unwrap_err(), check_log(&spec).await.unwrap_err()] {
            assert!(error.message.contains("there is no log at file://"), "{error}");
        }
        assert!(!nowhere.exists());
    }

    #[tokio::test]
    async fn the_log_of_a_task_is_verified_with_pauses_and_from_where_it_is_asked() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/golden/v1");
        let spec = Arc::new(replay_of(&folder, "replay"));
        let verify = Work::real().verify;
        let whole = verify(spec.clone(), Scope::Whole).await.unwrap();
        let part = verify(spec, Scope::After(Seq(1))).await.unwrap();
        assert_eq!([(whole.from, whole.segments), (part.from, part.segments)], [(1, 2), (2, 1)]);
    }

    #[cfg(not(feature = "rocksmq"))]
    #[tokio::test]
    async fn a_rocksmq_without_rocksdb_is_refused_with_what_to_build() {
        let error = rocksmq(&RocksmqSpec { path: "/var/lib/milvus/rdb_data".into() }).await.err().unwrap();
        assert!(error.message.contains("without RocksDB"), "{error}");
        assert!(error.advice.unwrap().contains("the feature rocksmq"));
    }
}
