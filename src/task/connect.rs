//! From a document to connections: the one place where secrets are read and clients are made.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use super::encryption::EncryptionSpec;
use super::secret::{Secret, resolve};
use super::spec::{
    EtcdSpec, KafkaSpec, Kind, LogSpec, MechanismSpec, MilvusSpec, PulsarSpec, QueueSpec, RocksmqSpec,
    SourceSpec, StorageSpec, StoreSpec, TaskSpec,
};
use super::tls::TlsSpec;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::log::identity::Identity;
use crate::log::layout;
use crate::log::reader::no_log;
use crate::log::store::{Keys, Owner, ReadKeys, Store, StoreOptions};
use crate::position::Channel;
use crate::recorder::Recorder;
use crate::replayer::Replayer;
use crate::source::etcd::{EtcdCatalog, EtcdOptions};
use crate::source::kafka::{KafkaOptions, KafkaQueue, Login, Mechanism};
use crate::source::milvus::SourceMilvus;
use crate::source::pulsar::{PulsarOptions, PulsarQueue, Token};
#[cfg(feature = "rocksmq")]
use crate::source::rocksmq::RocksmqQueue;
use crate::source::{Queue, Storage};
use crate::target::Target;
use crate::target::milvus::{MilvusOptions, MilvusReader, MilvusTarget};
use crate::tls::Tls;

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

/// Where rows are that the queue no longer holds; none: it is not said.
pub(super) async fn storage(source: &SourceSpec) -> Result<Option<Storage>> {
    let store = |spec: &StorageSpec| {
        let StorageSpec { url, options } = spec.clone();
        async move { store_of(Owner::Source, &url, &options).await }
    };
    Ok(match (&source.storage, &source.backup) {
        (Some(spec), _) => Some(Storage::Source(store(spec).await?)),
        (None, Some(spec)) => Some(Storage::Backup(store(spec).await?)),
        (None, None) => None,
    })
}

async fn store_of(owner: Owner, url: &str, spec: &StoreSpec) -> Result<Store> {
    let options = StoreOptions {
        endpoint: spec.endpoint.clone(),
        region: spec.region.clone(),
        access_key_id: resolve(spec.access_key_id.as_ref())?,
        // that of Google is a document
        secret_access_key: spec.secret_access_key.as_ref().map(Secret::resolve_text).transpose()?,
        session_token: resolve(spec.session_token.as_ref())?,
        renewed: renewed(spec),
        virtual_hosted_style: spec.virtual_hosted_style,
        checksum: spec.checksum,
        ca: tls(spec.tls.as_ref())?.and_then(|tls| tls.ca),
        owner,
    };
    Store::open(url, &options).await
}

/// Reads the keys of S3 anew, where temporary ones are given.
fn renewed(spec: &StoreSpec) -> Option<ReadKeys> {
    let StoreSpec { access_key_id, secret_access_key, session_token, .. } = spec.clone();
    let (key, secret, token) = (access_key_id?, secret_access_key?, session_token?);
    Some(Arc::new(move || {
        Ok(Keys {
            access_key_id: key.resolve()?,
            secret_access_key: secret.resolve()?,
            session_token: Some(token.resolve()?),
        })
    }))
}

/// The store of a log that is only read; none where it would be a folder that there is not: none is made.
pub async fn store_to_read(spec: &LogSpec) -> Result<Option<Store>> {
    let folder = Url::parse(&spec.url).ok().filter(|url| url.scheme() == "file");
    if folder.and_then(|url| url.to_file_path().ok()).is_some_and(|folder| !folder.exists()) {
        return Ok(None);
    }
    log_store(spec).await.map(Some)
}

/// The store of a task's log; `log_id` is that of the log which it has recorded into or replayed. Where that is no more,
/// none is begun in its place, and no folder is made: its disk may come back.
pub(super) async fn log_store_of(spec: &LogSpec, log_id: Option<&str>) -> Result<Store> {
    let Some(log_id) = log_id else { return log_store(spec).await };
    let there = store_to_read(spec).await?;
    let found = match &there {
        Some(store) => Identity::load(store).await?,
        None => None,
    };
    match (there, found) {
        (Some(store), Some(identity)) if identity.log_id == log_id => Ok(store),
        (_, found) => Err(another_log(&spec.url, log_id, found)),
    }
}

