//! Task documents as JSON objects, so that a service that is started again goes on with its tasks.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::owner::Owner;
use super::spec::TaskSpec;
use super::state::State;
use super::status::LastError;
use super::upkeep::Upkeep;
use super::verification::Verification;
use crate::error::{Context, Error, Result};
use crate::log::store::{Created, Store};

/// Bumped when an older service could misread a document.
const FORMAT: u32 = 1;
const FOLDER: &str = "tasks/";

/// What is kept of a task. Secrets stand in it by reference only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Version of this format.
    pub format: u32,
    /// What was asked for.
    pub spec: TaskSpec,
    /// When (RFC 3339).
    pub created: String,
    /// As a person or an end left it: `running`, `paused`, `failed` or `done`.
    pub state: State,
    /// Since when (RFC 3339).
    pub since: String,
    /// Why it failed.
    pub last_error: Option<LastError>,
    /// TSO up to which it had recorded when this was written; 0: nothing.
    #[serde(default)]
    pub recorded_to: u64,
    /// TSO up to which it had applied when this was written; 0: nothing.
    #[serde(default)]
    pub applied_to: u64,
    /// The log (a uuid) that it has recorded into or replayed: it goes on with no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<String>,
    /// What the checks of its log have found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// What was done for its log beside recording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upkeep: Option<Upkeep>,
}

impl Document {
    /// That of a new task.
    pub fn new(spec: TaskSpec, now: String) -> Document {
        let (created, since) = (now.clone(), now);
        Document {
            format: FORMAT,
            spec,
            created,
            state: State::Running,
            since,
            last_error: None,
            recorded_to: 0,
            applied_to: 0,
            log_id: None,
            verification: None,
            upkeep: None,
        }
    }
}

/// Where documents are.
#[derive(Clone)]
pub struct TaskStore {
    store: Store,
    owner: Owner,
}

impl TaskStore {
    /// In a store.
    pub fn new(store: Store) -> TaskStore {
        TaskStore { owner: Owner::new(store.clone()), store }
    }

    /// Whose they are: only who has claimed them stores anything.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Where that is.
    pub fn url(&self) -> &str {
        self.store.url()
    }

    /// Writes a new one; false when the name is taken.
    pub async fn create(&self, document: &Document) -> Result<bool> {
        self.owner.check().await?;
        let created = self.store.create(&key(&document.spec.name), encode(document)?).await;
        Ok(matches!(created.context(|| doing("stored", document))?, Created::Yes))
    }

    /// Writes it anew.
    pub async fn put(&self, document: &Document) -> Result<()> {
        self.owner.check().await?;
        self.store
            .put(&key(&document.spec.name), encode(document)?)
            .await
            .context(|| doing("stored", document))
    }

    /// Writes it anew; one that is gone stays so.
    pub async fn put_known(&self, document: &Document) -> Result<()> {
        let name = &document.spec.name;
        match self.store.exists(&key(name)).await.context(|| doing("stored", document))? {
            true => self.put(document).await,
            false => Ok(()),
        }
    }

    /// Forgets one.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.owner.check().await?;
        self.store.delete(&key(name)).await.context(|| format!("task {name} is not forgotten"))
    }

    /// All of them, by name.
    pub async fn all(&self) -> Result<Vec<Document>> {
        let mut documents = Vec::new();
        let listed = self.store.list(FOLDER, None).await.context(|| "the tasks cannot be listed")?;
        for (key, _) in listed {
            if let Some(bytes) =
                self.store.get(&key).await.context(|| format!("task {key} cannot be read"))?
            {
                documents.push(decode(&key, &bytes)?);
            }
        }
        documents.sort_by(|a: &Document, b| a.spec.name.cmp(&b.spec.name));
        Ok(documents)
    }
}

fn doing(what: &str, document: &Document) -> String {
    format!("task {} is not {what}", document.spec.name)
}

fn key(name: &str) -> String {
    format!("{FOLDER}{name}.json")
}

/// `degraded` passes by itself and is not stored.
fn encode(document: &Document) -> Result<Bytes> {
    let mut stored = document.clone();
    if stored.state == State::Degraded {
        stored.state = State::Running;
    }
    let bytes = serde_json::to_vec_pretty(&stored);
    bytes
        .map(Bytes::from)
        .map_err(|error| Error::operator(format!("{}: {error}", doing("encoded", document))))
}

fn decode(key: &str, bytes: &[u8]) -> Result<Document> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let broken = |error: serde_json::Error| {
        Error::refused(format!("the task document {key} is damaged: {error}"))
            .advice("repair it by hand, or move it away and create the task again")
    };
    let Version { format } = serde_json::from_slice(bytes).map_err(broken)?;
    if format > FORMAT {
        return Err(Error::refused(format!(
            "the task document {key} has format {format}, newer than {FORMAT}"
        ))
        .advice("start a service of the version that wrote it, or newer"));
    }
    serde_json::from_slice(bytes).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> TaskSpec {
        let document = format!(
            r#"{{"name": "{name}", "kind": "replay", "log": {{"url": "file:///log"}}, "target": {{"uri": "http://h:1"}}}}"#
        );
        TaskSpec::parse(document.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn documents_come_back_as_they_were_and_a_name_is_taken_once() {
        let store = TaskStore::new(Store::memory());
        store.owner().claim().await.unwrap();
        let mut document = Document::new(spec("b"), "2026-11-23T08:00:00Z".to_owned());
        assert!(store.create(&document).await.unwrap());
        document.state = State::Paused;
        assert!(!store.create(&document).await.unwrap());
        store.put(&document).await.unwrap();
        let first = Document::new(spec("a"), String::new());
        store.create(&first).await.unwrap();
        assert_eq!(store.all().await.unwrap(), [first, document]);
        store.delete("a").await.unwrap();
        assert_eq!(store.all().await.unwrap().len(), 1);
    }

    #[test]
    fn a_newer_or_damaged_document_is_refused_by_name() {
        for (bytes, message) in
            [(&br#"{"format": 2}"#[..], "format 2"), (b"{", "damaged"), (br#"{"format": 1}"#, "damaged")]
        {
            let error = decode("tasks/a.json", bytes).unwrap_err();
            assert!(error.message.contains("tasks/a.json") && error.message.contains(message), "{error}");
        }
    }
}
