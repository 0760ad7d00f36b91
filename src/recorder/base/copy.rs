//! Copying what a base takes: segment by segment of the source, into segments of the log.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use tokio::sync::watch;

use crate::catalog::{Catalog, CollectionId, PartitionId};
use crate::error::{Context, Error, Result, Verdict};
use crate::log::segment::SegmentWriter;
use crate::log::writer::{LogWriter, Uploader};
use crate::message::ALL_PARTITIONS;
use crate::pb::log::{self as pb, Collection, Shard};
use crate::pb::milvus::proto::schema::CollectionSchema;
use crate::position::Seq;
use crate::progress::{BaseProgress, RecordProgress};
use crate::source::segments::{Deletes, Level, LogFile, Segment, SegmentId, SegmentList, SegmentReader};
use crate::source::{CatalogSource, Storage};
use crate::store::Store;
use crate::tick::Tso;
use crate::trouble::Trouble;

use super::met::Met;
use super::{Stored, begin_of};

/// Bytes of a segment of the log.
const SEGMENT_BYTES: usize = 8 << 20;
/// Milvus' MsgType of an Insert.
const INSERT: i32 = 400;
/// What a person can do where the source has removed what is copied.
const REMOVED: &str = "nothing the first time: the segments are listed again. If it comes again, the base takes longer than the \
                       source keeps files of segments that it has compacted: raise dataCoord.gc.dropTolerance there, or give \
                       source.backup instead of source.storage";

/// Copies the stored rows of the collections with a base into segments of the log. Files and uploads are tried again one by
/// one, for as long as that takes: nothing of what was copied is lost to an outage.
///
/// Held at a time: a segment of the log, one file of each field of a segment, and the keys that its delete logs name and
/// those of level 0 of its shard; of a backup also which rows of a segment were met, as ranges.
pub async fn copy(
    storage: &Storage,
    source: &mut dyn CatalogSource,
    (catalog, of): (&Catalog, &BTreeSet<CollectionId>),
    list: &SegmentList,
    writer: &LogWriter,
    progress: &watch::Sender<RecordProgress>,
) -> Result<Stored> {
    let mut copy = Copy::new(storage, list, writer, catalog, progress);
    let collections = catalog.collections.values().filter(|collection| of.contains(&collection.id));
    let copied = async {
        for collection in collections {
            let name = catalog.name(collection.id).map(|name| name.to_string()).unwrap_or_default();
            tracing::info!(collection = name, "takes a base out of the source's segments");
            copy.collection(collection).await.context(|| format!("the base of {name}"))?;
        }
        copy.upload().await
    };
    let Err(error) = copied.await else { return Ok(std::mem::take(&mut copy.stored)) };
    if let Storage::Backup(_) = storage {
        return Err(error);
    }
    // The source goes on compacting, and removes files before it forgets them.
    let later = source.segments(of).await?;
    let reads = |id| later.segments.get(id).is_some_and(Segment::is_readable);
    match list.readable().find(|segment| !reads(&segment.id)) {
        Some(_) if error.verdict == Verdict::Refused => {
            Err(Error { verdict: Verdict::Retry, ..error }.advice(REMOVED))
        }
        _ => Err(error),
    }
}

struct Copy<'a> {
    storage: &'a Store,
    /// A row may stand in several files of a segment.
    repeats: bool,
    list: &'a SegmentList,
    /// Delta logs of the collection at hand.
    unlisted: BTreeMap<SegmentId, Vec<LogFile>>,
    uploader: Uploader,
    header: pb::SegmentHeader,
    seq: Seq,
    open: SegmentWriter,
    stored: Stored,
    progress: &'a watch::Sender<RecordProgress>,
}

impl Drop for Copy<'_> {
    fn drop(&mut self) {
        self.progress.send_modify(|progress| progress.base = None);
    }
}

