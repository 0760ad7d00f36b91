//! Row messages of one collection as rows of its archive files. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array, new_null_array,
};
use arrow_schema::FieldRef;

use super::encode;
use super::layout::{Layout, SYSTEM_COLUMNS};
use crate::catalog::{Catalog, CollectionId, PartitionId};
use crate::change::{Keys, Rows};
use crate::error::{Error, Result};
use crate::message::{self, Kind};
use crate::pb::log::Message;
use crate::pb::milvus::proto::schema::{CollectionSchema, FieldData, FieldSchema};
use crate::position::Position;
use crate::rows::{Key, with_nulls};
use crate::tick::Tso;

/// What was done with a row. Those of one key and one TSO stand in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// All rows of the key went.
    Delete,
    /// It replaced those of its key.
    Upsert,
    /// It came.
    Insert,
}

impl Op {
    /// As the column `_op` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Delete => "delete",
            Op::Upsert => "upsert",
            Op::Insert => "insert",
        }
    }

    /// From the column `_op`.
    pub fn parse(text: &str) -> Option<Op> {
        [Op::Delete, Op::Upsert, Op::Insert].into_iter().find(|op| op.as_str() == text)
    }
}

/// A collection, as its rows are archived.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its id.
    pub id: CollectionId,
    /// Its database's name at the time.
    pub database: String,
    /// Its name at the time.
    pub collection: String,
    /// Its schema.
    pub schema: CollectionSchema,
    /// The columns.
    pub layout: Layout,
    partitions: BTreeMap<PartitionId, String>,
}

/// A message of an insert or a delete, as a segment has it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where it came from.
    pub channel: Arc<str>,
    /// It.
    pub message: Message,
}

/// A message with rows.
#[derive(Clone, Debug)]
pub struct RowMessage {
    tso: Tso,
    channel: Arc<str>,
    position: Position,
    body: Body,
}

/// What a message says of rows.
#[derive(Clone, Debug)]
enum Body {
    /// They come.
    Insert(PartitionId, Rows),
    /// Those of these keys go.
    Delete(PartitionId, Keys),
}

impl RowMessage {
    /// Decodes a message.
    pub fn decode(Sent { channel, message: sent }: Sent) -> Result<RowMessage> {
        let body = if message::kind(sent.r#type) == Kind::Delete {
            let request = message::delete(sent.payload)?;
            let keys = Keys::from_pb(request.primary_keys, request.int64_primary_keys);
            Body::Delete(request.partition_id, keys)
        } else {
            let request = message::insert(sent.payload)?;
            let columns = request.fields_data.into_iter().map(with_nulls).collect::<Result<_>>()?;
            let rows = Rows { columns, count: request.timestamps.len() };
            rows.check()?;
            Body::Insert(request.partition_id, rows)
        };
        let position = sent.position.unwrap_or_default().into();
        Ok(RowMessage { tso: Tso(sent.tso), channel, position, body })
    }
}

impl Table {
    /// A collection of a catalog.
    pub fn new(catalog: &Catalog, id: CollectionId) -> Result<Table> {
        let collection = catalog.collections.get(&id);
        let collection = collection.ok_or_else(|| {
            Error::refused(format!("rows of collection {id}, which the log's catalog does not hold"))
        })?;
        let schema = collection.schema.clone().unwrap_or_default();
        let partitions = collection.partitions.iter().map(|partition| (partition.id, partition.name.clone()));
        Ok(Table {
            id,
            database: catalog.database_name(collection.database_id).unwrap_or_default().to_owned(),
            collection: collection.name.clone(),
            layout: Layout::new(&schema)?,
            schema,
            partitions: partitions.collect(),
        })
    }

    /// The rows of all messages of one TSO. A delete and an insert of one key are an upsert, which a source writes so;
    /// where the delete reaches further than the partition of the insert they stay two.
    pub fn batches(&self, messages: &[RowMessage]) -> Result<Vec<RecordBatch>> {
        let replaced = self.replaced(messages)?;
        let is_replaced =
            |partition, key| !replaced.is_empty() && replaced.contains(&(self.reach(partition), key));
        let mut batches = Vec::new();
        for message in messages {
            let (partition, ops, fields) = match &message.body {
                Body::Insert(partition, rows) => {
                    let keys = rows.keys(self.layout.key_field())?;
                    let upsert = keys.iter().map(|key| is_replaced(*partition, key));
                    let ops = upsert.map(|upsert| if upsert { Op::Upsert } else { Op::Insert });
                    (*partition, ops.collect::<Vec<_>>(), self.fields(rows)?)
                }
                Body::Delete(partition, keys) => {
                    let rest =
                        (0..).zip(keys.iter()).filter(|(_, key)| !is_replaced(*partition, key.clone()));
                    let keys = keys.take(&rest.map(|(number, _)| number).collect::<Vec<_>>());
                    (*partition, vec![Op::Delete; keys.len()], self.key_alone(keys))
                }
            };
            if !ops.is_empty() {
                let columns = self.system(message, partition, &ops).into_iter().chain(fields).collect();
                let batch = RecordBatch::try_new(self.layout.columns.clone(), columns);
                batches.push(batch.map_err(|error| unfit(error.to_string()))?);
            }
        }
        Ok(batches)
    }

