//! What clients of the small Milvus do without the catalog dating it: rows, indexes, load states, flushes.

use bytes::Bytes;
use prost::Message;

use super::{MemorySource, rows};
use crate::catalog::{CollectionId, PartitionId};
use crate::message::ALL_PARTITIONS;
use crate::pb::log::{Collection, Index, Load, Shard};
use crate::pb::milvus::proto::common::{KeyValuePair, MsgBase, MsgHeader};
use crate::pb::milvus::proto::milvus as api;
use crate::position::Channel;
use crate::tick::Tso;

impl MemorySource {
    /// Creates an index on the field `vector`.
    pub fn create_index(&mut self, collection_id: CollectionId, name: &str) -> i64 {
        let (id, tso) = (self.next_id(), self.next_tso());
        let params = vec![KeyValuePair { key: "index_type".into(), value: "FLAT".into() }];
        let index = Index {
            id,
            name: name.into(),
            field_id: rows::VECTOR,
            field_name: "vector".into(),
            params: params.clone(),
            create_tso: tso.0,
        };
        self.collection_mut(collection_id).indexes.push(index);
        self.write(tso, []);
        let (db_name, collection_name) = self.names(collection_id);
        let (field_name, index_name) = ("vector".into(), name.into());
        self.request(
            300,
            tso,
            api::CreateIndexRequest {
                base: None,
                db_name,
                collection_name,
                field_name,
                extra_params: params,
                index_name,
            },
        );
        id
    }

    /// Changes a parameter of an index, as Milvus 2.4 allows.
    pub fn alter_index(&mut self, collection_id: CollectionId, id: i64, key: &str, value: &str) {
        let tso = self.next_tso();
        let indexes = &mut self.collection_mut(collection_id).indexes;
        let index = indexes.iter_mut().find(|index| index.id == id).expect("a live index");
        index.params.push(KeyValuePair { key: key.into(), value: value.into() });
        self.write(tso, []);
    }

    /// Asks for an index that there is: Milvus dates it anew and changes nothing else.
    pub fn create_index_again(&mut self, collection_id: CollectionId, id: i64) {
        let tso = self.next_tso();
        let indexes = &mut self.collection_mut(collection_id).indexes;
        let index = indexes.iter_mut().find(|index| index.id == id).expect("a live index");
        index.create_tso = tso.0;
        self.write(tso, []);
    }

    /// Drops an index.
    pub fn drop_index(&mut self, collection_id: CollectionId, id: i64) {
        let tso = self.next_tso();
        let indexes = &mut self.collection_mut(collection_id).indexes;
        let at = indexes.iter().position(|index| index.id == id).expect("a live index");
        let Index { name: index_name, field_name, .. } = indexes.remove(at);
        self.write(tso, []);
        let (db_name, collection_name) = self.names(collection_id);
        self.request(
            302,
            tso,
            api::IndexRequest { base: None, db_name, collection_name, field_name, index_name },
        );
    }

    /// Loads a collection.
    pub fn load(&mut self, collection_id: CollectionId) {
        let tso = self.next_tso();
        let collection = self.collection_mut(collection_id);
        let partition_ids = collection.partitions.iter().map(|partition| partition.id).collect();
        collection.load = Some(Load { replicas: 1, whole: true, partition_ids });
        self.write(tso, []);
        let (db_name, collection_name) = self.names(collection_id);
        let replica_number = 1;
        let request =
            api::LoadCollectionRequest { db_name, collection_name, replica_number, ..Default::default() };
        self.request(106, tso, request);
    }

    /// Releases a collection.
    pub fn release(&mut self, collection_id: CollectionId) {
        let tso = self.next_tso();
        self.collection_mut(collection_id).load = None;
        self.write(tso, []);
        let (db_name, collection_name) = self.names(collection_id);
        self.request(107, tso, api::CollectionRequest { base: None, db_name, collection_name });
    }

    /// Flushes a collection: only the replicate channel shows it.
    pub fn flush(&mut self, collection_id: CollectionId) -> Tso {
        let tso = self.next_tso();
        let (db_name, name) = self.names(collection_id);
        self.request(402, tso, api::FlushRequest { base: None, db_name, collection_names: vec![name] });
        tso
    }

    /// Inserts rows of these keys.
    pub fn insert(&mut self, collection_id: CollectionId, partition_id: PartitionId, keys: &[i64]) -> Tso {
        let tso = self.next_tso();
        self.send(collection_id, keys, |collection, shard, keys| {
            rows::insert(tso, tso, collection, partition_id, shard, keys)
        });
        tso
    }

    /// Deletes the rows of these keys, in the whole collection where no partition is named.
    pub fn delete(
        &mut self,
        collection_id: CollectionId,
        partition: Option<PartitionId>,
        keys: &[i64],
    ) -> Tso {
        let tso = self.next_tso();
        let partition_id = partition.unwrap_or(ALL_PARTITIONS);
        self.send(collection_id, keys, |collection, shard, keys| {
            rows::delete(tso, collection, partition_id, shard, keys)
        });
        tso
    }

    /// Upserts rows of these keys: inserts without a time in their base, then deletes, all at one TSO.
    pub fn upsert(&mut self, collection_id: CollectionId, partition_id: PartitionId, keys: &[i64]) -> Tso {
        let tso = self.next_tso();
        self.send(collection_id, keys, |collection, shard, keys| {
            rows::insert(Tso::ZERO, tso, collection, partition_id, shard, keys)
        });
        self.send(collection_id, keys, |collection, shard, keys| {
            rows::delete(tso, collection, partition_id, shard, keys)
        });
        tso
    }

    /// Writes a message of any type to the replicate channel.
    pub fn send_other(&mut self, msg_type: i32) -> Tso {
        let tso = self.next_tso();
        self.request(msg_type, tso, MsgHeader::default());
        tso
    }

    /// Sends one message a shard with the keys that belong there.
    fn send(&self, id: CollectionId, keys: &[i64], message: impl Fn(&Collection, &Shard, &[i64]) -> Bytes) {
        let collection = self.collection(id);
        for (index, shard) in collection.channels.iter().enumerate() {
            let here = |key: &i64| key.rem_euclid(collection.channels.len() as i64) == index as i64;
            let keys = keys.iter().copied().filter(here).collect::<Vec<_>>();
            if !keys.is_empty() {
                self.queue.push(&Channel::from(shard.channel.as_str()), message(collection, shard, &keys));
            }
        }
    }

    /// Writes a client's request to the replicate channel. Protobuf joins what is written one after the other.
    pub(super) fn request(&self, msg_type: i32, tso: Tso, request: impl Message) {
        let base = MsgBase { msg_type, timestamp: tso.0, ..Default::default() };
        let payload = [MsgHeader { base: Some(base) }.encode_to_vec(), request.encode_to_vec()].concat();
        self.queue.push(&self.replicate, payload.into());
    }
}
