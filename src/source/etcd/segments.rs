//! The segments of a Milvus, as its etcd lists them.
//!
//! A segment's key holds all but its files; those of each field, and its deletes, have keys of their own. Of a file etcd
//! has only the id: its path follows from the key. Milvus bounds its transactions, so a revision may lie within one of
//! its writes: where a compaction shows that, the listing is to be tried again.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::EtcdCatalog;
use super::keys::odd;
use crate::catalog::CollectionId;
use crate::error::{Error, Result};
use crate::pb::milvus::proto::meta::{Binlog, FieldBinlog, MsgPosition, SegmentInfo};
use crate::position::Position;
use crate::source::segments::{
    Checkpoint, FieldId, Level, LogFile, Segment, SegmentId, SegmentList, SegmentState,
};
use crate::tick::Tso;

const SPANS: [(&str, &str); 4] = [
    ("datacoord-meta/s/", "datacoord-meta/s0"),
    ("datacoord-meta/binlog/", "datacoord-meta/binlog0"),
    ("datacoord-meta/deltalog/", "datacoord-meta/deltalog0"),
    ("datacoord-meta/channel-cp/", "datacoord-meta/channel-cp0"),
];

/// Listings that compaction may overtake before the next try is left to the caller.
const LISTINGS: usize = 5;

impl EtcdCatalog {
    pub(super) async fn list_segments(&mut self, of: &BTreeSet<CollectionId>) -> Result<SegmentList> {
        'listing: for _ in 0..LISTINGS {
            let (_, revision) = self.store.header().await?;
            let mut listing = Listing::new(of);
            for span in SPANS {
                if !self.store.scan(span, revision, |name, pair| listing.put(name, pair.value())).await? {
                    continue 'listing;
                }
            }
            return listing.finish(revision);
        }
        Err(Error::retry("etcd compacts faster than the source's segments can be listed"))
    }
}

/// What was read so far.
pub(in crate::source) struct Listing<'a> {
    of: &'a BTreeSet<CollectionId>,
    segments: BTreeMap<SegmentId, Segment>,
    binlogs: BTreeMap<(SegmentId, FieldId), Vec<LogFile>>,
    deltas: BTreeMap<SegmentId, Vec<LogFile>>,
    checkpoints: BTreeMap<String, Checkpoint>,
}

