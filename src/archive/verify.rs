//! Checking an archive: every manifest, every digest and, when asked for, every row against the segments.

mod fingerprint;

use std::pin::pin;

use futures::TryStreamExt;
use serde::Serialize;

use super::archiver::{Piece, catalog, pieces};
use super::changes::Changes;
use super::manifest::{self, Sealed};
use super::manifests::other_commit;
use super::read::File;
use crate::error::{Error, Result, Verdict};
use crate::log::damage::Damage;
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::log::verify::Report;
use crate::pb::log::{ArchiveFile, ArchiveManifest, Floor};
use crate::position::Seq;
use crate::store::Store;
use fingerprint::Fingerprints;

/// How much of an archive is checked. Manifests are checked always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Files of manifests that reach this commit or a later one.
    pub from: Seq,
    /// Also their rows, against the segments.
    pub rows: bool,
}

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Archived {
    /// The last commit whose rows are in it.
    pub to: u64,
    /// Manifests that are as they should be.
    pub manifests: u64,
    /// Files that are as they should be.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Rows of them.
    pub rows: u64,
    /// Files that no manifest names: left by crashes, or being written now. Harmless.
    pub orphans: u64,
}

/// Checks the archive of a log of which `log` is what its own check has found, and notes the damages there.
/// None where the log's identity or floor is damaged.
pub async fn verify_beside<F: Future<Output = ()>>(
    log: &mut Report,
    store: &Store,
    rows: bool,
    on_progress: impl FnMut(u64, u64) -> F,
) -> Result<Option<Archived>> {
    let reader = match LogReader::open(store.clone()).await {
        // It has been noted.
        Err(error) if error.verdict == Verdict::Refused && log.damaged() > 0 => return Ok(None),
        opened => opened?,
    };
    let scope = Scope { from: Seq(log.from), rows };
    verify(&reader, store, scope, log, on_progress).await.map(Some)
}

/// Checks the archive of a log and goes on after each damage, which is noted in `report`, and after a prune that has
/// overtaken it; an error means that the store itself failed. In memory are one file and, for rows, some segments.
/// What `on_progress` returns is waited for.
pub async fn verify<F: Future<Output = ()>>(
    reader: &LogReader,
    store: &Store,
    scope: Scope,
    report: &mut Report,
    mut on_progress: impl FnMut(u64, u64) -> F,
) -> Result<Archived> {
    let (mut listed, mut last) = (0u64, 0);
    let see = |key: &str, _| match layout::parse_manifest(key) {
        Some(n) => last = last.max(n),
        None => listed += 1,
    };
    store.scan(layout::ARCHIVE, None, see).await?;
    let floor = reader.floors().look().await?;
    let first = floor.as_ref().map_or(1, |floor| floor.first_manifest);
    let mut this = Verifier { reader, store, scope, floor, report, archived: Archived::default(), named: 0 };
    let mut previous = None;
    for n in first..=last {
        previous = this.manifest(n, previous).await?;
        on_progress(n, last).await;
    }
    Ok(Archived { orphans: listed.saturating_sub(this.named), ..this.archived })
}

struct Verifier<'a> {
    reader: &'a LogReader,
    store: &'a Store,
    scope: Scope,
    floor: Option<Floor>,
    report: &'a mut Report,
    archived: Archived,
    /// Files that manifests name.
    named: u64,
}

