//! Rows of a segment as the queue once carried them: an Insert for each TSO, which a log holds and a replay applies like
//! any other.

use super::{Block, Segment};
use crate::change::Rows;
use crate::error::Result;
use crate::message::{COLUMN_BASED, INSERT};
use crate::pb::milvus::proto::common::MsgBase;
use crate::pb::milvus::proto::msg::InsertRequest;
use crate::tick::Tso;

impl Block {
    /// The rows with these numbers as Inserts, by TSO; of the names only ids are given, as in the queue of 2.3.
    pub fn inserts(&self, segment: &Segment, mut numbers: Vec<usize>) -> Result<Vec<InsertRequest>> {
        numbers.sort_by_key(|number| self.tsos.get(*number));
        let rows = self.rows.take(&numbers)?;
        let stamp = |number: &usize| Some((*self.tsos.get(*number)?, *self.row_ids.get(*number)?));
        let stamps = numbers.iter().filter_map(stamp).collect::<Vec<_>>();
        let groups = stamps.chunk_by(|one, next| one.0 == next.0).collect::<Vec<_>>();
        let mut inserts = Vec::with_capacity(groups.len());
        cut(rows, &groups, &mut |rows, group| inserts.push(insert(segment, rows, group)))?;
        Ok(inserts)
    }
}

/// TSO and row id.
type Stamp = (Tso, i64);

/// Gives the rows of each group to `part`. By halves: cutting one piece after the other would copy the rest each time.
fn cut(rows: Rows, groups: &[&[Stamp]], part: &mut impl FnMut(Rows, &[Stamp])) -> Result<()> {
    match groups {
        [] => {}
        [group] => part(rows, group),
        _ => {
            let (low, high) = groups.split_at(groups.len() / 2);
            let middle = low.iter().map(|group| group.len()).sum();
            cut(rows.slice(0..middle)?, low, part)?;
            cut(rows.slice(middle..rows.count)?, high, part)?;
        }
    }
    Ok(())
}

fn insert(segment: &Segment, rows: Rows, stamps: &[Stamp]) -> InsertRequest {
    let timestamps = stamps.iter().map(|(tso, _)| tso.0).collect::<Vec<_>>();
    let timestamp = timestamps.first().copied().unwrap_or_default();
    InsertRequest {
        base: Some(MsgBase { msg_type: INSERT, timestamp, ..MsgBase::default() }),
        shard_name: segment.shard.clone(),
        collection_id: segment.collection_id,
        partition_id: segment.partition_id,
        segment_id: segment.id,
        timestamps,
        row_i_ds: stamps.iter().map(|(_, row_id)| *row_id).collect(),
        num_rows: rows.count as u64,
        fields_data: rows.columns,
        version: COLUMN_BASED,
        ..InsertRequest::default()
    }
}
