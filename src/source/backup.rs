//! A backup that milvus-backup has made of a source: copies of the segments of its collections, and where in the queue
//! the rest begins.
//!
//! The folder of one backup holds
//!
//! ```text
//! meta/full_meta.json                                                           what follows, as JSON
//! binlogs/insert_log/{collection}/{partition}/[{group}/]{segment}/{field}/{log} one column of some rows: a binlog
//! binlogs/delta_log/{collection}/{partition}/[{group}/]{segment}/{log}          deleted keys
//! ```
//!
//! The tool notes what all collections are. Then it takes one after the other: flushes it, notes the checkpoints that the
//! flush answers (`channel_checkpoints`, by virtual channel), lists the segments and copies their files, which are those
//! of the source. So as in a list of the source's own etcd, everything up to the checkpoints is in the segments.
//!
//! But Milvus tells only since 2.5.8, and by its REST interface, which files a segment has. Else the tool takes those that
//! stand in its folder, also what a data node has left there that died before it named them; the next one has stored the
//! same rows again. So a row, known by its row id and timestamp, may stand in a segment more than once, and counts once.
//! Nor is it told then of which shard a segment is: that follows from the keys.

mod meta;
mod shards;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;

use super::segments::{Checkpoint, Level, LogFile, Segment, SegmentList, SegmentReader, SegmentState};
use crate::catalog::{Catalog, CollectionId};
use crate::error::{Context, Error, Result};
use crate::pb::log::Collection;
use crate::pb::milvus::proto::meta::MsgPosition;
use crate::position::Position;
use crate::store::Store;
use crate::tick::Tso;
use meta::{CollectionMeta, FieldMeta, Meta, SegmentMeta};

/// Of segments that hold files of another kind, since Milvus 2.6.
const PACKED: i64 = 2;

/// A backup.
pub struct Backup {
    store: Store,
    collections: BTreeMap<CollectionId, CollectionMeta>,
    name: String,
}

impl Backup {
    /// The backup in a folder. Refused: none is there, and one of another format.
    pub async fn open(store: Store) -> Result<Backup> {
        let Meta { name, collection_backups, .. } = meta::read(&store).await?;
        let collections =
            collection_backups.into_iter().map(|collection| (collection.collection_id, collection));
        Ok(Backup { store, collections: collections.collect(), name })
    }

    /// The collections of a source that it has.
    pub fn of(&self, live: &Catalog) -> BTreeSet<CollectionId> {
        live.collections.keys().copied().filter(|id| self.collections.contains_key(id)).collect()
    }

    /// Its segments of some collections of the source, and how far they go. Refused: a collection that it does not have, or
    /// not with the checkpoint of each shard.
    pub async fn list(&self, catalog: &Catalog, of: &BTreeSet<CollectionId>) -> Result<SegmentList> {
        let mut list = SegmentList::default();
        for id in of {
            let Some(collection) = catalog.collections.get(id) else { continue };
            let name = catalog.name(*id).map(|name| name.to_string()).unwrap_or_default();
            let of_collection = self.list_one(collection, &mut list).await;
            of_collection.context(|| format!("the backup {} of {name} ({id})", self.name))?;
        }
        Ok(list)
    }

    async fn list_one(&self, collection: &Collection, list: &mut SegmentList) -> Result<()> {
        let Some(meta) = self.collections.get(&collection.id) else {
            return Err(Error::refused("this collection is not in it").advice(
                "give the folder of a backup that has it (of this very collection: one that was created again under its \
                 name is another one), or source.storage instead",
            ));
        };
        let mut newest = Tso::ZERO;
        for shard in &collection.channels {
            let checkpoint = checkpoint(meta, &shard.virtual_channel)?;
            newest = newest.max(checkpoint.tso);
            list.checkpoints.insert(shard.virtual_channel.clone(), checkpoint);
        }
        has_partitions_created_through(newest, meta, collection)?;
        for stored in meta.segments() {
            let mut segment = segment(stored)?;
            segment.shard = self.shard_of(collection, stored, &segment).await?;
            list.segments.insert(segment.id, segment);
        }
        Ok(())
    }

    /// The shard that a segment is of; that of its first key, where nothing says it.
    async fn shard_of(
        &self,
        collection: &Collection,
        stored: &SegmentMeta,
        segment: &Segment,
    ) -> Result<String> {
        let shards =
            collection.channels.iter().map(|shard| shard.virtual_channel.as_str()).collect::<Vec<_>>();
        if !stored.v_channel.is_empty() {
            return match shards.contains(&stored.v_channel.as_str()) {
                true => Ok(stored.v_channel.clone()),
                false => Err(Error::refused(format!(
                    "segment {} is of channel {}, which the collection has not",
                    segment.id, stored.v_channel
                ))
                .advice("give a backup of this source")),
            };
        }
        let number = match (shards.len(), &collection.schema) {
            (2.., Some(schema)) => {
                let reader = SegmentReader::new(&self.store, schema, segment);
                shards::of_first_key(&reader, segment, shards.len()).await?
            }
            _ => None,
        };
        // One without rows and deletes is of any.
        Ok(shards.get(number.unwrap_or_default()).copied().unwrap_or_default().to_owned())
    }
}