impl Verifier<'_> {
    /// Whether what is missing is no damage: a prune has taken it away, with its manifest, since the floor was seen.
    async fn has_gone(&mut self, n: u64) -> Result<bool> {
        self.floor = self.reader.floors().look().await?;
        Ok(self.is_below_floor(n))
    }

    fn is_below_floor(&self, n: u64) -> bool {
        self.floor.as_ref().is_some_and(|floor| n < floor.first_manifest)
    }

    /// After a damaged manifest the chain is taken up again at the next one.
    async fn manifest(&mut self, n: u64, previous: Option<Sealed>) -> Result<Option<Sealed>> {
        if self.is_below_floor(n) {
            return Ok(None);
        }
        let key = layout::manifest(n);
        let opened = match self.store.read(&key).await? {
            Some(Ok(bytes)) => manifest::open(self.reader.log_id(), n, bytes),
            Some(Err(why)) => Err(Damage::unreadable(&key, &why)),
            None if self.has_gone(n).await? => return Ok(None),
            None => Err(Damage::new(&key, None, "is missing, though later manifests are there")),
        };
        let Some(sealed) = self.report.note(opened) else { return Ok(None) };
        let manifest = &sealed.manifest;
        let follows = match &previous {
            None if n > self.floor.as_ref().map_or(1, |floor| floor.first_manifest) => Ok(()),
            previous => manifest::follows(previous.as_ref(), self.floor.as_ref(), manifest),
        };
        let follows = follows.map_err(|error| Damage::new(&key, None, format!("is out of place: {error}")));
        if self.report.note(follows).is_none() {
            return Ok(Some(sealed));
        }
        self.archived.manifests += 1;
        self.archived.to = manifest.last_seq;
        self.named = self.named.saturating_add(manifest.files.len() as u64);
        let archived = settled(self.reader.commit(sealed.last()).await)?.ok().flatten();
        if archived.is_none_or(|archived| archived.digest[..] != manifest.commit_digest[..]) {
            if self.has_gone(n).await? {
                return Ok(None);
            }
            self.report.note::<()>(Err(other_commit(manifest)));
        } else if manifest.last_seq >= self.scope.from.0 {
            self.files(&key, manifest).await?;
        }
        Ok(Some(sealed))
    }

    /// Of rows of commits that were pruned nothing is left to compare with.
    fn is_pruned(&self, manifest: &ArchiveManifest) -> bool {
        self.floor.as_ref().is_some_and(|floor| manifest.first_seq < floor.first_seq)
    }

    async fn files(&mut self, key: &str, manifest: &ArchiveManifest) -> Result<()> {
        let rows = self.scope.rows && !self.is_pruned(manifest);
        let mut held = Some(Fingerprints::default());
        for named in &manifest.files {
            let read = self.file(named, held.as_mut().filter(|_| rows)).await?;
            if read.is_err() && self.has_gone(manifest.n).await? {
                return Ok(());
            }
            if self.report.note(read).is_none() {
                held = None;
            }
        }
        let Some(held) = held.filter(|_| rows) else { return Ok(()) };
        let compared = match settled(self.of_segments(manifest).await)? {
            Ok(right) => held.difference(&right),
            Err(_) if self.has_gone(manifest.n).await? || self.is_pruned(manifest) => None,
            Err(error) => Some(format!("they cannot be compared: {error}")),
        };
        let of = format!("commits {} to {}", manifest.first_seq, manifest.last_seq);
        let damage =
            |why| Damage::new(key, None, format!("names files that do not hold the rows of {of}: {why}"));
        self.report.note(compared.map_or(Ok(()), |why| Err(damage(why))));
        Ok(())
    }

    async fn file(
        &mut self,
        named: &ArchiveFile,
        held: Option<&mut Fingerprints>,
    ) -> Result<std::result::Result<(), Damage>> {
        let mut file = match File::checked(self.store, named).await? {
            Ok(file) => file,
            Err(damage) => return Ok(Err(damage)),
        };
        if let Some(held) = held {
            loop {
                match file.batch() {
                    Ok(Some(batch)) => held.add(named.collection_id, &batch).map_err(uncountable)?,
                    Ok(None) => break,
                    Err(damage) => return Ok(Err(damage)),
                }
            }
        }
        let object = named.object.clone().unwrap_or_default();
        self.archived.files += 1;
        self.archived.bytes = self.archived.bytes.saturating_add(object.length);
        self.archived.rows = self.archived.rows.saturating_add(object.rows);
        Ok(Ok(()))
    }

    /// The rows that the commits of a manifest have.
    async fn of_segments(&self, manifest: &ArchiveManifest) -> Result<Fingerprints> {
        let before = match manifest.first_seq.saturating_sub(1) {
            0 => None,
            seq => Some(self.reader.existing(Seq(seq)).await?),
        };
        let mut catalog = catalog(self.reader, before.as_ref()).await?;
        let mut pieces = pin!(pieces(self.reader, before, Seq(manifest.last_seq)));
        let mut right = Fingerprints::default();
        while let Some(Piece { sealed, segment, .. }) = pieces.try_next().await? {
            let Some(segment) = segment else { continue };
            let mut changes = Changes::new(sealed.seq(), segment)?;
            while let Some(part) = changes.next(&mut catalog)? {
                part.batches
                    .iter()
                    .try_for_each(|batch| right.add(part.table.id, batch))
                    .map_err(uncountable)?;
            }
        }
        Ok(right)
    }
}

/// Tells what is wrong with what was read, which is noted, from a store that failed.
fn settled<T>(read: Result<T>) -> Result<Result<T>> {
    match read {
        Err(error) if error.verdict != Verdict::Refused => Err(error),
        settled => Ok(settled),
    }
}

fn uncountable(error: impl std::fmt::Display) -> Error {
    Error::refused(format!("rows cannot be compared: {error}"))
}
