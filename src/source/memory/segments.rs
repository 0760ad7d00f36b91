//! What the data nodes of the small Milvus store: the rows of its channels, in segments.

use std::collections::BTreeMap;

use super::MemorySource;
use super::binlog::{write_deletes, write_rows};
use crate::catalog::{CollectionId, PartitionId};
use crate::change::Keys;
use crate::message::{self, ALL_PARTITIONS, Kind};
use crate::pb::log::{Collection, Shard};
use crate::position::Channel;
use crate::source::segments::{Checkpoint, Level, Segment, SegmentId, SegmentList, SegmentState};
use crate::store::Store;
use crate::tick::Tso;

/// What is stored, and how far.
#[derive(Debug, Default)]
pub struct Stored {
    pub(super) list: SegmentList,
    /// By virtual channel.
    through: BTreeMap<String, Checkpoint>,
}

impl MemorySource {
    /// Stores all rows and deletes of live collections that were not stored yet, in new segments. The checkpoints stay.
    pub async fn store_segments(&mut self, storage: &Store) {
        let through = self.tick();
        let live = self.catalog.live();
        for collection in live.collections.values() {
            for shard in &collection.channels {
                self.store_shard(storage, collection, shard, through).await;
            }
        }
        self.stored.list.segments.retain(|_, segment| live.collections.contains_key(&segment.collection_id));
        self.show_segments();
    }

    /// Moves the checkpoints to all that is stored.
    pub fn move_checkpoints(&mut self) {
        self.stored.list.checkpoints.clone_from(&self.stored.through);
        self.show_segments();
    }

    /// Retention: a channel loses what lies before the checkpoints of its shards, or their beginnings where there are none.
    pub fn trim_to_checkpoints(&self, channel: &Channel) {
        let live = self.catalog.live();
        let shards = live.collections.values().flat_map(|collection| &collection.channels);
        let begins = shards.filter(|shard| channel.as_str() == shard.channel).map(|shard| {
            let checkpoint = self.stored.list.checkpoints.get(&shard.virtual_channel);
            checkpoint
                .map_or_else(|| shard.start.unwrap_or_default().into(), |checkpoint| checkpoint.position)
        });
        if let Some(first) = begins.min() {
            self.queue.trim(channel, first);
        }
    }

    pub(super) fn show_segments(&mut self) {
        self.stored.list.revision += 1;
        self.catalog.set_segments(self.stored.list.clone());
    }

    /// A delete in a partition goes to each of its segments, as in Milvus 2.3; one in all of them to a segment of level 0,
    /// as in 2.4.
    async fn store_shard(&mut self, storage: &Store, collection: &Collection, shard: &Shard, through: Tso) {
        let before = self.stored.through.get(&shard.virtual_channel).copied();
        let mut position = before.map_or_else(|| shard.start.unwrap_or_default().into(), |it| it.position);
        let mut new = BTreeMap::new();
        for message in self.queue.messages(&shard.channel.as_str().into()) {
            let header = message::header(&message.payload).expect("a message");
            let Some(of) = header.rows.filter(|of| of.shard == shard.virtual_channel) else { continue };
            if before.is_some_and(|before| header.tso <= before.tso) {
                continue;
            }
            position = message.position;
            let place = (collection.id, of.partition_id);
            if header.kind == Kind::Insert {
                let insert = message::insert(message.payload).expect("an insert");
                let id = *new.entry(of.partition_id).or_insert_with(|| self.next_id());
                let segment = self.stored.list.segments.entry(id).or_insert_with(|| empty(id, place, shard));
                write_rows(storage, segment, insert).await;
                continue;
            }
            let delete = message::delete(message.payload).expect("a delete");
            let keys = Keys::from_pb(delete.primary_keys, vec![]);
            if of.partition_id == ALL_PARTITIONS {
                let id = *new.entry(ALL_PARTITIONS).or_insert_with(|| self.next_id());
                self.stored.list.segments.entry(id).or_insert_with(|| empty(id, place, shard));
            }
            let segments = self.stored.list.segments.values_mut().filter(|segment| segment.is_readable());
            let here = |of: &Segment| (of.shard == shard.virtual_channel, of.partition_id);
            for segment in segments.filter(|segment| here(segment) == (true, place.1)) {
                write_deletes(storage, segment, &keys, header.tso).await;
            }
        }
        self.stored.through.insert(shard.virtual_channel.clone(), Checkpoint { position, tso: through });
    }
}

fn empty(
    id: SegmentId,
    (collection_id, partition_id): (CollectionId, PartitionId),
    shard: &Shard,
) -> Segment {
    Segment {
        id,
        collection_id,
        partition_id,
        shard: shard.virtual_channel.clone(),
        state: SegmentState::Flushed,
        level: if partition_id == ALL_PARTITIONS { Level::L0 } else { Level::L1 },
        rows: 0,
        start: None,
        dml: None,
        compacted_from: vec![],
        compacted: false,
        dropped_ms: 0,
        importing: false,
        unfinished: false,
        binlogs: BTreeMap::new(),
        deltas: vec![],
    }
}