    /// Keys, and where they are, that are deleted and inserted at once.
    fn replaced(&self, messages: &[RowMessage]) -> Result<HashSet<(Option<PartitionId>, Key)>> {
        let mut deleted = HashSet::new();
        if messages.iter().any(|message| matches!(message.body, Body::Insert(..))) {
            for message in messages {
                let Body::Delete(partition, keys) = &message.body else { continue };
                deleted.extend(keys.iter().map(|key| (self.reach(*partition), key)));
            }
        }
        let mut replaced = HashSet::new();
        for message in messages {
            let Body::Insert(partition, rows) = &message.body else { continue };
            if deleted.is_empty() {
                break;
            }
            let keys = rows.keys(self.layout.key_field())?;
            let keys = keys.iter().map(|key| (self.reach(*partition), key));
            replaced.extend(keys.filter(|key| deleted.contains(key)));
        }
        Ok(replaced)
    }

    /// In which partition a delete and an insert meet: anywhere where the source chooses it by the row's values.
    fn reach(&self, partition: PartitionId) -> Option<PartitionId> {
        (!self.layout.partition_key).then_some(partition)
    }

    /// What was done, for each row of a message.
    fn system(&self, message: &RowMessage, partition: PartitionId, ops: &[Op]) -> [ArrayRef; SYSTEM_COLUMNS] {
        let rows = ops.len();
        let millis = i64::try_from(message.tso.millis()).unwrap_or(i64::MAX);
        let name = self.partitions.get(&partition);
        [
            Arc::new(StringArray::from_iter_values(ops.iter().map(|op| op.as_str()))),
            Arc::new(UInt64Array::from_value(message.tso.0, rows)),
            Arc::new(TimestampMillisecondArray::from_value(millis, rows).with_timezone("UTC")),
            Arc::new(StringArray::from_iter(std::iter::repeat_n(name, rows))),
            Arc::new(Int64Array::from_value(partition, rows)),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&message.channel, rows))),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(message.position.to_string(), rows))),
        ]
    }

    /// The fields of rows that came. A field that a message does not bring is null; one that the schema does not have is
    /// refused.
    fn fields(&self, rows: &Rows) -> Result<Vec<ArrayRef>> {
        let is_of = |column: &FieldData, field: &FieldSchema| match column.field_id {
            0 => column.field_name == field.name,
            id => id == field.field_id,
        };
        let unknown =
            rows.columns.iter().find(|column| !self.layout.fields.iter().any(|field| is_of(column, field)));
        if let Some(unknown) = unknown {
            return Err(unfit(format!("a column \"{}\" that is no field", unknown.field_name)));
        }
        let columns = self.layout.fields.iter().zip(self.layout.columns.fields().iter().skip(SYSTEM_COLUMNS));
        let columns =
            columns.map(|(field, column)| match rows.columns.iter().find(|given| is_of(given, field)) {
                Some(given) if given.field.is_some() => encode::array(column.data_type(), given)
                    .map_err(|error| unfit(format!("field \"{}\": {error}", field.name))),
                _ => Ok(new_null_array(column.data_type(), rows.count)),
            });
        columns.collect()
    }

    /// The fields of rows of which the key alone is known.
    fn key_alone(&self, keys: Keys) -> Vec<ArrayRef> {
        let columns = self.layout.columns.fields().iter().enumerate().skip(SYSTEM_COLUMNS);
        let (number, rows) = (self.layout.key_column(), keys.len());
        let keys: ArrayRef = match keys {
            Keys::Int(keys) => Arc::new(Int64Array::from(keys)),
            Keys::Text(keys) => Arc::new(StringArray::from(keys)),
        };
        let column = |(at, column): (usize, &FieldRef)| match at == number {
            true => keys.clone(),
            false => new_null_array(column.data_type(), rows),
        };
        columns.map(column).collect()
    }
}

fn unfit(why: String) -> Error {
    Error::refused(format!("rows that do not fit their collection's schema: {why}"))
        .advice("`tapedeck log verify` tells whether the log is damaged; if it is not, report the collection's definition")
}
