//! A small Milvus in memory: does what it is asked to and writes what Milvus 2.3 would write to its queue and etcd.
//!
//! Every call takes a TSO of its own from a clock that moves one millisecond a call, and has finished when it returns:
//! a tick sent afterwards is true.

use std::collections::BTreeSet;

use super::segments::Stored;
use super::{MemoryCatalog, MemoryQueue, rows};
use crate::catalog::{Catalog, CollectionId, DatabaseId, PartitionId};
use crate::pb::log::{Collection, Database, Partition, Shard};
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::milvus as api;
use crate::position::Channel;
use crate::source::{Event, Object};
use crate::tick::Tso;

/// 2026-11-18: where the clock starts.
const START_MILLIS: u64 = 1_795_000_000_000;
/// Id of the database `default`.
const DEFAULT_DATABASE: DatabaseId = 1;

/// A collection to be created: a key field `id`, a vector `vector`, a text `note` that holds the
/// TSO of the write in decimal.
#[derive(Clone, Debug)]
pub struct CollectionSpec {
    /// Where.
    pub database: DatabaseId,
    /// Its name.
    pub name: String,
    /// Number of shards; at most the number of channels.
    pub shards: usize,
    /// Whether keys are VarChar; else Int64.
    pub text_keys: bool,
    /// Dimension of `vector`.
    pub dim: usize,
}

impl CollectionSpec {
    /// One shard, Int64 keys, 4 dimensions, database `default`.
    pub fn new(name: &str) -> CollectionSpec {
        CollectionSpec { database: DEFAULT_DATABASE, name: name.into(), shards: 1, text_keys: false, dim: 4 }
    }
}

/// A small Milvus. The methods that name an object which does not exist panic: a test is wrong then.
#[derive(Debug)]
pub struct MemorySource {
    /// Where it writes rows and ticks.
    pub queue: MemoryQueue,
    /// Where it writes definitions.
    pub catalog: MemoryCatalog,
    live: Catalog,
    channels: Vec<Channel>,
    pub(super) replicate: Channel,
    clock: Tso,
    /// Milliseconds.
    queue_behind: u64,
    last_id: i64,
    pub(super) stored: Stored,
}

impl MemorySource {
    /// A Milvus with its database `default` and `channels` channels. Its replicate channel comes with the first request.
    pub fn new(channels: usize) -> MemorySource {
        let queue = MemoryQueue::default();
        let mut source = MemorySource {
            catalog: MemoryCatalog::default(),
            live: Catalog::default(),
            channels: (0..channels)
                .map(|i| queue.create_channel(&format!("by-dev-rootcoord-dml_{i}")))
                .collect(),
            replicate: "by-dev-replicate-msg".into(),
            queue,
            clock: Tso::from_millis(START_MILLIS),
            queue_behind: 0,
            last_id: 99,
            stored: Stored::default(),
        };
        source.add_database(DEFAULT_DATABASE, "default");
        source
    }

    // ---- time ----

    /// The last TSO given out.
    pub fn now(&self) -> Tso {
        self.clock
    }

    /// Lets time pass.
    pub fn advance(&mut self, millis: u64) {
        self.clock = Tso::from_millis(self.clock.millis() + millis);
        self.queue.set_clock(self.clock.millis().saturating_sub(self.queue_behind));
        self.catalog.set_bound(self.clock.next());
    }

    /// Lets the clock by which the queue dates messages be behind.
    pub fn set_queue_behind(&mut self, millis: u64) {
        self.queue_behind = millis;
    }

    /// Ticks on every channel that a live collection uses; all with the same TSO.
    pub fn tick(&mut self) -> Tso {
        let tso = self.next_tso();
        for channel in self.ticking() {
            self.queue.push(&channel, rows::tick(tso));
        }
        tso
    }

    /// Ticks on one channel only: the others lag.
    pub fn tick_on(&mut self, channel: &Channel) -> Tso {
        let tso = self.next_tso();
        self.queue.push(channel, rows::tick(tso));
        tso
    }

    /// The channels that live collections use.
    pub fn ticking(&self) -> BTreeSet<Channel> {
        let shards = self.live.collections.values().flat_map(|collection| &collection.channels);
        shards.map(|shard| Channel::from(shard.channel.as_str())).collect()
    }