impl<'a> Listing<'a> {
    pub fn new(of: &'a BTreeSet<CollectionId>) -> Listing<'a> {
        let (segments, binlogs, deltas) = Default::default();
        Listing { of, segments, binlogs, deltas, checkpoints: BTreeMap::new() }
    }

    /// Takes in one key, given without `{root}/{meta}/`, and its value.
    pub fn put(&mut self, name: &str, value: &[u8]) -> Result<()> {
        let id = |text: &str| text.parse::<i64>().map_err(|_| odd(name));
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["datacoord-meta", "s", collection, _, segment] if self.wants(id(collection)?) => {
                self.segments.insert(id(segment)?, segment_of(name, value)?);
            }
            ["datacoord-meta", "binlog", collection, partition, segment, field]
                if self.wants(id(collection)?) =>
            {
                let folder = format!("insert_log/{collection}/{partition}/{segment}/{field}/");
                self.binlogs.insert((id(segment)?, id(field)?), files(name, value, &folder)?);
            }
            ["datacoord-meta", "deltalog", collection, partition, segment, _]
                if self.wants(id(collection)?) =>
            {
                let folder = format!("delta_log/{collection}/{partition}/{segment}/");
                self.deltas.entry(id(segment)?).or_default().extend(files(name, value, &folder)?);
            }
            ["datacoord-meta", "channel-cp", channel]
                if collection_of(channel).is_some_and(|id| self.wants(id)) =>
            {
                if let Some(checkpoint) = checkpoint(name, Some(decode(name, value)?))? {
                    self.checkpoints.insert((*channel).to_owned(), checkpoint);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn wants(&self, id: CollectionId) -> bool {
        self.of.contains(&id)
    }

    /// Puts the files to their segments; those of a segment that is no longer there belong to nothing.
    pub fn finish(mut self, revision: i64) -> Result<SegmentList> {
        for ((id, field), files) in self.binlogs {
            if let Some(segment) = self.segments.get_mut(&id) {
                segment.binlogs.insert(field, files);
            }
        }
        for (id, files) in self.deltas {
            if let Some(segment) = self.segments.get_mut(&id) {
                segment.deltas = files;
            }
        }
        let list = SegmentList { revision, segments: self.segments, checkpoints: self.checkpoints };
        check(&list)?;
        Ok(list)
    }
}

/// Whether no row is listed twice, and none without a file.
fn check(list: &SegmentList) -> Result<()> {
    let readable = || list.segments.values().filter(|segment| segment.is_readable());
    let taken_over = readable().flat_map(|segment| list.taken_over_by(segment)).collect::<BTreeSet<_>>();
    if let Some(Segment { id, .. }) = readable().find(|segment| taken_over.contains(&segment.id)) {
        return Err(Error::retry(format!("etcd lists segment {id} beside the one that took over its rows"))
            .advice("it should pass when the source's compaction is finished"));
    }
    let lost = |segment: &&Segment| {
        let stored = segment.state == SegmentState::Flushed && segment.level != Level::L0;
        stored && segment.rows > 0 && segment.binlogs.is_empty()
    };
    match readable().find(lost) {
        None => Ok(()),
        Some(Segment { id, rows, .. }) => {
            Err(Error::refused(format!("etcd lists no file for the {rows} rows of the flushed segment {id}"))
                .advice(
                    "compare the source's version with those that are supported: it may keep them elsewhere",
                ))
        }
    }
}

/// `{channel}_{collection}v{shard}`
fn collection_of(virtual_channel: &str) -> Option<CollectionId> {
    let (_, last) = virtual_channel.rsplit_once('_')?;
    last.split_once('v')?.0.parse().ok()
}

fn segment_of(name: &str, value: &[u8]) -> Result<Segment> {
    let info: SegmentInfo = decode(name, value)?;
    Ok(Segment {
        id: info.id,
        collection_id: info.collection_id,
        partition_id: info.partition_id,
        state: state(name, info.state)?,
        level: level(name, info.level)?,
        rows: u64::try_from(info.num_of_rows).unwrap_or_default(),
        start: checkpoint(name, info.start_position)?,
        dml: checkpoint(name, info.dml_position)?,
        shard: info.insert_channel,
        compacted_from: info.compaction_from,
        compacted: info.compacted,
        dropped_ms: info.dropped_at / 1_000_000,
        importing: info.is_importing,
        // What was just flushed is invisible too, until it is sorted: since 2.5.
        unfinished: info.is_importing || info.is_fake || (info.is_invisible && info.created_by_compaction),
        binlogs: BTreeMap::new(),
        deltas: Vec::new(),
    })
}

fn state(name: &str, number: i32) -> Result<SegmentState> {
    Ok(match number {
        2 => SegmentState::Growing,
        3 => SegmentState::Sealed,
        4 => SegmentState::Flushed,
        5 => SegmentState::Flushing,
        1 | 6 => SegmentState::Dropped, // 1: does not exist
        7 => SegmentState::Importing,
        _ => return Err(unknown(name, format_args!("state {number}"))),
    })
}

fn level(name: &str, number: i32) -> Result<Level> {
    Ok(match number {
        0 | 2 => Level::L1, // 0: written before there were levels
        1 => Level::L0,
        3 => Level::L2,
        _ => return Err(unknown(name, format_args!("level {number}"))),
    })
}

/// Positions without a message id are none.
fn checkpoint(name: &str, stored: Option<MsgPosition>) -> Result<Option<Checkpoint>> {
    let Some(stored) = stored.filter(|stored| !stored.msg_id.is_empty()) else { return Ok(None) };
    let position = Position::of_queue(&stored.msg_id).ok_or_else(|| {
        unknown(name, format_args!("a message id of {} bytes in a position", stored.msg_id.len()))
    })?;
    Ok(Some(Checkpoint { position, tso: Tso(stored.timestamp) }))
}

fn files(name: &str, value: &[u8], folder: &str) -> Result<Vec<LogFile>> {
    let stored: FieldBinlog = decode(name, value)?;
    let kind = folder.split('/').next().unwrap_or_default();
    let path = |file: &Binlog| match file.log_path.find(kind) {
        // of older versions, with the root path before it
        Some(begin) => file.log_path.get(begin..).unwrap_or_default().to_owned(),
        None => format!("{folder}{}", file.log_id),
    };
    let file = |file: Binlog| {
        let entries = u64::try_from(file.entries_num);
        let entries = entries.map_err(|_| unknown(name, format_args!("{} entries", file.entries_num)))?;
        Ok(LogFile { path: path(&file), entries: Some(entries) })
    };
    stored.binlogs.into_iter().map(file).collect()
}

fn decode<M: Message + Default>(name: &str, value: &[u8]) -> Result<M> {
    M::decode(value).map_err(|error| unknown(name, format_args!("a value that is no message ({error})")))
}

fn unknown(name: &str, what: std::fmt::Arguments<'_>) -> Error {
    Error::refused(format!("{name} in etcd has {what}, which is not known"))
        .advice("compare the source's version with those that are supported")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Verdict;

    const STATES: [(i32, SegmentState); 6] = [
        (2, SegmentState::Growing),
        (3, SegmentState::Sealed),
        (4, SegmentState::Flushed),
        (5, SegmentState::Flushing),
        (6, SegmentState::Dropped),
        (7, SegmentState::Importing),
    ];

    fn info(id: i64, state: i32) -> SegmentInfo {
        SegmentInfo { id, collection_id: 1, partition_id: 2, state, ..SegmentInfo::default() }
    }

    fn listed(infos: &[SegmentInfo], files: &[(&str, FieldBinlog)]) -> Result<SegmentList> {
        let of = BTreeSet::from([1]);
        let mut listing = Listing::new(&of);
        for info in infos {
            let key = format!("datacoord-meta/s/{}/2/{}", info.collection_id, info.id);
            listing.put(&key, &info.encode_to_vec())?;
        }
        for (key, files) in files {
            listing.put(key, &files.encode_to_vec())?;
        }
        listing.finish(9)
    }

    #[test]
    fn segments_of_all_states_are_told_apart_and_those_of_other_collections_left_out() {
        let mut infos = STATES.map(|(state, _)| info(i64::from(state), state)).to_vec();
        infos.push(SegmentInfo { collection_id: 3, ..info(100, 4) });
        infos.push(SegmentInfo { is_invisible: true, created_by_compaction: true, ..info(101, 4) });
        infos.push(SegmentInfo { is_invisible: true, ..info(104, 4) });
        infos.push(SegmentInfo { is_importing: true, ..info(102, 4) });
        infos.push(SegmentInfo { level: 1, num_of_rows: 5, ..info(103, 4) });
        let list = listed(&infos, &[]).unwrap();
        for (id, state) in STATES {
            assert_eq!(list.segments[&i64::from(id)].state, state);
        }
        let readable = list.segments.values().filter(|segment| segment.is_readable());
        assert_eq!(readable.map(|segment| segment.id).collect::<Vec<_>>(), [2, 3, 4, 5, 103, 104]);
        assert_eq!((list.segments[&103].level, list.segments.contains_key(&100)), (Level::L0, false));
        for odd in [info(1, 8), SegmentInfo { level: 4, ..info(1, 4) }] {
            let error = listed(&[odd], &[]).unwrap_err();
            assert!(error.message.contains("datacoord-meta/s/1/2/1 in etcd has"), "{error}");
        }
    }

    #[test]
    fn deletes_that_were_dropped_a_moment_ago_count_on_and_rows_do_not() {
        let dropped = |id, level, ms: u64| SegmentInfo { level, dropped_at: ms * 1_000_000, ..info(id, 6) };
        let deletes = [dropped(1, 1, 7_000), dropped(2, 1, 6_999), dropped(5, 1, 0)];
        let infos = [&deletes[..], &[dropped(3, 3, 7_000), dropped(4, 0, 7_000)]].concat();
        let list = listed(&infos, &[]).unwrap();
        assert_eq!(list.readable().count(), 0);
        let list = list.with_deletes_dropped_since(7_000);
        assert_eq!(list.readable().map(|segment| segment.id).collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn a_collection_is_importing_while_one_of_its_segments_is() {
        let importing = |infos: &[SegmentInfo]| listed(infos, &[]).unwrap().importing();
        assert_eq!(importing(&[info(1, 4), info(2, 6)]), BTreeSet::new());
        assert_eq!(importing(&[info(1, 4), info(2, 7)]), BTreeSet::from([1]));
        let of_import = |state| SegmentInfo { is_importing: true, ..info(3, state) };
        assert_eq!(importing(&[of_import(5)]), BTreeSet::from([1]));
        assert_eq!(importing(&[of_import(6)]), BTreeSet::new());
    }

    #[test]
    fn a_listing_with_rows_twice_or_without_files_is_no_base() {
        let result = SegmentInfo { compaction_from: vec![7], ..info(8, 4) };
        assert!(listed(&[info(7, 6), result.clone()], &[]).is_ok());
        let error = listed(&[info(7, 4), result.clone()], &[]).unwrap_err();
        assert_eq!(error.verdict, Verdict::Retry);
        // by way of one that a clustering compaction of 2.5 has for a while
        let sorted = SegmentInfo { compaction_from: vec![8], ..info(9, 4) };
        let between = SegmentInfo { state: 6, ..result };
        assert!(listed(&[info(7, 6), between.clone(), sorted.clone()], &[]).is_ok());
        let error = listed(&[info(7, 4), between, sorted], &[]).unwrap_err();
        assert_eq!(error.verdict, Verdict::Retry);
        let error = listed(&[SegmentInfo { num_of_rows: 5, ..info(7, 4) }], &[]).unwrap_err();
        assert!(error.message.contains("no file for the 5 rows of the flushed segment 7"), "{error}");
    }

    #[test]
    fn paths_follow_from_keys_unless_etcd_has_them_whole() {
        let binlogs = |log_path: &str| {
            let log = Binlog { entries_num: 3, log_id: 44, log_path: log_path.into(), ..Binlog::default() };
            FieldBinlog { field_id: 100, binlogs: vec![log] }
        };
        let files = [
            ("datacoord-meta/binlog/1/2/7/100", binlogs("")),
            ("datacoord-meta/binlog/1/2/7/101", binlogs("files/insert_log/1/2/7/101/45")),
            ("datacoord-meta/deltalog/1/2/7/0", binlogs("")),
        ];
        let list = listed(&[info(7, 4)], &files).unwrap();
        let path = |path: &str| vec![LogFile { path: path.into(), entries: Some(3) }];
        let segment = &list.segments[&7];
        assert_eq!(segment.binlogs[&100], path("insert_log/1/2/7/100/44"));
        assert_eq!(segment.binlogs[&101], path("insert_log/1/2/7/101/45"));
        assert_eq!(segment.deltas, path("delta_log/1/2/7/44"));
    }
}
