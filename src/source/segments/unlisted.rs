//! Delta logs that are stored and that etcd does not list.
//!
//! Deletes that are stored while a compaction runs belong to the segment that it makes. Where they were of several of the
//! segments that it merges, Milvus 2.3 writes their lists to one key of etcd, and the last one stays; those of later deletes
//! of that segment are lost the same way. Milvus' own memory has them all until it starts again. What a delta log says has
//! happened, wherever it is found.

use std::collections::BTreeMap;

use super::{LogFile, SegmentId, SegmentList};
use crate::catalog::CollectionId;
use crate::error::Result;
use crate::store::Store;

impl SegmentList {
    /// The delta logs in the folders of a collection's readable segments that are not listed.
    pub async fn unlisted_deltas(
        &self,
        storage: &Store,
        of: CollectionId,
    ) -> Result<BTreeMap<SegmentId, Vec<LogFile>>> {
        let mut unlisted = BTreeMap::<_, Vec<_>>::new();
        let see = |path: &str, _| {
            let id = path.split('/').nth(3).and_then(|segment| segment.parse().ok());
            let Some(segment) = id.and_then(|id| self.segments.get(&id)) else { return };
            if segment.is_readable() && segment.deltas.iter().all(|listed| listed.path != path) {
                let file = LogFile { path: path.to_owned(), entries: None };
                unlisted.entry(segment.id).or_default().push(file);
            }
        };
        storage.scan(&format!("delta_log/{of}"), None, see).await?;
        Ok(unlisted)
    }
}
