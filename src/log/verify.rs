//! Checking a whole log: every digest, every link of the chain, every object that a commit names.

use std::collections::BTreeSet;

use super::commit::{self, Sealed};
use super::damage::Damage;
use super::identity::Identity;
use super::reader::{no_log, open_catalog, open_segment};
use super::store::Store;
use super::{checkpoint, layout};
use crate::error::{Error, Result, Verdict};
use crate::pb::log as pb;
use crate::position::Seq;

/// What a log holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Commits that are as they should be.
    pub commits: u64,
    /// Segments that are as they should be.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is wrong, in the order in which a replay would meet it.
    pub damages: Vec<Damage>,
    /// Objects that no commit names: left by crashes, or being written now. Harmless.
    pub orphans: Vec<String>,
}

/// Reads everything. Goes on after each damage; an error means that the store itself failed, or that no log is there.
pub async fn verify(store: Store, mut on_progress: impl FnMut(Seq, u64)) -> Result<Report> {
    let mut report = Report::default();
    let identity = match store.get(layout::IDENTITY).await? {
        Some(bytes) => report.note(Identity::from_bytes(&bytes)),
        None if store.list(layout::COMMITS, None).await?.is_empty() => return Err(no_log(&store)),
        None => report.note(Err(Damage::new(layout::IDENTITY, None, "is missing"))),
    };
    // Listed before the commits are read: what is uploaded meanwhile is no orphan.
    let mut orphans = BTreeSet::new();
    for folder in [layout::SEGMENTS, layout::CATALOGS] {
        orphans.extend(store.list(folder, None).await?.into_iter().map(|(key, _)| key));
    }
    let commits = store.list(layout::COMMITS, None).await?;
    let last = commits.iter().filter_map(|(key, _)| layout::parse_commit(key)).max().unwrap_or_default();
    orphans.extend(commits.into_iter().map(|(key, _)| key).filter(|key| layout::parse_commit(key).is_none()));

    let log_id = identity.as_ref().map(|identity| identity.log_id.as_str());
    let mut previous = None;
    let mut seq = Seq(1);
    while seq <= last {
        let sealed = report.commit(&store, seq, previous.as_ref()).await?;
        let before = previous.as_ref().and_then(|previous: &Sealed| previous.commit.catalog.clone());
        if let Some(sealed) = &sealed {
            for reference in &sealed.commit.segments {
                orphans.remove(&reference.key);
                report.segment(&store, log_id, seq, reference).await?;
            }
            if let Some(reference) = &sealed.commit.catalog {
                orphans.remove(&reference.key);
                // Commits without a definition name the catalog of the commit before.
                if before.as_ref() != Some(reference) {
                    report.catalog(&store, seq, reference).await?;
                }
            }
        }
        on_progress(seq, report.bytes);
        previous = sealed;
        seq = seq.next();
    }
    report.checkpoints(&store).await?;
    report.orphans = orphans.into_iter().collect();
    Ok(report)
}

impl Report {
    fn note<T>(&mut self, checked: Result<T, Damage>) -> Option<T> {
        checked.map_err(|damage| self.damages.push(damage)).ok()
    }

    /// After a damaged commit the chain is taken up again at the next one.
    async fn commit(&mut self, store: &Store, seq: Seq, previous: Option<&Sealed>) -> Result<Option<Sealed>> {
        let key = layout::commit(seq);
        let Some(bytes) = store.get(&key).await? else {
            self.damages.push(Damage::new(&key, None, "is missing, though later commits are there"));
            return Ok(None);
        };
        let Some(sealed) = self.note(commit::open(seq, bytes)) else {
            return Ok(None);
        };
        let follows = match previous {
            None if seq > Seq(1) => Ok(()),
            previous => commit::follows(previous, &sealed.commit),
        };
        match follows {
            Ok(()) => self.commits += 1,
            Err(error) => self.damages.push(Damage::new(&key, None, format!("is out of place: {error}"))),
        }
        Ok(Some(sealed))
    }

    async fn segment(
        &mut self,
        store: &Store,
        log_id: Option<&str>,
        seq: Seq,
        named: &pb::ObjectRef,
    ) -> Result<()> {
        let Some(bytes) = self.object(store, seq, &named.key).await? else {
            return Ok(());
        };
        let length = bytes.len() as u64;
        let checked = match log_id {
            Some(log_id) => open_segment(log_id, named, bytes),
            None => super::segment::read(&named.key, named, bytes),
        };
        if self.note(checked).is_some() {
            self.segments += 1;
            self.bytes = self.bytes.saturating_add(length);
        }
        Ok(())
    }

    async fn catalog(&mut self, store: &Store, seq: Seq, named: &pb::ObjectRef) -> Result<()> {
        if let Some(bytes) = self.object(store, seq, &named.key).await? {
            self.note(open_catalog(named, bytes));
        }
        Ok(())
    }

    async fn object(&mut self, store: &Store, seq: Seq, key: &str) -> Result<Option<bytes::Bytes>> {
        let found = match store.get(key).await {
            // A key that no store takes can only stand in a commit that was made by hand.
            Err(Error { verdict: Verdict::Refused, message, .. }) => Err(message),
            found => Ok(found?),
        };
        let damage = match found {
            Ok(Some(bytes)) => return Ok(Some(bytes)),
            Ok(None) => format!("is missing; commit {seq} names it"),
            Err(message) => format!("cannot be: {message}"),
        };
        self.damages.push(Damage::new(key, None, damage));
        Ok(None)
    }

    async fn checkpoints(&mut self, store: &Store) -> Result<()> {
        for (key, _) in store.list(layout::READERS, None).await? {
            let Some((folder, n)) = key
                .rsplit_once('/')
                .and_then(|(folder, _)| Some((folder, layout::parse_checkpoint(folder, &key)?)))
            else {
                continue;
            };
            // A replayer at work deletes old ones.
            if let Some(bytes) = store.get(&key).await? {
                self.note(checkpoint::open(folder, n, bytes));
            }
        }
        Ok(())
    }
}
