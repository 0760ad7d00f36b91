//! Row messages of one lane as row changes: decodes them, and pairs the two halves of an upsert. Pure.

use std::collections::HashSet;

use crate::change::{Keys, RowChange, Rows};
use crate::error::{Error, Result};
use crate::message::{self, ALL_PARTITIONS};
use crate::rows::{Key, with_nulls};

use super::naming::Destination;
use super::steps::RowMessage;

/// The changes of messages with one TSO: deletes, then upserts, then inserts. A source writes an upsert as a delete and
/// an insert of the same TSO; where the delete reaches further than the insert's partition they stay two.
pub fn changes(messages: &[RowMessage], to: &Destination) -> Result<Vec<RowChange>> {
    let mut deleted = Vec::new();
    let mut inserted = Vec::new();
    for message in messages {
        if message.delete {
            deleted.push(delete(message, to)?);
        } else {
            inserted.push(insert(message, to)?);
        }
    }
    if deleted.is_empty() || inserted.is_empty() {
        let deletes = deleted.into_iter().map(|(partition, keys)| to.delete(partition, keys));
        let inserts = inserted.into_iter().map(|(partition, rows)| RowChange::Insert { partition, rows });
        return Ok(deletes.chain(inserts).collect());
    }
    pair(deleted, inserted, to)
}

type Of<T> = (Option<String>, T);

fn pair(deleted: Vec<Of<Keys>>, inserted: Vec<Of<Rows>>, to: &Destination) -> Result<Vec<RowChange>> {
    let mut upserts = Vec::new();
    let mut inserts = Vec::new();
    let mut upserted = HashSet::new();
    for (partition, rows) in inserted {
        let same = deleted.iter().filter(|(from, _)| *from == partition);
        let replaced = same.flat_map(|(_, keys)| keys.iter()).collect::<HashSet<_>>();
        let keys = rows.keys(&to.key_field)?;
        let (upsert, insert): (Vec<_>, Vec<_>) =
            keys.iter().enumerate().partition(|(_, key)| replaced.contains(key));
        upserted.extend(upsert.iter().map(|(_, key)| (partition.clone(), key.clone())));
        let numbers = |part: &[(usize, Key)]| part.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        if insert.is_empty() {
            upserts.push(RowChange::Upsert { partition, rows });
        } else if upsert.is_empty() {
            inserts.push(RowChange::Insert { partition, rows });
        } else {
            upserts.push(RowChange::Upsert {
                partition: partition.clone(),
                rows: rows.take(&numbers(&upsert))?,
            });
            inserts.push(RowChange::Insert { partition, rows: rows.take(&numbers(&insert))? });
        }
    }
    let deletes = deleted.into_iter().filter_map(|(partition, keys)| {
        let rest =
            keys.iter().enumerate().filter(|(_, key)| !upserted.contains(&(partition.clone(), key.clone())));
        let rest = rest.map(|(number, _)| number).collect::<Vec<_>>();
        (!rest.is_empty()).then(|| to.delete(partition, keys.take(&rest)))
    });
    Ok(deletes.chain(upserts).chain(inserts).collect())
}

fn insert(message: &RowMessage, to: &Destination) -> Result<Of<Rows>> {
    let request = message::insert(message.payload.clone())?;
    let sent = request.fields_data.into_iter().filter(|column| !to.computed.contains(&column.field_name));
    let columns = sent.map(with_nulls).collect::<Result<_>>()?;
    let count =
        usize::try_from(request.num_rows).map_err(|_| Error::refused("an insert of too many rows"))?;
    Ok((to.partition(request.partition_id)?, Rows { columns, count }))
}

fn delete(message: &RowMessage, to: &Destination) -> Result<Of<Keys>> {
    let request = message::delete(message.payload.clone())?;
    let keys = Keys::from_pb(request.primary_keys, request.int64_primary_keys);
    Ok((to.partition(request.partition_id)?, keys))
}

impl Destination {
    /// What is to be said of a partition: nothing where the target chooses, or where all are meant.
    fn partition(&self, id: i64) -> Result<Option<String>> {
        if self.partition_key || id == ALL_PARTITIONS {
            return Ok(None);
        }
        let name = self.partitions.get(&id).cloned();
        name.map(Some).ok_or_else(|| {
            Error::refused(format!(
                "rows of {} in partition {id}, which the log's catalog does not hold",
                self.name
            ))
        })
    }

    fn delete(&self, partition: Option<String>, keys: Keys) -> RowChange {
        RowChange::Delete { partition, key_field: self.key_field.clone(), keys }
    }
}
