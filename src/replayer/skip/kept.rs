//! Keys whose deletes are left out: their rows are there. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::catalog::{CollectionId, PartitionId};
use crate::change::{Keys, Rows};
use crate::error::{Error, Result};
use crate::message::{self, ALL_PARTITIONS};
use crate::replayer::naming::Naming;
use crate::replayer::steps::RowMessage;
use crate::rows::Key;
use crate::tick::Tso;

/// Keys by where they were deleted, each with the TSO of that delete. Memory holds those of the deletes that
/// are named, each of them one request: no more keys than one request can hold.
#[derive(Clone, Debug, Default)]
pub struct Kept(BTreeMap<(CollectionId, PartitionId), HashMap<Key, Tso>>);

impl Kept {
    /// Whether no such key is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps the rows that a delete would have taken.
    pub fn keep(&mut self, id: CollectionId, delete: &RowMessage) -> Result<()> {
        let keys = deleted(delete)?;
        let kept = self.0.entry((id, delete.partition)).or_default();
        kept.extend(keys.iter().map(|key| (key, delete.tso)));
        Ok(())
    }

    /// Goes over a message that is replayed: a delete, alone or as half of an upsert, takes the rows after all.
    /// Refused is an insert of such a key: it may have two rows.
    pub fn pass(&mut self, naming: &Naming, id: CollectionId, message: &RowMessage) -> Result<()> {
        let places = self.0.range_mut((id, PartitionId::MIN)..=(id, PartitionId::MAX));
        let partitions = [message.partition, ALL_PARTITIONS];
        let mut meant = places
            .filter(|((_, partition), _)| {
                message.partition == ALL_PARTITIONS || partitions.contains(partition)
            })
            .map(|(_, kept)| kept)
            .peekable();
        if meant.peek().is_none() {
            return Ok(());
        }
        if message.delete {
            let keys = deleted(message)?;
            meant.for_each(|kept| {
                for key in keys.iter() {
                    kept.remove(&key);
                }
            });
            self.0.retain(|_, kept| !kept.is_empty());
            return Ok(());
        }
        let keys = inserted(naming, id, message)?;
        let twice = meant.find_map(|kept| keys.iter().find_map(|key| kept.get_key_value(&key)));
        match twice {
            None => Ok(()),
            Some((key, delete)) => Err(clash(&naming.title(id), message.tso, key, *delete)),
        }
    }
}

fn deleted(message: &RowMessage) -> Result<Keys> {
    let request = message::delete(message.payload.clone())?;
    Ok(Keys::from_pb(request.primary_keys, request.int64_primary_keys))
}

fn inserted(naming: &Naming, id: CollectionId, message: &RowMessage) -> Result<Keys> {
    let request = message::insert(message.payload.clone())?;
    let count =
        usize::try_from(request.num_rows).map_err(|_| Error::refused("an insert of too many rows"))?;
    let schema = naming.catalog().collections.get(&id).and_then(|collection| collection.schema.as_ref());
    let mut fields = schema.map_or(&[][..], |schema| &schema.fields).iter();
    let key_field = fields.find(|field| field.is_primary_key).map_or("", |field| &field.name);
    Rows { columns: request.fields_data, count }.keys(key_field)
}

fn clash(collection: &str, tso: Tso, key: &Key, delete: Tso) -> Error {
    let key = match key {
        Key::Int(key) => key.to_string(),
        Key::Text(key) => format!("{key:?}"),
    };
    let time = tso.time();
    Error::refused(format!(
        "the insert of key {key} into {collection} at {time} (tso:{tso}) clashes with the row of this key, \
         which a skip keeps: without its delete, tso:{delete}, it may have two rows"
    ))
    .advice("restore to an instant before that insert, or do not leave out that delete")
}
