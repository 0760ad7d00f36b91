//! The source: a queue with the rows, a catalog with the definitions.
//!
//! Only two traits stand here, with what every implementation promises. What messages mean is in [`crate::message`];
//! when a cut of all channels is complete is decided by the recorder.

pub mod backup;
pub mod etcd;
pub mod kafka;
pub mod memory;
pub mod milvus;
mod order;
pub mod pulsar;
#[cfg(feature = "rocksmq")]
pub mod rocksmq;
pub mod segments;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::catalog::{Catalog, CollectionId, DatabaseId, PartitionId};
use crate::error::Result;
use crate::pb::log::Collection;
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::position::{Channel, Position};
use crate::source::segments::SegmentList;
use crate::store::Store;
use crate::tick::Tso;

/// Where rows are that the queue no longer holds.
pub enum Storage {
    /// The source's own, at its root path; its catalog lists what is there.
    Source(Store),
    /// The folder of a [`backup::Backup`], a copy that another tool has made.
    Backup(Store),
}

impl Storage {
    /// Where its files are.
    pub fn store(&self) -> &Store {
        match self {
            Storage::Source(store) | Storage::Backup(store) => store,
        }
    }
}

/// One message of a channel, as the queue holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueMessage {
    /// Its place.
    pub position: Position,
    /// Its bytes.
    pub payload: Bytes,
}

/// A message queue.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// What tells this queue from every other, e.g. `kafka:{cluster id}`.
    async fn identity(&self) -> Result<String>;

    /// Whether a channel exists. Asking does not create it.
    async fn exists(&self, channel: &Channel) -> Result<bool>;

    /// `[first kept, next to be written)` of a channel. A channel that does not exist is an error that
    /// names it, for a person: at once, or when brokers that have just started must know it. Nothing is created by asking.
    async fn bounds(&self, channel: &Channel) -> Result<Range<Position>>;

    /// A position such that every message written at or after `millis` (Unix time) lies at or after it.
    async fn position_at(&self, channel: &Channel, millis: u64) -> Result<Position>;

    /// Reads a channel from `from` on (inclusive). A position that is no longer kept, or not yet written, is
    /// refused with the hole named, never replaced by another.
    async fn subscribe(&self, channel: &Channel, from: Position) -> Result<Box<dyn Subscription>>;
}

/// One channel being read.
#[async_trait]
pub trait Subscription: Send {
    /// The next message of the channel, none left out and none twice: a gap is refused. That is the subscription's
    /// work, whatever the queue delivers. Positions rise, by one where the queue counts each channel by itself. Waits
    /// while there is none. Safe to cancel: no message is lost.
    ///
    /// A `Retry` error leaves the subscription usable; after any other it must not be asked again.
    async fn next(&mut self) -> Result<QueueMessage>;
}

/// The definitions of a source.
#[async_trait]
pub trait CatalogSource: Send + Sync + 'static {
    /// What tells this catalog from every other, e.g. `{etcd cluster id}/{root}/{meta}`.
    async fn identity(&mut self) -> Result<String>;

    /// A linearizable look at one revision: everything that was written before the call began is in it.
    /// The first call returns in `events` every change that the catalog still dates; later calls those that
    /// were written since the call before. An event may be returned again. An error leaves everything as it was.
    async fn read(&mut self) -> Result<Observation>;

    /// The stored segments of some collections, and how far they go, all at one revision.
    async fn segments(&mut self, of: &BTreeSet<CollectionId>) -> Result<SegmentList>;
}

/// A catalog as it was at one revision.
#[derive(Clone, Debug)]
pub struct Observation {
    /// etcd's revision.
    pub revision: i64,
    /// Above every TSO that the source had given out by then.
    pub bound: Tso,
    /// What exists: databases and collections in state Created, their partitions in state Created, indexes that
    /// are not deleted, partitions that are loading or loaded, aliases of live collections.
    pub live: Arc<Catalog>,
    /// The revision from which on a collection is shown, whatever happened to it since; missing where that can no
    /// longer be told.
    pub shown_since: Arc<BTreeMap<CollectionId, i64>>,
    /// Dated changes, by TSO. Several at one TSO stand in an order in which they can be applied.
    pub events: Vec<Event>,
}

/// A change that the source has dated.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub tso: Tso,
    /// What an object was from then on.
    pub object: Object,
}

/// What an object was from an event on.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the stored objects")]
pub enum Object {
    /// Created or altered.
    Database {
        id: DatabaseId,
        name: String,
        properties: Vec<KeyValuePair>,
    },
    DatabaseGone {
        id: DatabaseId,
    },
    /// Created, renamed or altered: without indexes and load state. Which of them it was shows the catalog before.
    /// A collection whose fields are already swept away gives no event.
    Collection(Box<Collection>),
    /// In state Dropping, or gone. A move to another database gives no such event.
    CollectionGone {
        id: CollectionId,
    },
    Partition {
        collection_id: CollectionId,
        id: PartitionId,
        name: String,
    },
    PartitionGone {
        collection_id: CollectionId,
        id: PartitionId,
    },
    Alias {
        database_id: DatabaseId,
        name: String,
        collection_id: CollectionId,
    },
    AliasGone {
        database_id: DatabaseId,
        name: String,
    },
}