    // ---- databases ----

    /// Creates a database.
    pub fn create_database(&mut self, name: &str) -> DatabaseId {
        let id = self.next_id();
        let tso = self.add_database(id, name);
        self.request(1801, tso, api::DatabaseRequest { db_name: name.into(), ..Default::default() });
        id
    }

    /// Gives a database a property, as Milvus 2.4 allows.
    pub fn alter_database(&mut self, id: DatabaseId, key: &str, value: &str) {
        let tso = self.next_tso();
        let database = self.live.databases.get_mut(&id).expect("a live database");
        database.properties = vec![KeyValuePair { key: key.into(), value: value.into() }];
        let Database { id, name, properties } = database.clone();
        self.write(tso, [Object::Database { id, name, properties }]);
    }

    /// Drops an empty database.
    pub fn drop_database(&mut self, id: DatabaseId) {
        let tso = self.next_tso();
        let database = self.live.databases.remove(&id).expect("a live database");
        self.write(tso, [Object::DatabaseGone { id }]);
        self.request(1802, tso, api::DatabaseRequest { db_name: database.name, ..Default::default() });
    }

    // ---- collections ----

    /// Creates a collection with its partition `_default`.
    pub fn create_collection(&mut self, spec: CollectionSpec) -> CollectionId {
        let collection = self.begin_collection(spec);
        let id = collection.id;
        self.show_collection(collection);
        id
    }

    /// Dates and announces a collection; nobody sees it yet. The queue may take its time over the announcement.
    pub fn begin_collection(&mut self, spec: CollectionSpec) -> Collection {
        let (id, partition) = (self.next_id(), self.next_id());
        let tso = self.next_tso();
        let mut collection = Collection {
            id,
            database_id: spec.database,
            name: spec.name.clone(),
            schema: Some(rows::schema(&spec)),
            shards: spec.shards as i32,
            create_tso: tso.0,
            partitions: vec![Partition { id: partition, name: "_default".into(), create_tso: tso.0 }],
            ..Default::default()
        };
        let announcement = rows::announcement(100, tso);
        for (shard, channel) in self.channels.iter().cycle().skip(id as usize).take(spec.shards).enumerate() {
            let start = self.queue.push(channel, announcement.clone());
            collection.channels.push(Shard {
                virtual_channel: format!("{channel}_{id}v{shard}"),
                channel: channel.to_string(),
                start: Some(start.into()),
                base: None,
            });
        }
        collection
    }

    /// Makes a collection visible that was begun.
    pub fn show_collection(&mut self, collection: Collection) {
        self.live.collections.insert(collection.id, collection.clone());
        self.write(Tso(collection.create_tso), [Object::Collection(Box::new(collection))]);
    }

    /// Announces a collection whose creation is then refused, as Milvus does for a name that is taken.
    pub fn refuse_collection(&mut self) {
        let (id, tso) = (self.next_id(), self.next_tso());
        let channel = &self.channels[id as usize % self.channels.len()];
        self.queue.push(channel, rows::announcement(100, tso));
    }

    /// Drops a collection, loaded or not; its aliases die with it.
    pub fn drop_collection(&mut self, id: CollectionId) {
        let tso = self.next_tso();
        let dropped = self.live.collections.remove(&id).expect("a live collection");
        self.live.aliases.retain(|_, collection| *collection != id);
        self.write(tso, [Object::CollectionGone { id }]);
        self.announce(101, &dropped);
    }

    /// Renames a collection, or moves it to another database.
    pub fn rename_collection(&mut self, id: CollectionId, database_id: DatabaseId, name: &str) {
        self.alter(id, |collection| {
            collection.database_id = database_id;
            collection.name = name.into();
        });
    }

    /// Replaces a collection's properties.
    pub fn alter_collection(&mut self, id: CollectionId, key: &str, value: &str) {
        let property = KeyValuePair { key: key.into(), value: value.into() };
        self.alter(id, |collection| collection.properties = vec![property]);
    }

    /// Changes a parameter of the field `note`, as Milvus 2.5 allows.
    pub fn alter_field(&mut self, id: CollectionId, key: &str, value: &str) {
        self.alter(id, |collection| {
            let fields = collection.schema.iter_mut().flat_map(|schema| &mut schema.fields);
            for field in fields.filter(|field| field.field_id == rows::NOTE) {
                field.type_params = vec![KeyValuePair { key: key.into(), value: value.into() }];
            }
        });
    }

