//! The manifests of a log's archive, one after another.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use uuid::Uuid;

use super::manifest::{self, Sealed};
use crate::error::{Error, Result};
use crate::log::commit;
use crate::log::damage::Damage;
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::log::tail::MANIFESTS;
use crate::pb::log::{ArchiveFile, ArchiveManifest};
use crate::position::Seq;
use crate::store::{Created, Store};

/// The end of an archive, to which manifests are added.
pub struct Manifests {
    store: Store,
    log_id: String,
    archiver: Bytes,
    last: Option<Sealed>,
}

impl Manifests {
    /// Of the archive in a log's store. Where manifests stand beyond a missing one, an error.
    pub async fn open(store: Store, log_id: &str) -> Result<Manifests> {
        let found = MANIFESTS.last(&store, 0).await?;
        MANIFESTS.nothing_beyond(&store, found).await?;
        let last = match found {
            0 => None,
            n => Some(get(&store, log_id, n).await?),
        };
        let archiver = Bytes::copy_from_slice(Uuid::new_v4().as_bytes());
        Ok(Manifests { store, log_id: log_id.to_owned(), archiver, last })
    }

    /// The commit up to which rows are archived, which must be the one that was archived; none: nothing is.
    pub async fn archived(&self, reader: &LogReader) -> Result<Option<commit::Sealed>> {
        let Some(Sealed { manifest, .. }) = &self.last else { return Ok(None) };
        let archived = reader.commit(Seq(manifest.last_seq)).await?;
        let archived = archived.filter(|archived| archived.digest[..] == manifest.commit_digest[..]);
        Ok(Some(archived.ok_or_else(|| other_commit(manifest))?))
    }

    /// The last manifest.
    pub fn last(&self) -> Option<&Sealed> {
        self.last.as_ref()
    }

    /// The manifest before one, which must follow it; none before the first.
    pub async fn before(&self, next: &Sealed) -> Result<Option<Sealed>> {
        let n = next.manifest.n.saturating_sub(1);
        let before = match n {
            0 => None,
            n => Some(get(&self.store, &self.log_id, n).await?),
        };
        manifest::follows(before.as_ref(), &next.manifest)?;
        Ok(before)
    }

    /// Adds a manifest: from here on `files` are in the archive, with all rows up to and including those of a commit.
    /// `Fenced` when another archiver has added one.
    pub async fn add(&mut self, last: &commit::Sealed, files: Vec<ArchiveFile>) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let before = self.last.as_ref();
        let manifest = ArchiveManifest {
            n: before.map_or(0, |before| before.manifest.n).saturating_add(1),
            log_id: self.log_id.clone(),
            archiver: self.archiver.clone(),
            previous_digest: before.map_or_else(Bytes::new, |before| Bytes::copy_from_slice(&before.digest)),
            first_seq: before.map_or(0, |before| before.manifest.last_seq).saturating_add(1),
            last_seq: last.seq().0,
            commit_digest: Bytes::copy_from_slice(&last.digest),
            wall_time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            files,
        };
        manifest::follows(before, &manifest)?;
        let key = layout::manifest(manifest.n);
        let (bytes, sealed) = manifest::seal(manifest);
        match self.store.create(&key, bytes).await? {
            Created::Yes => {
                self.last = Some(sealed);
                Ok(())
            }
            Created::No(_) => {
                Err(Error::fenced(format!("another archiver has written {key} in {}", self.store)).advice(
                    "two archive this log: let one of them do it, and give the command again when it is done",
                ))
            }
        }
    }
}

/// A manifest that must be there.
async fn get(store: &Store, log_id: &str, n: u64) -> Result<Sealed> {
    let key = layout::manifest(n);
    let bytes = store.get(&key).await?;
    let missing = || Damage::new(&key, None, "is missing, though later manifests were there");
    let bytes = bytes.ok_or_else(missing)?;
    Ok(manifest::open(log_id, n, bytes)?)
}

/// The commit that a manifest names last is not in the log.
pub(super) fn other_commit(manifest: &ArchiveManifest) -> Damage {
    let message = format!("names another commit {} than the log has", manifest.last_seq);
    Damage::new(&layout::manifest(manifest.n), None, message)
}
