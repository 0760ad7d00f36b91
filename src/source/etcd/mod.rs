//! The catalog of a Milvus, read from its etcd.
//!
//! No watch is relied on. etcd 3.4, and 3.5 before 3.5.8, answer a request for a watch's progress without waiting for
//! the events that are still on their way, so "the watch has followed through revision r" cannot be known there. Instead
//! each read is one linearizable transaction: of each span of keys it asks for those that were written since the
//! revision of the read before, and for the number of all. Keys that were deleted show in that number; then the span's
//! names are listed. A compaction cannot hurt this, since nothing of the past is asked for; the first read takes the
//! whole of one revision in pages, and begins again when a compaction overtakes it.
//!
//! `keys` and `value` decode, `mirror` keeps, `live` and `events` conclude (all pure); `fetch` asks.

mod events;
mod fetch;
mod keys;
mod live;
mod mirror;
pub(super) mod segments;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::fetch::{Delta, Store};
use self::keys::Key;
use self::mirror::Mirror;
use crate::catalog::{Catalog, CollectionId};
use crate::error::Result;
use crate::source::segments::SegmentList;
use crate::source::{CatalogSource, Event, Observation};
use crate::tick::Tso;
use crate::tls::Tls;

/// Where the catalog of a source lies.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// Addresses: `http://host:2379`, `https://...` (checked against the system's certificates), or `host:2379`.
    pub endpoints: Vec<String>,
    /// Milvus' `etcd.rootPath`.
    pub root_path: String,
    /// Milvus' `etcd.metaSubPath`.
    pub meta_sub_path: String,
    /// User name and password, where etcd asks for them.
    pub user: Option<(String, String)>,
    /// Certificates for `https://`, where the system's are not enough.
    pub tls: Option<Tls>,
}

impl Default for EtcdOptions {
    fn default() -> EtcdOptions {
        EtcdOptions {
            endpoints: vec!["http://127.0.0.1:2379".into()],
            root_path: "by-dev".into(),
            meta_sub_path: "meta".into(),
            user: None,
            tls: None,
        }
    }
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("root_path", &self.root_path)
            .field("meta_sub_path", &self.meta_sub_path)
            .field("user", &self.user.as_ref().map(|(user, _)| user))
            .finish()
    }
}

/// The catalog of a Milvus 2.3-2.5.
#[derive(Debug)]
pub struct EtcdCatalog {
    store: Store,
    paths: String,
    seen: Option<Seen>,
}

/// What has been read so far.
#[derive(Debug)]
struct Seen {
    mirror: Mirror,
    /// Snapshots whose events were not returned yet.
    written: Vec<(Key, Tso)>,
    /// As of the mirror's revision, once it was asked for.
    live: Option<Live>,
}

/// What exists, and since which revision it is shown.
#[derive(Clone, Debug)]
struct Live {
    catalog: Arc<Catalog>,
    shown_since: Arc<BTreeMap<CollectionId, i64>>,
}

impl EtcdCatalog {
    /// Connects; whether a Milvus is there shows the first [`read`](CatalogSource::read).
    pub async fn connect(options: &EtcdOptions) -> Result<EtcdCatalog> {
        Ok(EtcdCatalog {
            store: Store::connect(options).await?,
            paths: format!("{}/{}", options.root_path, options.meta_sub_path),
            seen: None,
        })
    }
}

#[async_trait]
impl CatalogSource for EtcdCatalog {
    async fn identity(&mut self) -> Result<String> {
        let (cluster, _) = self.store.header().await?;
        Ok(format!("{cluster:x}/{}", self.paths))
    }

    async fn segments(&mut self, of: &BTreeSet<CollectionId>) -> Result<SegmentList> {
        self.list_segments(of).await
    }

    async fn read(&mut self) -> Result<Observation> {
        // Cancelled, or at an error in what was read, the next read starts afresh and dates everything again.
        let mut seen = match self.seen.take() {
            Some(seen) => seen,
            None => {
                let (mirror, written) = self.store.load().await?;
                Seen { mirror, written, live: None }
            }
        };
        let delta = match self.store.delta(&seen.mirror).await {
            Ok(delta) => delta,
            Err(error) => {
                self.seen = Some(seen);
                return Err(error);
            }
        };
        let (revision, bound) = (delta.revision, delta.bound);
        let (live, events) = seen.advance(delta)?;
        self.seen = Some(seen);
        let Live { catalog: live, shown_since } = live;
        Ok(Observation { revision, bound, live, shown_since, events })
    }
}

impl Seen {
    /// Takes in what changed: what exists now, and what led there.
    fn advance(&mut self, delta: Delta) -> Result<(Live, Vec<Event>)> {
        if !delta.puts.is_empty() || !delta.gone.is_empty() {
            self.live = None;
        }
        for name in &delta.gone {
            self.mirror.remove(name);
        }
        self.written.extend(delta.puts.into_iter().filter_map(|put| self.mirror.put(put)));
        self.mirror.revision = delta.revision;
        let live = match &self.live {
            Some(live) => live.clone(),
            None => {
                let catalog = Arc::new(live::catalog(&self.mirror)?);
                let shown_since = Arc::new(self.mirror.shown_since().clone());
                self.live.insert(Live { catalog, shown_since }).clone()
            }
        };
        Ok((live, events::events(&self.mirror, std::mem::take(&mut self.written))?))
    }
}
