//! A base: the rows of collections whose beginning the queue no longer holds, out of the source's stored segments.
//!
//! Of each shard the source says up to which TSO everything is stored, its checkpoint, and where in the queue the rest
//! begins. So the base takes the stored rows up to the checkpoint, without the deleted ones, and the queue is read from
//! there on for what lies above: nothing is missing and nothing comes twice. A delete above the checkpoint may have
//! taken rows away already, and does so again when the queue brings it. Until the time at which the segments were listed
//! the log therefore holds no state that the source ever had, and opens only then.
//!
//! The rows stand in the first commit, as Inserts like those of the queue: it names all of them or does not exist.

mod copy;
mod met;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::catalog::{Catalog, CollectionId};
use crate::error::{Context, Error, Result};
use crate::pb::log::{self as pb, Collection, ObjectRef, Shard};
use crate::position::Position;
use crate::progress::RowCounts;
use crate::source::backup::Backup;
use crate::source::segments::{Checkpoint, Segment, SegmentList, SegmentReader};
use crate::source::{CatalogSource, Queue, Storage};
use crate::tick::Tso;

pub use copy::copy;

/// A compaction is written by then.
const SETTLED: Duration = Duration::from_secs(1);
/// One of level 0 is, even where the source's coordinator died within it.
const SETTLED_AFTER_DEATH_MS: u64 = 600_000;

/// What a first commit names of a base.
#[derive(Debug, Default)]
pub struct Stored {
    /// The segments of the log, uploaded.
    pub segments: Vec<ObjectRef>,
    /// Rows in them.
    pub rows: RowCounts,
}

/// The collections whose first messages the queue no longer holds.
pub async fn without_beginning(queue: &dyn Queue, catalog: &Catalog) -> Result<BTreeSet<CollectionId>> {
    let mut kept = BTreeMap::new();
    let mut without = BTreeSet::new();
    for collection in catalog.collections.values() {
        for shard in &collection.channels {
            let channel = shard.channel.as_str().into();
            let first = match kept.get(&channel) {
                Some(first) => *first,
                None => {
                    let first = queue.bounds(&channel).await?.start;
                    *kept.entry(channel).or_insert(first)
                }
            };
            if Position::from(shard.start.unwrap_or_default()) < first {
                without.insert(collection.id);
            }
        }
    }
    Ok(without)
}

/// The checkpoints of some collections' shards, into their catalog; a shard without one has nothing to begin with.
pub fn with_checkpoints(
    catalog: &mut Catalog,
    of: &BTreeSet<CollectionId>,
    list: &SegmentList,
) -> Result<()> {
    for collection in catalog.collections.values_mut().filter(|collection| of.contains(&collection.id)) {
        let (id, name) = (collection.id, collection.name.clone());
        for shard in &mut collection.channels {
            let Some(Checkpoint { position, tso }) = list.checkpoints.get(&shard.virtual_channel) else {
                return Err(Error::refused(format!(
                    "the queue no longer holds the beginning of collection {name} ({id}), and there is no checkpoint of \
                     its channel {} in etcd",
                    shard.virtual_channel
                ))
                .advice("flush the collection at the source and start again, or start with \"now\""));
            };
            shard.base = Some(pb::Base { position: Some((*position).into()), tso: tso.0 });
        }
    }
    Ok(())
}

/// Reads a file of a first segment with rows, where something is stored; how many such segments there are. Refused: a backup
/// that has no collection of this source.
pub async fn check_storage(storage: &Storage, source: &mut dyn CatalogSource) -> Result<usize> {
    let listed = async {
        let live = source.read().await?.live;
        let list = match storage {
            Storage::Source(_) => source.segments(&live.collections.keys().copied().collect()).await?,
            Storage::Backup(folder) => {
                let backup = Backup::open(folder.clone()).await?;
                backup.list(&live, &of_backup(&backup, &live)?).await?
            }
        };
        Ok((live, list))
    };
    let (live, list) = listed.await.context(|| "what is stored cannot be listed")?;
    let storage = storage.store();
    let with_rows = || list.readable().filter(|segment| !segment.binlogs.is_empty());
    if let Some(first) = with_rows().next()
        && let Some(schema) = live.collections.get(&first.collection_id).and_then(|of| of.schema.as_ref())
    {
        SegmentReader::new(storage, schema, first).try_out().await?;
        list.unlisted_deltas(storage, first.collection_id).await?;
    }
    Ok(with_rows().count())
}

fn of_backup(backup: &Backup, live: &Catalog) -> Result<BTreeSet<CollectionId>> {
    let of = backup.of(live);
    match of.is_empty() && !live.collections.is_empty() {
        true => Err(Error::refused("the backup has none of the collections that are in this source")
            .advice("give a backup of this source")),
        false => Ok(of),
    }
}

/// Whether a row or a delete is in a base already.
pub fn is_in_base(collection: &Collection, shard: &str, tso: Tso) -> bool {
    let shards = collection.channels.iter().filter(|known| known.virtual_channel == shard);
    shards.filter_map(|known| known.base.as_ref()).any(|base| tso.0 <= base.tso)
}

/// Whether a collection whose base was taken is still the one that it was, `before` with checkpoints: the same fields and
/// partitions, but for partitions whose rows are all in the queue.
pub fn is_as_before(before: Option<&Collection>, now: Option<&Collection>) -> bool {
    let Some((before, now)) = before.zip(now) else { return false };
    // a rename is in the schema too
    let fields = |of: &Collection| of.schema.as_ref().map(|schema| schema.fields.clone());
    let has = |of: &Collection, id| of.partitions.iter().any(|partition| partition.id == id);
    let stored = before.channels.iter().filter_map(|shard| shard.base.as_ref()).map(|base| base.tso).max();
    fields(before) == fields(now)
        && before.partitions.iter().all(|known| has(now, known.id))
        && now.partitions.iter().all(|known| has(before, known.id) || Some(known.create_tso) > stored)
}

/// The segments that are stored. Those that etcd lists are looked at twice: a compaction is several writes. `now`: by the
/// source's clock.
pub async fn list(
    storage: &Storage,
    source: &mut dyn CatalogSource,
    (catalog, of): (&Catalog, &BTreeSet<CollectionId>),
    now: Tso,
) -> Result<SegmentList> {
    if let Storage::Backup(folder) = storage {
        return Backup::open(folder.clone()).await?.list(catalog, of).await;
    }
    let list = source.segments(of).await?;
    tokio::time::sleep(SETTLED).await;
    match list.overtaken_by(&source.segments(of).await?) {
        None => Ok(list.with_deletes_dropped_since(now.millis().saturating_sub(SETTLED_AFTER_DEATH_MS))),
        Some(Segment { id, .. }) => {
            let message = format!("segment {id} took over rows while the source's segments were listed");
            Err(Error::retry(message).advice("nothing: they are listed again"))
        }
    }
}

/// Where a shard is read from.
pub fn begin_of(shard: &Shard) -> Position {
    let of_base = shard.base.as_ref().and_then(|base| base.position);
    of_base.or(shard.start).unwrap_or_default().into()
}
