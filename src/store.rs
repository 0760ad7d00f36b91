//! The object store under one prefix: whole objects, plain puts, put-if-absent.
//!
//! Nothing else is asked of a store, so that S3, MinIO, GCS, Azure, a local folder and memory all do. Errors say who
//! acts now; no error carries a credential. Where an [`encryption::Encryption`] is given, nothing is put in clear, and
//! nothing that is in clear is taken.

pub mod encryption;
mod failure;
mod folder;
mod open;
mod probe;
mod renewed;
mod unreadable;
mod upload;

use std::fmt;
use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutResult};

use crate::error::{Error, Result, Verdict};
use encryption::{Encryption, apart, is_encrypted};
use failure::failure;
use folder::Folder;
use upload::Uploads;

pub use renewed::{Keys, ReadKeys};
pub use unreadable::Unreadable;

/// Whose store it is: what people are told to correct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// tapedeck's own: it is written.
    #[default]
    Log,
    /// The source's: it is only read, and nothing is made where it should be.
    Source,
}

impl Owner {
    /// Its section of a task document.
    fn section(self) -> &'static str {
        match self {
            Owner::Log => "log",
            Owner::Source => "source.storage",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Owner::Log => "the log",
            Owner::Source => "the source's storage",
        })
    }
}

/// How a store is reached. What is not given comes from the environment, as the store's own tools have it
/// (`AWS_...`, `GOOGLE_...`, `AZURE_...`).
#[derive(Clone, Default)]
pub struct StoreOptions {
    /// URL of the service; `http://` is allowed.
    pub endpoint: Option<String>,
    /// Region of the bucket; `us-east-1` where none is given.
    pub region: Option<String>,
    /// Access key; of Azure the account.
    pub access_key_id: Option<String>,
    /// Its secret; of Azure the account's key, of GCS the service account's JSON.
    pub secret_access_key: Option<String>,
    /// Token of temporary credentials.
    pub session_token: Option<String>,
    /// Reads access key, secret and token of S3 anew; none: they stay as they are.
    pub renewed: Option<ReadKeys>,
    /// `bucket.host` instead of `host/bucket`.
    pub virtual_hosted_style: bool,
    /// Each put carries a SHA-256, as buckets with a retention (Object Lock) want it.
    pub checksum: bool,
    /// Whom to trust, PEM, besides whom the system trusts.
    pub ca: Option<String>,
    /// Whose it is.
    pub owner: Owner,
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "***");
        f.debug_struct("StoreOptions")
            .field("endpoint", &self.endpoint.as_ref().filter(|endpoint| !endpoint.contains('@')))
            .field("region", &self.region)
            .field("access_key_id", &hidden(&self.access_key_id))
            .field("secret_access_key", &hidden(&self.secret_access_key))
            .field("session_token", &hidden(&self.session_token))
            .field("virtual_hosted_style", &self.virtual_hosted_style)
            .finish()
    }
}

/// No object is longer; a longer one is not read into memory.
const LARGEST: u64 = 1 << 30;

/// A prefix of an object store. Keys are relative to it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Arc<str>,
    owner: Owner,
    /// Of a local one.
    folder: Option<Folder>,
    encryption: Option<Arc<Encryption>>,
    /// Whether it is tried out: what answers may be no store at all.
    on_trial: bool,
    /// Whether its credentials are read anew while it is used.
    renews: bool,
    uploads: Arc<Uploads>,
}

/// The outcome of a put-if-absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is there, with these bytes.
    Yes,
    /// Another object is there: its bytes.
    No(Bytes),
}

impl Store {
    /// The store behind a URL: `file:///folder`, `s3://bucket/prefix`, `gs://`, `az://container/prefix`, `memory://name`
    /// (within this process). Nothing is asked of it yet; a local folder for a log is created.
    pub async fn open(url: &str, options: &StoreOptions) -> Result<Store> {
        let (inner, prefix) = open::open(url, options)?;
        let store = Store::new(inner, prefix, url.trim_end_matches('/').to_owned());
        let renews = options.renewed.is_some();
        Ok(Store { owner: options.owner, folder: Folder::hold(url)?, renews, ..store })
    }

