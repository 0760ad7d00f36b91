//! What the data nodes of the small Milvus do with segments that are stored.

use std::collections::BTreeMap;

use super::MemorySource;
use super::binlog::write_rows;
use crate::pb::log::Collection;
use crate::rows::Key;
use crate::source::segments::{Level, Segment, SegmentId, SegmentList, SegmentReader, SegmentState};
use crate::store::Store;

impl MemorySource {
    /// What is stored, as the storage itself shows it, after a data node has died that had stored rows and not named the
    /// files: the next one has stored them again, cut differently.
    pub async fn segments_with_repeats(&self, storage: &Store) -> SegmentList {
        let (live, mut list) = (self.catalog.live(), self.stored.list.clone());
        for segment in list.segments.values_mut().filter(|segment| segment.is_readable()) {
            let collection = live.collections.get(&segment.collection_id).expect("a live collection");
            let (schema, named) = (collection.schema.as_ref().expect("a schema"), segment.clone());
            let reader = SegmentReader::new(storage, schema, &named);
            for number in 0..reader.blocks().expect("whole blocks") {
                let block = reader.block(number).await.expect("a block");
                let some = (0..block.rows.count.div_ceil(2)).collect();
                for insert in block.inserts(&named, some).expect("rows") {
                    write_rows(storage, segment, insert).await;
                }
            }
        }
        list
    }

    /// Puts the rows that live, of all segments of a partition and a shard, into a new one. The files of the old ones are
    /// removed at once, not after hours.
    pub async fn compact_segments(&mut self, storage: &Store) {
        let mut places = BTreeMap::<_, Vec<_>>::new();
        for segment in self.stored.list.readable().filter(|segment| segment.level == Level::L1) {
            let place = (segment.shard.clone(), segment.partition_id);
            places.entry(place).or_default().push(segment.clone());
        }
        let (live, mut removed) = (self.catalog.live(), Vec::new());
        for old in places.into_values() {
            let of = old.first().and_then(|first| live.collections.get(&first.collection_id));
            let Some(collection) = of else { continue };
            let new = compacted(storage, collection, &old, self.next_id()).await;
            self.stored.list.segments.insert(new.id, new);
            for segment in old {
                removed.extend(segment.binlogs.values().flatten().chain(&segment.deltas).cloned());
                let dropped = Segment { state: SegmentState::Dropped, compacted: true, ..segment };
                self.stored.list.segments.insert(dropped.id, dropped);
            }
        }
        self.show_segments();
        for file in removed {
            storage.delete(&file.path).await.expect("a store");
        }
    }
}

async fn compacted(storage: &Store, collection: &Collection, old: &[Segment], id: SegmentId) -> Segment {
    let schema = collection.schema.as_ref().expect("a schema");
    let readers = old.iter().map(|segment| SegmentReader::new(storage, schema, segment)).collect::<Vec<_>>();
    let mut deletes = Vec::new();
    for reader in &readers {
        deletes.push(reader.deletes().await.expect("deletes"));
    }
    let first = old.first().expect("a segment");
    let mut new = Segment {
        id,
        compacted_from: old.iter().map(|segment| segment.id).collect(),
        rows: 0,
        binlogs: BTreeMap::new(),
        deltas: vec![],
        ..first.clone()
    };
    for (segment, reader) in old.iter().zip(&readers) {
        for number in 0..reader.blocks().expect("whole blocks") {
            let block = reader.block(number).await.expect("a block");
            let keys = block.rows.keys("id").expect("keys");
            let lives = |key: &Key, tso| !deletes.iter().any(|deletes| deletes.cover(key, tso));
            let rows = keys.iter().zip(&block.tsos).enumerate();
            let living = rows.filter_map(|(row, (key, tso))| lives(&key, *tso).then_some(row)).collect();
            for insert in block.inserts(segment, living).expect("rows") {
                write_rows(storage, &mut new, insert).await;
            }
        }
    }
    new
}
