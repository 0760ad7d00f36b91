//! Every connection of a task, tried once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::{FutureExt, join_all};
use url::Url;

use super::connect::{asked, catalog, log_store, queue, storage, store_to_read, target};
use super::encryption::EncryptionSpec;
use super::spec::{EtcdSpec, LogSpec, QueueSpec, SourceSpec, StoreSpec, TaskSpec};
use crate::error::{Error, Result};
use crate::log::reader::{LogReader, no_log};
use crate::position::Seq;
use crate::recorder::{check_origin, check_replicate_channel, check_storage, newest};
use crate::source::{CatalogSource, Observation};

const CHECK_TIME: Duration = Duration::from_secs(10);

/// One connection that was tried.
#[derive(Debug)]
pub struct Check {
    /// Which, by its place in the document and its address.
    pub what: String,
    /// What it says of itself, or what is wrong.
    pub outcome: Result<String>,
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
        let places = [("storage", &source.storage), ("backup", &source.backup)];
        for (what, place) in places.into_iter().filter_map(|(what, spec)| Some((what, spec.as_ref()?))) {
            let place = format!("source.{what} {}", at(&place.url, &place.options));
            checks.push(check_one(place, check_segments(source)).boxed());
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

/// Folders that a check of a local log makes on its way: those that are still empty go when it is over.
struct Made(Vec<PathBuf>);

impl Made {
    /// The one of the probe, and those that are not there yet; the innermost first.
    fn by_a_check(url: &str) -> Made {
        let folder = Url::parse(url).ok().filter(|url| url.scheme() == "file");
        let Some(folder) = folder.and_then(|url| url.to_file_path().ok()) else { return Made(Vec::new()) };
        let missing = folder.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned);
        Made([folder.join("probe")].into_iter().chain(missing).collect())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in &self.0 {
            // What is in use is not empty.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

pub(super) async fn check_log(spec: &TaskSpec) -> Result<String> {
    if spec.kind.records() {
        let _made = Made::by_a_check(&spec.log.url);
        let store = log_store(&spec.log).await?;
        let note = store.probe().await?.map(|note| format!("; {note}")).unwrap_or_default();
        LogReader::find(store).await?;
        return Ok(format!("readable, writable, put-if-absent works{note}"));
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

/// Whether what etcd, or the backup, names is there and can be read.
async fn check_segments(source: &SourceSpec) -> Result<String> {
    let Some(storage) = storage(source).await? else { return Ok("is not given".to_owned()) };
    let stored = check_storage(&storage, &mut catalog(&source.etcd).await?).await?;
    Ok(match stored {
        0 => "nothing is stored yet: there is no file to try".to_owned(),
        stored => format!("{stored} segments, a file of one was read"),
    })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::log::verify::Scope;
    use crate::task::fake::replay_of;
    use crate::task::work::Work;

    #[tokio::test]
    async fn a_replay_of_no_log_is_an_error_that_names_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let error = check_log(&replay_of(folder.path(), "replay")).await.unwrap_err();
        assert!(error.message.contains("there is no log at file://") && error.advice.is_some());
    }

    #[tokio::test]
    async fn a_check_of_a_log_that_is_not_there_yet_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = |folder: &Path| std::fs::read_dir(folder).unwrap().next().is_none();
        let said = check_log(&replay_of(&folder.path().join("logs/dr"), "replicate")).await.unwrap();
        assert!(said.contains("put-if-absent works") && nothing(folder.path()));
        let there = folder.path().join("there");
        std::fs::create_dir(&there).unwrap();
        check_log(&replay_of(&there, "replicate")).await.unwrap();
        assert!(nothing(&there));
        let notes = there.join("notes");
        std::fs::write(&notes, "mine").unwrap();
        check_log(&replay_of(&there.join("log"), "replicate")).await.unwrap();
        assert!(notes.exists() && !there.join("log").exists());
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
}