    /// A prefix of `inner`. `url` is shown to people.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: Path, url: String) -> Store {
        Store {
            inner,
            prefix,
            url: url.into(),
            owner: Owner::Log,
            folder: None,
            encryption: None,
            on_trial: false,
            renews: false,
            uploads: Arc::default(),
        }
    }

    /// The same store, with every object encrypted.
    pub fn encrypted(self, encryption: Encryption) -> Store {
        Store { encryption: Some(Arc::new(encryption)), ..self }
    }

    /// An empty store in memory, shared with nothing but its clones.
    pub fn memory() -> Store {
        Store::new(Arc::new(object_store::memory::InMemory::new()), Path::ROOT, "memory://".into())
    }

    /// What people call it. Carries no secret.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it can hold a log: it is there, takes objects, gives them back, lists them, deletes them, and refuses
    /// to create one twice. Leaves no object behind, but where a policy keeps it: then it says so.
    pub async fn probe(&self) -> Result<Option<String>> {
        probe::probe(&Store { on_trial: true, ..self.clone() }).await
    }

    /// The object's bytes; none where there is no such object. `Refused` where it is there and cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        self.read(key).await?.transpose().map_err(|why| why.error(self, key))
    }

    /// As [`Store::get`], for those who go on after an object that cannot be read.
    pub async fn read(&self, key: &str) -> Result<Option<Result<Bytes, Unreadable>>> {
        let path = self.path(key)?;
        let Some(found) = self.absent_is_none(self.inner.get(&path).await, "read", key)? else {
            return Ok(None);
        };
        if found.meta.size > LARGEST {
            return Ok(Some(Err(Unreadable::TooLarge(found.meta.size))));
        }
        let Some(stored) = self.absent_is_none(found.bytes().await, "read", key)? else { return Ok(None) };
        let key = key.to_owned();
        Ok(Some(match &self.encryption {
            Some(encryption) => apart(encryption, move |it| it.decrypt(&key, &stored)).await?,
            None if self.owner == Owner::Log && is_encrypted(&stored) => Err(Unreadable::Encrypted),
            None => Ok(stored),
        }))
    }

    /// Whether there is such an object. It is asked for, and not read: a "no" to HEAD has no body that would show whose
    /// answer it is.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        let found = self.inner.get(&self.path(key)?).await;
        Ok(self.absent_is_none(found, "look for", key)?.is_some())
    }

    /// Writes an object, whatever was there before.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let put = self.put_as(PutMode::Overwrite, key, bytes).await?;
        put.map(drop).map_err(|error| failure(self, "write", key, &error))
    }

    /// Writes an object unless there is one. Where the answer leaves the outcome open, the slot is read back: equal
    /// bytes, before they were encrypted, are ours, so what is created must differ from writer to writer. After a `Retry` error nothing is known;
    /// the same bytes may be given again. `Operator` where another folder has come into the place of a local store's.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created> {
        if let Some(folder) = &self.folder {
            folder.check().await?;
        }
        let Err(error) = self.put_as(PutMode::Create, key, bytes.clone()).await? else {
            return Ok(Created::Yes);
        };
        match self.get(key).await {
            // In a folder it may be the sync that failed: who puts it once more syncs it.
            Ok(Some(found)) if found == bytes && self.url.starts_with("file:") => {
                self.put(key, bytes).await.map(|()| Created::Yes)
            }
            Ok(Some(found)) if found == bytes => Ok(Created::Yes),
            Ok(Some(found)) => Ok(Created::No(found)),
            Err(unreadable) if unreadable.verdict == Verdict::Refused => Err(unreadable),
            // S3 also says "exists" when it means "someone is writing it right now".
            Ok(None) | Err(_) => Err(failure(self, "create", key, &error)),
        }
    }

    /// One put, with the store's own answer.
    async fn put_as(
        &self,
        mode: PutMode,
        key: &str,
        bytes: Bytes,
    ) -> Result<object_store::Result<PutResult>> {
        let (path, stored) = (self.path(key)?, self.sealed(key, bytes).await?);
        Ok(self.uploads.run(stored.len(), self.inner.put_opts(&path, stored.into(), mode.into())).await)
    }

    /// What is stored of an object's bytes; refused where nobody would read that again.
    async fn sealed(&self, key: &str, bytes: Bytes) -> Result<Bytes> {
        let stored = match &self.encryption {
            None => bytes,
            Some(encryption) => {
                let key = key.to_owned();
                apart(encryption, move |it| it.encrypt(&key, &bytes)).await??
            }
        };
        let length = stored.len();
        if length as u64 > LARGEST {
            return Err(Error::refused(format!(
                "object {key} would have {length} bytes, too many to be read"
            ))
            .advice(
                "report it with the version of the source: one change is larger than was thought possible",
            ));
        }
        Ok(stored)
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let deleted = self.inner.delete(&self.path(key)?).await;
        self.absent_is_none(deleted, "delete", key).map(drop)
    }

    /// Removes the objects below the folder `prefix` whose keys `goes` names, while they are listed and without holding
    /// the list; `deleted` is called after each. Not in any order.
    pub async fn delete_where(
        &self,
        prefix: &str,
        goes: impl Fn(&str) -> bool + Send + Sync + 'static,
        mut deleted: impl FnMut(),
    ) -> Result<()> {
        let folder = self.path(prefix)?;
        let skip = self.skip();
        let listed = self.inner.list(Some(&folder)).try_filter_map(move |object| {
            let named = object.location.as_ref().get(skip..).is_some_and(&goes);
            ready(Ok(named.then_some(object.location)))
        });
        let mut removed = self.inner.delete_stream(listed.boxed());
        while let Some(outcome) = removed.next().await {
            if self.absent_is_none(outcome, "delete below", prefix)?.is_some() {
                deleted();
            }
        }
        Ok(())
    }

    /// Keys and stored sizes below the folder `prefix` (all: ""), in order; those after the key `after` if one is given.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<(String, u64)>> {
        let mut keys = Vec::new();
        self.scan(prefix, after, |key, size| keys.push((key.to_owned(), size))).await?;
        keys.sort_unstable();
        Ok(keys)
    }

    /// Gives what [`Store::list`] lists to `see`, in any order and without holding it. Stores that take no key to begin
    /// after list everything.
    pub async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        mut see: impl FnMut(&str, u64),
    ) -> Result<()> {
        let folder = self.path(prefix)?;
        let listing = match after {
            Some(after) => self.inner.list_with_offset(Some(&folder), &self.path(after)?),
            None => self.inner.list(Some(&folder)),
        };
        let skip = self.skip();
        let seen = listing.try_for_each(|object| {
            let key = object.location.as_ref().get(skip..);
            if let Some(key) = key.filter(|key| after.is_none_or(|after| *key > after)) {
                see(key, object.size);
            }
            ready(Ok(()))
        });
        let seen = seen.await;
        self.absent_is_none(seen, "list", prefix).map(drop)
    }

    /// Whether its objects are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Whether an object of so many bytes can have the stored size that a listing shows; where it is encrypted, it is longer.
    pub fn is_length_of(&self, stored: u64, length: u64) -> bool {
        if self.encryption.is_some() { stored > length } else { stored == length }
    }

    /// Letters of a path before the key.
    fn skip(&self) -> usize {
        if self.prefix.is_root() { 0 } else { self.prefix.as_ref().len() + 1 }
    }

    fn path(&self, key: &str) -> Result<Path> {
        let no_key = |error| Error::refused(format!("\"{}\" is no key: {error}", key.escape_debug()));
        let key = Path::parse(key).map_err(no_key)?;
        Ok(self.prefix.parts().chain(key.parts()).collect())
    }

    fn absent_is_none<T>(
        &self,
        answer: object_store::Result<T>,
        doing: &str,
        key: &str,
    ) -> Result<Option<T>> {
        match answer {
            Ok(value) => Ok(Some(value)),
            Err(error) if failure::is_absent(&error) => Ok(None),
            Err(error) => Err(failure(self, doing, key, &error)),
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.url)
    }
}

#[cfg(test)]
impl Store {
    /// What it keeps its objects in.
    pub(crate) fn inner(&self) -> &dyn ObjectStore {
        self.inner.as_ref()
    }
}

#[cfg(test)]
mod tests;