    // ---- partitions ----

    /// Creates a partition. In a collection that is loaded as a whole it is loaded, too.
    pub fn create_partition(&mut self, collection_id: CollectionId, name: &str) -> PartitionId {
        let (id, tso) = (self.next_id(), self.next_tso());
        let collection = self.collection_mut(collection_id);
        collection.partitions.push(Partition { id, name: name.into(), create_tso: tso.0 });
        if let Some(load) = collection.load.as_mut().filter(|load| load.whole) {
            load.partition_ids.push(id);
        }
        self.write(tso, [Object::Partition { collection_id, id, name: name.into() }]);
        id
    }

    /// Drops a partition.
    pub fn drop_partition(&mut self, collection_id: CollectionId, id: PartitionId) {
        let tso = self.next_tso();
        let collection = self.collection_mut(collection_id);
        collection.partitions.retain(|partition| partition.id != id);
        if let Some(load) = &mut collection.load {
            load.partition_ids.retain(|loaded| *loaded != id);
        }
        let collection = collection.clone();
        self.write(tso, [Object::PartitionGone { collection_id, id }]);
        self.announce(201, &collection);
    }

    // ---- aliases ----

    /// Points an alias to a collection, whether it exists already or not.
    pub fn set_alias(&mut self, name: &str, collection_id: CollectionId) {
        let tso = self.next_tso();
        let database_id = self.collection(collection_id).database_id;
        self.live.aliases.insert((database_id, name.into()), collection_id);
        self.write(tso, [Object::Alias { database_id, name: name.into(), collection_id }]);
    }

    /// Drops an alias.
    pub fn drop_alias(&mut self, database_id: DatabaseId, name: &str) {
        let tso = self.next_tso();
        self.live.aliases.remove(&(database_id, name.into())).expect("a live alias");
        self.write(tso, [Object::AliasGone { database_id, name: name.into() }]);
    }

    // ---- what a test looks at ----

    /// A live collection.
    pub fn collection(&self, id: CollectionId) -> &Collection {
        self.live.collections.get(&id).expect("a live collection")
    }

    /// The partition `_default` of a collection.
    pub fn default_partition(&self, id: CollectionId) -> PartitionId {
        self.collection(id).partitions.iter().map(|partition| partition.id).min().expect("a partition")
    }

    /// The replicate channel.
    pub fn replicate_channel(&self) -> Channel {
        self.replicate.clone()
    }

    // ---- inside ----

    pub(super) fn next_tso(&mut self) -> Tso {
        self.advance(1);
        self.clock
    }

    pub(super) fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    fn add_database(&mut self, id: DatabaseId, name: &str) -> Tso {
        let tso = self.next_tso();
        let database = Database { id, name: name.into(), properties: vec![] };
        self.live.databases.insert(id, database);
        self.write(tso, [Object::Database { id, name: name.into(), properties: vec![] }]);
        tso
    }

    fn alter(&mut self, id: CollectionId, change: impl FnOnce(&mut Collection)) {
        let tso = self.next_tso();
        let collection = self.collection_mut(id);
        change(collection);
        let plain = Collection { indexes: vec![], load: None, ..collection.clone() };
        self.write(tso, [Object::Collection(Box::new(plain))]);
    }

    pub(super) fn collection_mut(&mut self, id: CollectionId) -> &mut Collection {
        self.live.collections.get_mut(&id).expect("a live collection")
    }

    pub(super) fn names(&self, id: CollectionId) -> (String, String) {
        let name = self.live.name(id).expect("a live collection");
        (name.database, name.collection)
    }

    pub(super) fn write(&self, tso: Tso, objects: impl IntoIterator<Item = Object>) {
        let events = objects.into_iter().map(|object| Event { tso, object });
        self.catalog.write(self.live.clone(), events);
    }

    /// Sends a message of its own, later TSO to every channel of a collection.
    fn announce(&mut self, msg_type: i32, collection: &Collection) {
        let tso = self.next_tso();
        for shard in &collection.channels {
            self.queue.push(&Channel::from(shard.channel.as_str()), rows::announcement(msg_type, tso));
        }
    }
}
