//! A base: the rows of collections whose beginning the queue no longer holds, out of the source's stored segments.
//!
//! Of each shard the source says up to which TSO everything is stored, its checkpoint, and where in the queue the rest
//! begins. So the base takes the stored rows up to the checkpoint, without the deleted ones, and the queue is read from
//! there on for what lies above: nothing is missing and nothing comes twice. A delete above the checkpoint may have
//! taken rows away already, and does so again when the queue brings it. Until the time at which the segments were listed
//! the log therefore holds no state that the source ever had, and opens only then.
//!
//! The rows stand in the first commit, as Inserts like those of the queue: it names all of them or does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message;

use crate::catalog::{Catalog, CollectionId, PartitionId};
use crate::error::{Context, Error, Result, Verdict};
use crate::log::segment::SegmentWriter;
use crate::log::writer::{LogWriter, Uploader};
use crate::message::ALL_PARTITIONS;
use crate::pb::log::{self as pb, Collection, ObjectRef, Shard};
use crate::pb::milvus::proto::schema::CollectionSchema;
use crate::position::{Position, Seq};
use crate::progress::RowCounts;
use crate::source::segments::{Checkpoint, Deletes, Level, Segment, SegmentList, SegmentReader};
use crate::source::{CatalogSource, Queue};
use crate::store::Store;
use crate::tick::Tso;

/// The TSO of all rows of a base in the log: after the definitions of the first commit, before all that the source gave
/// out.
pub const BASE: Tso = Tso(1);

/// Bytes of a segment of the log.
const SEGMENT_BYTES: usize = 8 << 20;
/// A compaction is written by then.
const SETTLED: Duration = Duration::from_secs(1);
/// Milvus' MsgType of an Insert.
const INSERT: i32 = 400;

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
                    "the queue no longer holds the beginning of collection {name} ({id}), and etcd has no checkpoint of \
                     its channel {}",
                    shard.virtual_channel
                ))
                .advice("flush the collection at the source and start again, or start with \"now\""));
            };
            shard.base = Some(pb::Base { position: Some((*position).into()), tso: tso.0 });
        }
    }
    Ok(())
}

