//! One collection whose living rows are looked for. Pure.

use std::collections::{BTreeSet, HashMap};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use prost::Message;

use super::Insert;
use super::closed::Closed;
use crate::archive::layout::{self, Layout};
use crate::archive::read::{self, Change};
use crate::archive::table::Op;
use crate::catalog::{CollectionId, PartitionId};
use crate::change::Rows;
use crate::error::{Error, Result};
use crate::message::{self, ALL_PARTITIONS, COLUMN_BASED, INSERT};
use crate::pb::log::Collection;
use crate::pb::milvus::proto::common::MsgBase;
use crate::pb::milvus::proto::msg::InsertRequest;
use crate::pb::milvus::proto::schema::FieldData;
use crate::rows::{Key, with_nulls};
use crate::tick::Tso;

/// A collection as it is in the end.
pub struct Scope {
    id: CollectionId,
    partitions: BTreeSet<PartitionId>,
    /// Virtual channels by channel. Where two are on one, either does: nothing else is in flight when a replay leaves a base.
    shards: HashMap<String, String>,
    key_field: String,
    partition_key: bool,
}

impl Scope {
    /// Of a collection of a catalog.
    pub fn new(collection: &Collection) -> Result<Scope> {
        let layout = Layout::new(&collection.schema.clone().unwrap_or_default())?;
        let shards = collection.channels.iter();
        Ok(Scope {
            id: collection.id,
            partitions: collection.partitions.iter().map(|partition| partition.id).collect(),
            shards: shards.map(|shard| (shard.channel.clone(), shard.virtual_channel.clone())).collect(),
            key_field: layout.key_field().to_owned(),
            partition_key: layout.partition_key,
        })
    }

    /// Whether a row lives. What it does to older ones is noted.
    pub fn lives(&self, closed: &mut Closed, change: &Change, key: &Key) -> bool {
        let Change { op, tso, partition } = *change;
        // As in a replay: where the source chooses the partition, a delete reaches them all.
        let everywhere = self.partition_key || partition == ALL_PARTITIONS;
        let exists = self.partitions.contains(&partition);
        if !(exists || everywhere) || !closed.takes(self.id, key) {
            return false;
        }
        let lives = exists && op != Op::Delete && closed.lives(self.id, partition, key, tso);
        if op != Op::Insert {
            closed.close(self.id, (!everywhere).then_some(partition), key, tso);
        }
        lives
    }

    /// Rows of a file, all of which live, apart by shard and partition.
    pub fn inserts(&self, layout: &Layout, batch: &RecordBatch) -> Result<Vec<Insert>> {
        let channels = batch.column(layout::CHANNEL).as_string_opt::<i32>();
        let partitions = batch.column(layout::PARTITION_ID).as_primitive_opt::<Int64Type>();
        let (Some(channels), Some(partitions)) = (channels, partitions) else { return Err(unfit()) };
        let place = |row: usize| (channels.value(row), partitions.value(row));
        let places = (0..batch.num_rows()).map(place).collect::<BTreeSet<_>>();
        let inserts = places.into_iter().map(|(channel, partition)| {
            let here = (0..batch.num_rows()).map(|row| Some(place(row) == (channel, partition)));
            let batch = filter_record_batch(batch, &BooleanArray::from_iter(here)).map_err(|_| unfit())?;
            let mut rows = read::fields(layout, &batch).ok_or_else(unfit)?;
            rows.columns.retain(|column| was_brought(layout, column));
            let payload = self.request(channel, partition, rows)?;
            Ok(Insert { channel: channel.to_owned(), rows: batch.num_rows() as u64, payload })
        });
        inserts.collect()
    }

    fn request(&self, channel: &str, partition_id: PartitionId, rows: Rows) -> Result<Bytes> {
        let shard = self.shards.get(channel).ok_or_else(|| {
            Error::refused(format!(
                "rows of collection {} came on {channel}, which is none of its channels",
                self.id
            ))
            .advice("`tapedeck log verify` tells whether the log is damaged")
        })?;
        let request = InsertRequest {
            base: Some(MsgBase { msg_type: INSERT, timestamp: Tso::BASE.0, ..MsgBase::default() }),
            shard_name: shard.clone(),
            collection_id: self.id,
            partition_id,
            timestamps: vec![Tso::BASE.0; rows.count],
            row_i_ds: vec![0; rows.count],
            num_rows: rows.count as u64,
            fields_data: rows.columns,
            version: COLUMN_BASED,
            ..InsertRequest::default()
        };
        Ok(request.encode_to_vec().into())
    }

    /// Those rows of an earlier base that live.
    pub fn rest(&self, closed: &Closed, channel: &str, payload: Bytes) -> Result<Option<Insert>> {
        let request = message::insert(payload.clone())?;
        let (partition, fields) = (request.partition_id, request.fields_data.into_iter());
        let rows =
            Rows { columns: fields.map(with_nulls).collect::<Result<_>>()?, count: request.timestamps.len() };
        if !self.partitions.contains(&partition) {
            return Ok(None);
        }
        let keys = rows.keys(&self.key_field)?;
        let lives =
            |key: &Key| closed.takes(self.id, key) && closed.lives(self.id, partition, key, Tso::BASE);
        let living = keys.iter().enumerate().filter(|(_, key)| lives(key));
        let living = living.map(|(number, _)| number).collect::<Vec<_>>();
        let payload = match living.len() {
            0 => return Ok(None),
            all if all == rows.count => payload,
            _ => self.request(channel, partition, rows.take(&living)?)?,
        };
        Ok(Some(Insert { channel: channel.to_owned(), rows: living.len() as u64, payload }))
    }
}

/// A required field of which all rows are null is one that their messages did not bring.
fn was_brought(layout: &Layout, column: &FieldData) -> bool {
    let nullable = layout.fields.iter().any(|field| field.field_id == column.field_id && field.nullable);
    nullable || column.valid_data.is_empty() || column.valid_data.contains(&true)
}

fn unfit() -> Error {
    Error::refused("rows of the archive that cannot be read back")
        .advice("report their collection's definition")
}
