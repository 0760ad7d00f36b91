//! What a backup says of itself: Go's JSON of a protobuf message. Zeros and empty lists are left out of it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::store::Store;

const FULL_META: &str = "meta/full_meta.json";
/// It is held in memory as a whole: as much as some 50,000 segments have.
const MOST_BYTES: u64 = 128 << 20;

/// A backup.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Meta {
    pub name: String,
    /// Empty: the files of segments; `snapshot`: what Milvus has exported.
    pub format: String,
    pub collection_backups: Vec<CollectionMeta>,
}

/// A collection.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CollectionMeta {
    pub collection_id: i64,
    pub partition_backups: Vec<PartitionMeta>,
    /// By virtual channel: a MsgPosition in base64.
    pub channel_checkpoints: BTreeMap<String, String>,
    /// Those whose deletes concern all partitions.
    pub l0_segments: Vec<SegmentMeta>,
}

impl CollectionMeta {
    /// All segments.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentMeta> {
        let of_partitions = self.partition_backups.iter().flat_map(|partition| &partition.segment_backups);
        of_partitions.chain(&self.l0_segments)
    }
}

/// A partition.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PartitionMeta {
    pub partition_id: i64,
    pub segment_backups: Vec<SegmentMeta>,
}

/// A segment.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SegmentMeta {
    pub segment_id: i64,
    pub collection_id: i64,
    /// -1: of all partitions.
    pub partition_id: i64,
    pub num_of_rows: i64,
    pub binlogs: Vec<FieldMeta>,
    pub deltalogs: Vec<FieldMeta>,
    /// A folder between partition and segment; 0: there is none.
    pub group_id: i64,
    pub is_l0: bool,
    /// The virtual channel; empty where the source's version did not tell it.
    pub v_channel: String,
    pub storage_version: i64,
}

/// The files of one field; deletes have none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FieldMeta {
    #[serde(rename = "fieldID")]
    pub field_id: i64,
    pub binlogs: Vec<LogMeta>,
}

/// A file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LogMeta {
    pub log_id: i64,
    /// Where it was at the source.
    pub log_path: String,
    /// Of older versions of the tool.
    pub entries_num: i64,
}

impl LogMeta {
    /// Its id, which is its name.
    pub fn id(&self) -> Result<i64> {
        let name = || self.log_path.rsplit('/').next()?.parse().ok();
        let id = Some(self.log_id).filter(|id| *id != 0).or_else(name);
        id.ok_or_else(|| {
            Error::refused(format!(
                "{FULL_META} has a file without an id: \"{}\"",
                self.log_path.escape_debug()
            ))
            .advice("compare the tool's version")
        })
    }
}

/// That of the backup in a folder.
pub async fn read(store: &Store) -> Result<Meta> {
    let listed = store.list("meta", None).await?;
    let Some((_, length)) = listed.iter().find(|(key, _)| key == FULL_META) else {
        return Err(Error::refused(format!("{store} is no folder of a backup: it has no {FULL_META}"))
            .advice("give the folder of one backup: the tool's backup root and the backup's name, s3://bucket/backup/NAME"));
    };
    if *length > MOST_BYTES {
        return Err(Error::refused(format!("{FULL_META} has {length} bytes; up to {MOST_BYTES} are read"))
            .advice("back up fewer collections at once, or give source.storage instead"));
    }
    let damaged = |why: String| {
        Error::refused(format!("{FULL_META} in {store} {why}"))
            .advice("bring the backup back from a copy of it")
    };
    let bytes = store.get(FULL_META).await?.ok_or_else(|| damaged("is gone".into()))?;
    let meta: Meta =
        serde_json::from_slice(&bytes).map_err(|error| damaged(format!("cannot be read: {error}")))?;
    match meta.format.as_str() {
        "" => Ok(meta),
        other => Err(Error::refused(format!(
            "the backup {} has the format \"{}\"",
            meta.name,
            other.escape_debug()
        ))
        .advice("make one in the binlog format, or give source.storage instead")),
    }
}