/// Reads a file of a first segment with rows, where something is stored; how many such segments there are.
pub async fn check_storage(storage: &Store, source: &mut dyn CatalogSource) -> Result<usize> {
    let listed = async {
        let live = source.read().await?.live;
        let list = source.segments(&live.collections.keys().copied().collect()).await?;
        Ok((live, list))
    };
    let (live, list) = listed.await.context(|| "what is stored cannot be listed")?;
    let with_rows = || list.readable().filter(|segment| !segment.binlogs.is_empty());
    if let Some(first) = with_rows().next()
        && let Some(schema) = live.collections.get(&first.collection_id).and_then(|of| of.schema.as_ref())
    {
        SegmentReader::new(storage, schema, first).try_out().await?;
    }
    Ok(with_rows().count())
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

/// The segments as etcd lists them, looked at twice: a compaction is several writes.
pub async fn list(source: &mut dyn CatalogSource, of: &BTreeSet<CollectionId>) -> Result<SegmentList> {
    let list = source.segments(of).await?;
    tokio::time::sleep(SETTLED).await;
    match list.overtaken_by(&source.segments(of).await?) {
        None => Ok(list),
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

/// Copies the stored rows of the collections with a base into segments of the log.
///
/// Held at a time: a segment of the log, one file of each field of a segment, and the keys that the delete logs of one
/// partition of a shard name.
pub async fn copy(
    storage: &Store,
    source: &mut dyn CatalogSource,
    (catalog, of): (&Catalog, &BTreeSet<CollectionId>),
    list: &SegmentList,
    writer: &LogWriter,
) -> Result<Stored> {
    let mut copy = Copy::new(storage, list, writer, catalog);
    let collections = catalog.collections.values().filter(|collection| of.contains(&collection.id));
    let copied = async {
        for collection in collections {
            let name = catalog.name(collection.id).map(|name| name.to_string()).unwrap_or_default();
            tracing::info!(collection = name, "takes a base out of the source's segments");
            copy.collection(collection).await.context(|| format!("the base of {name}"))?;
        }
        copy.upload().await
    };
    let copied = copied.await;
    let Err(error) = copied else { return Ok(Stored { segments: copy.segments, rows: copy.rows }) };
    // The source goes on compacting, and removes files before it forgets them.
    let later = source.segments(of).await?;
    let reads = |id| later.segments.get(id).is_some_and(Segment::is_readable);
    match list.readable().find(|segment| !reads(&segment.id)) {
        Some(_) if error.verdict == Verdict::Refused => {
            Err(Error { verdict: Verdict::Retry, ..error }.advice("nothing: the segments are listed again"))
        }
        _ => Err(error),
    }
}

struct Copy<'a> {
    storage: &'a Store,
    list: &'a SegmentList,
    uploader: Uploader,
    header: pb::SegmentHeader,
    seq: Seq,
    open: SegmentWriter,
    segments: Vec<ObjectRef>,
    rows: RowCounts,
}

impl<'a> Copy<'a> {
    fn new(storage: &'a Store, list: &'a SegmentList, writer: &LogWriter, catalog: &Catalog) -> Copy<'a> {
        let shards = catalog.collections.values().flat_map(|collection| &collection.channels);
        let shards = shards.filter(|shard| shard.base.is_some());
        let channels = shards.map(|shard| shard.channel.clone()).collect::<BTreeSet<_>>();
        let (log_id, epoch, seq) = (writer.log_id().to_owned(), writer.epoch(), writer.next_seq());
        let header =
            pb::SegmentHeader { log_id, epoch, seq: seq.0, channels: channels.into_iter().collect() };
        Copy {
            storage,
            list,
            uploader: writer.uploader(),
            open: SegmentWriter::new(header.clone()),
            header,
            seq,
            segments: Vec::new(),
            rows: RowCounts::default(),
        }
    }

    async fn collection(&mut self, collection: &Collection) -> Result<()> {
        let Some(schema) = &collection.schema else {
            return Err(Error::refused("etcd shows it without a schema")
                .advice("compare the source's version with those that are supported"));
        };
        for shard in &collection.channels {
            let Some(base) = &shard.base else { continue };
            let everywhere = self.deletes(schema, shard, ALL_PARTITIONS).await?;
            for partition in &collection.partitions {
                let deletes = [&everywhere, &self.deletes(schema, shard, partition.id).await?];
                for segment in stored(self.list, shard, partition.id) {
                    if segment.level != Level::L0 {
                        self.segment(schema, shard, segment, (Tso(base.tso), deletes)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn deletes(
        &self,
        schema: &CollectionSchema,
        shard: &Shard,
        partition: PartitionId,
    ) -> Result<Deletes> {
        let mut deletes = Deletes::default();
        for segment in stored(self.list, shard, partition) {
            let reader = SegmentReader::new(self.storage, schema, segment);
            for file in &segment.deltas {
                deletes.add(&reader.deleted(file).await?);
            }
        }
        Ok(deletes)
    }

    async fn segment(
        &mut self,
        schema: &CollectionSchema,
        shard: &Shard,
        segment: &Segment,
        (through, deletes): (Tso, [&Deletes; 2]),
    ) -> Result<()> {
        let key = schema.fields.iter().find(|field| field.is_primary_key);
        let key = key.ok_or_else(|| Error::refused("its schema has no primary key"))?;
        let reader = SegmentReader::new(self.storage, schema, segment);
        for number in 0..reader.blocks()? {
            let block = reader.block(number).await?;
            let keys = block.rows.keys(&key.name)?;
            let lives = |(key, tso): (crate::rows::Key, &Tso)| {
                *tso <= through && !deletes.iter().any(|deletes| deletes.cover(&key, *tso))
            };
            let rows = keys.iter().zip(&block.tsos).enumerate();
            let living = rows.filter_map(|(row, stamp)| lives(stamp).then_some(row)).collect();
            for insert in block.inserts(segment, living)? {
                self.add(shard, insert.num_rows, &insert.encode_to_vec());
                if self.open.len() >= SEGMENT_BYTES {
                    self.upload().await?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, shard: &Shard, rows: u64, payload: &[u8]) {
        let channel = self.header.channels.iter().position(|known| *known == shard.channel);
        let channel = u32::try_from(channel.unwrap_or_default()).unwrap_or_default();
        self.open.message(channel, begin_of(shard), BASE, INSERT, payload, rows);
        self.rows.inserted += rows;
    }

    async fn upload(&mut self) -> Result<()> {
        let open = std::mem::replace(&mut self.open, SegmentWriter::new(self.header.clone()));
        if open.records() > 0 {
            let (bytes, reference) = open.finish();
            self.segments.push(self.uploader.put_segment(self.seq, bytes, reference).await?);
        }
        Ok(())
    }
}

/// The readable segments of one partition of a shard.
fn stored<'a>(list: &'a SegmentList, shard: &Shard, partition: PartitionId) -> Vec<&'a Segment> {
    let here = |of: &&Segment| of.shard == shard.virtual_channel && of.partition_id == partition;
    list.readable().filter(here).collect()
}
