//! The manifests of a log's archive, one after another.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use uuid::Uuid;

use super::manifest::{self, Sealed};
use crate::error::{Error, Result};
use crate::log::base::Base;
use crate::log::commit;
use crate::log::damage::Damage;
use crate::log::floor::{self, Floors};
use crate::log::incomplete::Incomplete;
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::log::tail::MANIFESTS;
use crate::pb::log::{ArchiveFile, ArchiveManifest, Floor};
use crate::position::Seq;
use crate::store::{Created, Store};

/// The end of an archive, to which manifests are added.
pub struct Manifests {
    store: Store,
    log_id: String,
    archiver: Bytes,
    floors: Floors,
    /// As it was when the last manifest was found.
    floor: Option<Floor>,
    last: Option<Sealed>,
}

impl Manifests {
    /// Of the archive in a log's store. Where manifests stand beyond a missing one, an error.
    pub async fn open(store: Store, log_id: &str) -> Result<Manifests> {
        let log_id = log_id.to_owned();
        let floors = Floors::new(store.clone(), log_id.clone());
        let (floor, gone, found) = loop {
            let floor = floors.look().await?;
            let gone = floor.as_ref().map_or(0, |floor| floor.first_manifest.saturating_sub(1));
            let found = MANIFESTS.last(&store, gone).await?;
            // What went meanwhile looks as if it had not come yet.
            if floors.look().await? == floor {
                break (floor, gone, found);
            }
        };
        MANIFESTS.nothing_beyond(&store, found).await?;
        let last = if found == gone { None } else { Some(get(&store, &log_id, found).await?) };
        let archiver = Bytes::copy_from_slice(Uuid::new_v4().as_bytes());
        Ok(Manifests { store, log_id, archiver, floors, floor, last })
    }

    /// The commit up to which rows are archived, which must be the one that was archived, or after which the log begins;
    /// none: nothing is.
    pub async fn archived(&self, reader: &LogReader) -> Result<Option<commit::Sealed>> {
        let Some(Sealed { manifest, .. }) = &self.last else {
            let base = reader.beginning().await?;
            if base.as_ref().map(Base::seq) != self.floor.as_ref().map(floor::base) {
                return Err(Error::retry(format!("the log {} was pruned meanwhile", self.store))
                    .advice("give the command again"));
            }
            return Ok(base.map(|base| base.after));
        };
        let archived = reader.commit(Seq(manifest.last_seq)).await?;
        let archived = archived.filter(|archived| archived.digest[..] == manifest.commit_digest[..]);
        Ok(Some(archived.ok_or_else(|| other_commit(manifest))?))
    }

    /// The last manifest.
    pub fn last(&self) -> Option<&Sealed> {
        self.last.as_ref()
    }

    /// The manifest before one, which must follow it; none before the first that stays.
    pub async fn before(&self, next: &Sealed) -> Result<Option<Sealed>> {
        let first = self.floor.as_ref().map_or(1, |floor| floor.first_manifest);
        let before = match next.manifest.n.saturating_sub(1) {
            n if n < first => None,
            n => Some(get(&self.store, &self.log_id, n).await?),
        };
        manifest::follows(before.as_ref(), self.floor.as_ref(), &next.manifest)?;
        Ok(before)
    }

    /// Adds a manifest: from here on `files` are in the archive, with all rows up to and including those of a commit,
    /// and it is known what else came. `Fenced` when another archiver has added one.
    pub async fn add(
        &mut self,
        last: &commit::Sealed,
        files: Vec<ArchiveFile>,
        incomplete: Incomplete,
    ) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (before, floor) = (self.last.as_ref(), self.floor.as_ref());
        let first = floor.map_or((1, 1), |floor| (floor.first_manifest, floor.first_seq));
        let next = |Sealed { manifest, .. }: &Sealed| {
            (manifest.n.saturating_add(1), manifest.last_seq.saturating_add(1))
        };
        let (n, first_seq) = before.map_or(first, next);
        let manifest = ArchiveManifest {
            n,
            log_id: self.log_id.clone(),
            archiver: self.archiver.clone(),
            previous_digest: before.map_or_else(Bytes::new, |before| Bytes::copy_from_slice(&before.digest)),
            first_seq,
            last_seq: last.seq().0,
            commit_digest: Bytes::copy_from_slice(&last.digest),
            wall_time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            files,
            incomplete_since: incomplete.since.0,
            incomplete: incomplete.what,
        };
        manifest::follows(before, floor, &manifest)?;
        let key = layout::manifest(manifest.n);
        let (bytes, sealed) = manifest::seal(manifest);
        match self.store.create(&key, bytes).await? {
            // A slot below the floor was another's before.
            Created::Yes if self.floors.look().await?.is_none_or(|floor| n >= floor.first_manifest) => {
                self.last = Some(sealed);
                Ok(())
            }
            Created::Yes | Created::No(_) => {
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
