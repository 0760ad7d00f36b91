//! The rows that live at the end of a manifest.
//!
//! Files are read from the newest to the oldest, and their rows from the last to the first: a row lives when nothing
//! newer that reaches it was met. So of the rows that do not live no more is read than their keys.

mod closed;
mod scope;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::manifest::Sealed;
use super::manifests::Manifests;
use super::read::File;
use crate::catalog::{Catalog, CollectionId};
use crate::error::{Error, Result};
use crate::log::base::Base;
use crate::log::reader::LogReader;
use crate::message;
use crate::pb::log::{ArchiveFile, record::Body};
use crate::position::Seq;
use crate::store::Store;
use closed::{Closed, Passes};
use scope::Scope;

/// Living rows of one partition and one shard of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The channel of their shard.
    pub channel: String,
    /// How many.
    pub rows: u64,
    /// They, as the body of an Insert.
    pub payload: Bytes,
}

/// What has been done to rows, and what exists in the end.
pub struct History<'a> {
    /// Where the files are.
    pub store: &'a Store,
    /// Of the log.
    pub reader: &'a LogReader,
    /// Of the archive.
    pub manifests: &'a Manifests,
    /// The manifest at whose end the rows live.
    pub end: &'a Sealed,
    /// What exists then.
    pub catalog: &'a Catalog,
    /// With what it begins: a manifest begins right after it.
    pub base: Option<&'a Base>,
}

/// Collections that are gone through together.
#[derive(Default)]
struct Batch {
    collections: Vec<CollectionId>,
    /// At most so many keys are closed on the way.
    closing: u64,
}

impl History<'_> {
    /// Gives the living rows to `take`: of those of one key, shard and partition the newer first, but for those of one
    /// Insert, which stand in the order of time. Memory is held for closed keys (so many bytes), a file, and a group of its
    /// rows.
    pub async fn living(
        &self,
        closed_bytes: usize,
        mut take: impl AsyncFnMut(Insert) -> Result<()>,
    ) -> Result<()> {
        for batch in self.batches(closed_bytes).await? {
            let known = batch.collections.iter().filter_map(|id| self.catalog.collections.get(id));
            let scopes = known.map(|known| Ok((known.id, Scope::new(known)?)));
            let scopes = scopes.collect::<Result<BTreeMap<_, _>>>()?;
            let passes = Passes::new(batch.closing, closed_bytes);
            for pass in 0..passes.count {
                self.pass(&scopes, Closed::new(passes, pass), &mut take).await?;
            }
        }
        Ok(())
    }

    /// The collections, as many together as memory allows: each manifest, and the base, is read for each batch.
    async fn batches(&self, closed_bytes: usize) -> Result<Vec<Batch>> {
        let mut closing = self.catalog.collections.keys().map(|id| (*id, 0u64)).collect::<BTreeMap<_, _>>();
        let mut next = Some(self.end.clone());
        while let Some(sealed) = next {
            for named in &sealed.manifest.files {
                let counts = named.counts.unwrap_or_default();
                if let Some(closing) = closing.get_mut(&named.collection_id) {
                    *closing = closing.saturating_add(counts.deleted).saturating_add(counts.upserted);
                }
            }
            next = self.before(&sealed).await?;
        }
        let mut batches = Vec::<Batch>::new();
        for (id, closing) in closing {
            let fits = |batch: &&mut Batch| {
                Passes::new(batch.closing.saturating_add(closing), closed_bytes).count == 1
            };
            if batches.last_mut().filter(fits).is_none() {
                batches.push(Batch::default());
            }
            if let Some(batch) = batches.last_mut() {
                batch.collections.push(id);
                batch.closing = batch.closing.saturating_add(closing);
            }
        }
        Ok(batches)
    }

    async fn before(&self, sealed: &Sealed) -> Result<Option<Sealed>> {
        let begin = self.base.map_or(Seq(0), Base::seq).next();
        if Seq(sealed.manifest.first_seq) <= begin { Ok(None) } else { self.manifests.before(sealed).await }
    }

    async fn pass(
        &self,
        scopes: &BTreeMap<CollectionId, Scope>,
        mut closed: Closed,
        take: &mut impl AsyncFnMut(Insert) -> Result<()>,
    ) -> Result<()> {
        let mut next = Some(self.end.clone());
        while let Some(sealed) = next {
            for named in sealed.manifest.files.iter().rev() {
                if let Some(scope) = scopes.get(&named.collection_id) {
                    self.file(named, scope, &mut closed, take).await?;
                }
            }
            next = self.before(&sealed).await?;
        }
        match self.base {
            Some(base) => self.rows_of(base, scopes, &closed, take).await,
            None => Ok(()),
        }
    }

    async fn file(
        &self,
        named: &ArchiveFile,
        scope: &Scope,
        closed: &mut Closed,
        take: &mut impl AsyncFnMut(Insert) -> Result<()>,
    ) -> Result<()> {
        let file = File::open(self.store, named).await?;
        for group in (0..file.groups()).rev() {
            let (changes, keys) = file.stamps(group)?;
            let keys = keys.iter().collect::<Vec<_>>();
            let rows = changes.iter().zip(&keys).enumerate().rev();
            let living = rows.filter(|(_, (change, key))| scope.lives(closed, change, key));
            let mut living = living.map(|(number, _)| number).collect::<Vec<_>>();
            living.reverse();
            if !living.is_empty() {
                for insert in scope.inserts(file.layout(), &file.rows(group, &living)?)? {
                    take(insert).await?;
                }
            }
        }
        Ok(())
    }

    async fn rows_of(
        &self,
        base: &Base,
        scopes: &BTreeMap<CollectionId, Scope>,
        closed: &Closed,
        take: &mut impl AsyncFnMut(Insert) -> Result<()>,
    ) -> Result<()> {
        for reference in base.segments.iter().rev().filter(|reference| reference.messages > 0) {
            let segment = self.reader.segment(reference).await?;
            for record in segment.records.into_iter().rev() {
                let Some(Body::Message(message)) = record.body else { continue };
                let Some(rows) = message::header(&message.payload)?.rows else { continue };
                let Some(scope) = scopes.get(&rows.collection_id) else { continue };
                let channel = usize::try_from(message.channel).ok();
                let channel = channel.and_then(|number| segment.header.channels.get(number));
                let channel = channel.ok_or_else(|| {
                    Error::refused(format!("{} holds a message of no channel", reference.key))
                })?;
                if let Some(insert) = scope.rest(closed, channel, message.payload)? {
                    take(insert).await?;
                }
            }
        }
        Ok(())
    }
}