fn another_log(url: &str, expected: &str, found: Option<Identity>) -> Error {
    let found = found.map_or("there is no log".to_owned(), |found| format!("the log is {}", found.log_id));
    Error::operator(format!("this task works on the log {expected}, but at {url} {found}")).advice(
        "its disk may not be mounted, or its bucket was emptied or made anew: bring the log back and resume the task. \
         If another log is meant, delete the task and create it again, or give the new one another log.url",
    )
}

pub(super) async fn recorder(spec: &TaskSpec, log_id: Option<&str>) -> Result<Recorder> {
    let source = spec.source.as_ref().ok_or_else(|| missing("source"))?;
    Ok(Recorder {
        store: log_store_of(&spec.log, log_id).await?,
        selection: spec.selection()?,
        queue: queue(&source.queue).await?,
        catalog: Box::new(catalog(&source.etcd).await?),
        milvus: source.milvus.as_ref().map(asked).transpose()?,
        storage: storage(source).await?,
        replicate_channel: source.replicate_channel.as_deref().map(Channel::from),
        start: spec.start(),
    })
}

/// None when cancelled before the log was there: that of a `replicate` is made by its recorder.
pub(super) async fn replayer(
    spec: &TaskSpec,
    log_id: Option<&str>,
    cancel: &CancellationToken,
) -> Result<Option<Replayer>> {
    let store = match (log_id, spec.kind) {
        (Some(_), _) | (None, Kind::Replicate) => log_store_of(&spec.log, log_id).await?,
        (None, _) => store_to_read(&spec.log).await?.ok_or_else(|| no_log(&spec.log.url))?,
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
        unchecked: spec.unchecked,
    }))
}

pub(super) async fn queue(spec: &QueueSpec) -> Result<Arc<dyn Queue>> {
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

pub(super) async fn catalog(spec: &EtcdSpec) -> Result<EtcdCatalog> {
    EtcdCatalog::connect(&EtcdOptions {
        endpoints: spec.endpoints.clone(),
        root_path: spec.root_path.clone(),
        meta_sub_path: spec.meta_sub_path.clone(),
        user: user(spec.username.as_ref(), spec.password.as_ref())?,
        tls: tls(spec.tls.as_ref())?,
    })
    .await
}

pub(super) fn asked(spec: &MilvusSpec) -> Result<SourceMilvus> {
    let (token, tls) = (resolve(spec.token.as_ref())?, tls(spec.tls.as_ref())?);
    SourceMilvus::new(&spec.uri, token.as_deref(), tls.as_ref())
}

pub(super) fn target(spec: &MilvusSpec) -> Result<Arc<dyn Target>> {
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
    use crate::task::check::check_log;
    use crate::task::fake::replay_of;

    #[tokio::test]
    async fn the_replayer_of_a_replicate_waits_until_the_log_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let spec = replay_of(folder.path(), "replicate");
        let cancel = CancellationToken::new();
        let waiting = replayer(&spec, None, &cancel);
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
        assert!(replayer(&replay_of(folder.path(), "replicate"), None, &cancel).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_replay_of_no_log_makes_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("typo");
        let spec = replay_of(&nowhere, "replay");
        let replayed = replayer(&spec, None, &CancellationToken::new()).await.map(drop);
        for error in [replayed.unwrap_err(), check_log(&spec).await.unwrap_err()] {
            assert!(error.message.contains("there is no log at file://"), "{error}");
        }
        assert!(!nowhere.exists());
    }

    #[cfg(not(feature = "rocksmq"))]
    #[tokio::test]
    async fn a_rocksmq_without_rocksdb_is_refused_with_what_to_build() {
        let error = rocksmq(&RocksmqSpec { path: "/var/lib/milvus/rdb_data".into() }).await.err().unwrap();
        assert!(error.message.contains("without RocksDB"), "{error}");
        assert!(error.advice.unwrap().contains("the feature rocksmq"));
    }
}