impl<'a> Copy<'a> {
    fn new(
        storage: &'a Storage,
        list: &'a SegmentList,
        writer: &LogWriter,
        catalog: &Catalog,
        progress: &'a watch::Sender<RecordProgress>,
    ) -> Copy<'a> {
        let shards = catalog.collections.values().flat_map(|collection| &collection.channels);
        let shards = shards.filter(|shard| shard.base.is_some());
        let channels = shards.map(|shard| shard.channel.clone()).collect::<BTreeSet<_>>();
        let (log_id, epoch, seq) = (writer.log_id().to_owned(), writer.epoch(), writer.next_seq());
        let header =
            pb::SegmentHeader { log_id, epoch, seq: seq.0, channels: channels.into_iter().collect() };
        let of = list.readable().filter(|segment| segment.level != Level::L0).count();
        let base = BaseProgress { of: u64::try_from(of).unwrap_or(u64::MAX), ..BaseProgress::default() };
        progress.send_modify(|progress| progress.base = Some(base));
        Copy {
            storage: storage.store(),
            repeats: matches!(storage, Storage::Backup(_)),
            list,
            unlisted: BTreeMap::new(),
            uploader: writer.uploader(),
            open: SegmentWriter::new(header.clone()),
            header,
            seq,
            stored: Stored::default(),
            progress,
        }
    }

    async fn collection(&mut self, collection: &Collection) -> Result<()> {
        let Some(schema) = &collection.schema else {
            return Err(Error::refused("etcd shows it without a schema")
                .advice("compare the source's version with those that are supported"));
        };
        let mut trouble = Trouble::new(self.progress, "reading the source's deletes");
        let look = || self.list.unlisted_deltas(self.storage, collection.id);
        self.unlisted = trouble.until_done(look).await?;
        drop(trouble);
        for shard in &collection.channels {
            let Some(base) = &shard.base else { continue };
            let everywhere = stored(self.list, shard, ALL_PARTITIONS, true);
            let everywhere = self.deletes(schema, everywhere).await?;
            for partition in &collection.partitions {
                let here = stored(self.list, shard, partition.id, true);
                let here = self.deletes(schema, here).await?;
                for segment in stored(self.list, shard, partition.id, false) {
                    let own = self.deletes(schema, [segment]).await?;
                    let deletes = [&everywhere, &here, &own];
                    self.segment(schema, shard, segment, (Tso(base.tso), deletes)).await?;
                    self.tell(|base| base.segments = base.segments.saturating_add(1));
                }
            }
        }
        Ok(())
    }

    async fn deletes(
        &self,
        schema: &CollectionSchema,
        segments: impl IntoIterator<Item = &'a Segment>,
    ) -> Result<Deletes> {
        let mut trouble = Trouble::new(self.progress, "reading the source's deletes");
        let mut deletes = Deletes::default();
        for segment in segments {
            let reader = SegmentReader::new(self.storage, schema, segment);
            for file in &segment.deltas {
                deletes.add(&trouble.until_done(|| reader.deleted(file)).await?);
            }
            for file in self.unlisted.get(&segment.id).into_iter().flatten() {
                match trouble.until_done(|| reader.deleted(file)).await {
                    Ok(deleted) => deletes.add(&deleted),
                    // half written, or removed since
                    Err(error) if error.verdict == Verdict::Refused => {
                        tracing::warn!(%error, "a delta log that the source's etcd does not list is left out");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(deletes)
    }

    fn tell(&self, change: impl FnOnce(&mut BaseProgress)) {
        self.progress.send_modify(|progress| change(progress.base.get_or_insert_default()));
    }

    async fn segment(
        &mut self,
        schema: &CollectionSchema,
        shard: &Shard,
        segment: &Segment,
        (through, deletes): (Tso, [&Deletes; 3]),
    ) -> Result<()> {
        let key = schema.fields.iter().find(|field| field.is_primary_key);
        let key = key.ok_or_else(|| Error::refused("its schema has no primary key"))?;
        let reader = SegmentReader::new(self.storage, schema, segment);
        let mut trouble = Trouble::new(self.progress, "reading the source's segments");
        let blocks = reader.blocks()?;
        let mut met = (self.repeats && blocks > 1).then(Met::default);
        for number in 0..blocks {
            let block = trouble.until_done(|| reader.block(number)).await?;
            let keys = block.rows.keys(&key.name)?;
            let lives = |(key, tso): (crate::rows::Key, &Tso)| {
                *tso <= through && !deletes.iter().any(|deletes| deletes.cover(&key, *tso))
            };
            let mut is_new = |tso, id| met.as_mut().is_none_or(|met| met.insert(tso, id));
            let rows = keys.iter().zip(&block.tsos).zip(&block.row_ids).enumerate();
            let living = rows.filter_map(|(number, ((key, tso), id))| {
                (is_new(*tso, *id) && lives((key, tso))).then_some(number)
            });
            let living = living.collect();
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
        self.open.message(channel, begin_of(shard), Tso::BASE, INSERT, payload, rows);
        self.stored.rows.inserted += rows;
        self.tell(|base| base.rows = base.rows.saturating_add(rows));
    }

    async fn upload(&mut self) -> Result<()> {
        let open = std::mem::replace(&mut self.open, SegmentWriter::new(self.header.clone()));
        if open.records() > 0 {
            let (bytes, reference) = open.finish();
            let put = || self.uploader.put_segment(self.seq, bytes.clone(), reference.clone());
            let stored = Trouble::new(self.progress, "storing a segment of the base").until_done(put).await?;
            self.stored.segments.push(stored);
        }
        Ok(())
    }
}

/// The readable segments of one partition of a shard: those with `deletes` alone, or those with rows.
fn stored<'a>(
    list: &'a SegmentList,
    shard: &Shard,
    partition: PartitionId,
    deletes: bool,
) -> Vec<&'a Segment> {
    let place = (shard.virtual_channel.as_str(), partition, deletes);
    let here = |of: &&Segment| (of.shard.as_str(), of.partition_id, of.level == Level::L0) == place;
    list.readable().filter(here).collect()
}