/// The tool asks for the partitions first and flushes later. Of a partition that was created in between it copies nothing,
/// and the queue behind the checkpoints does not have all of its rows.
fn has_partitions_created_through(newest: Tso, meta: &CollectionMeta, collection: &Collection) -> Result<()> {
    let has = |id| meta.partition_backups.iter().any(|partition| partition.partition_id == id);
    let mut created = collection.partitions.iter().filter(|partition| Tso(partition.create_tso) <= newest);
    match created.find(|partition| !has(partition.id)) {
        None => Ok(()),
        Some(partition) => Err(Error::refused(format!(
            "it lacks the partition {} ({}), which was created while it was made",
            partition.name, partition.id
        ))
        .advice("make a new backup and give its folder, or source.storage instead")),
    }
}

fn checkpoint(meta: &CollectionMeta, channel: &str) -> Result<Checkpoint> {
    let Some(text) = meta.channel_checkpoints.get(channel) else {
        return Err(Error::refused(format!("it has no checkpoint of channel {channel}")).advice(
            "without it nobody knows where the queue goes on: the backup was made without a flush, or of a Milvus whose \
             flush answers none; give a backup that has them, or source.storage instead",
        ));
    };
    let bytes = BASE64_STANDARD.decode(text).ok();
    let stored = bytes.and_then(|bytes| MsgPosition::decode(&bytes[..]).ok());
    let position = stored.as_ref().and_then(|stored| Position::of_queue(&stored.msg_id));
    match (stored, position) {
        (Some(stored), Some(position)) => Ok(Checkpoint { position, tso: Tso(stored.timestamp) }),
        _ => Err(Error::refused(format!("its checkpoint of channel {channel} is no position in a queue"))
            .advice("compare the source's version with those that are supported")),
    }
}

fn segment(stored: &SegmentMeta) -> Result<Segment> {
    let id = stored.segment_id;
    if stored.storage_version >= PACKED {
        return Err(Error::refused(format!("segment {id} is of storage version {}", stored.storage_version))
            .advice("it is of a Milvus that is not supported as a source"));
    }
    let (collection, partition) = (stored.collection_id, stored.partition_id);
    let group = if stored.group_id == 0 { String::new() } else { format!("{}/", stored.group_id) };
    let folder = |kind| format!("binlogs/{kind}/{collection}/{partition}/{group}{id}/");
    let rows = u64::try_from(stored.num_of_rows).unwrap_or_default();
    let binlogs = stored.binlogs.iter();
    let binlogs = binlogs.map(|field| {
        let folder = format!("{}{}/", folder("insert_log"), field.field_id);
        Ok((field.field_id, files(&folder, [field])?))
    });
    let segment = Segment {
        id,
        collection_id: collection,
        partition_id: partition,
        shard: String::new(),
        state: SegmentState::Flushed,
        level: if stored.is_l0 { Level::L0 } else { Level::L1 },
        rows,
        start: None,
        dml: None,
        compacted_from: Vec::new(),
        compacted: false,
        dropped_ms: 0,
        importing: false,
        unfinished: false,
        binlogs: binlogs.collect::<Result<_>>()?,
        deltas: files(&folder("delta_log"), &stored.deltalogs)?,
    };
    match rows > 0 && segment.binlogs.is_empty() && !stored.is_l0 {
        true => Err(Error::refused(format!("it names no file for the {rows} rows of segment {id}"))
            .advice("compare the tool's version: it may keep them elsewhere")),
        false => Ok(segment),
    }
}

/// Files in the order in which Milvus wrote them: their ids rise.
fn files<'a>(folder: &str, fields: impl IntoIterator<Item = &'a FieldMeta>) -> Result<Vec<LogFile>> {
    let logs = fields.into_iter().flat_map(|field| &field.binlogs);
    let mut logs = logs
        .map(|log| {
            let entries = u64::try_from(log.entries_num).ok().filter(|entries| *entries > 0);
            Ok((log.id()?, entries))
        })
        .collect::<Result<Vec<_>>>()?;
    logs.sort_unstable();
    Ok(logs.into_iter().map(|(id, entries)| LogFile { path: format!("{folder}{id}"), entries }).collect())
}
