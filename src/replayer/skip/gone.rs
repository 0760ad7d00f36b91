//! What is not there because its creation was left out. Pure.

use std::collections::BTreeMap;

use crate::catalog::{CollectionId, DatabaseId, PartitionId};
use crate::error::{Error, Result};
use crate::pb::log::{LoadChange, RenameCollection, definition::Change};
use crate::replayer::place::Place;

/// Objects, each with the place of the creation that was left out.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    databases: BTreeMap<DatabaseId, Place>,
    collections: BTreeMap<CollectionId, Place>,
    partitions: BTreeMap<(CollectionId, PartitionId), Place>,
}

impl Gone {
    /// Leaves out a named definition: what a creation makes is gone. Refused: what later changes build on.
    pub fn leave_out(&mut self, place: Place, change: Option<&Change>) -> Result<()> {
        let needed = match change {
            Some(Change::CreateDatabase(created)) => {
                self.databases.insert(created.id, place);
                return Ok(());
            }
            Some(Change::CreateCollection(created)) => {
                self.collections.insert(created.id, place);
                return Ok(());
            }
            Some(Change::CreatePartition(created)) => {
                let id = created.partition.as_ref().map(|partition| partition.id).unwrap_or_default();
                self.partitions.insert((created.collection_id, id), place);
                return Ok(());
            }
            Some(Change::AlterCollection(it)) if it.schema.is_some() => "an alteration of fields",
            Some(Change::AlterCollection(it)) if !it.indexes.is_empty() => "an alteration of an index",
            Some(Change::CreateIndex(_)) => "the creation of an index",
            Some(Change::Release(_)) => "a release",
            None => "a definition of an unknown kind",
            Some(_) => return Ok(()),
        };
        Err(Error::usage(format!("skip {place}: {needed} cannot be left out, what follows may need it"))
            .advice("leave out the creation of its collection, or choose an earlier instant"))
    }

    /// The creation with which rows are left out.
    pub fn rows(&self, id: CollectionId, partition: PartitionId) -> Option<Place> {
        self.collections.get(&id).or_else(|| self.partitions.get(&(id, partition))).copied()
    }

    /// The creation with which a change is left out. Loads and releases lose the partitions that are gone.
    pub fn takes(&mut self, change: &mut Change) -> Result<Option<Place>> {
        let collection = |id: &CollectionId| self.collections.get(id).copied();
        let database = |id: &DatabaseId| self.databases.get(id).copied();
        Ok(match change {
            Change::CreateDatabase(_) => None,
            Change::AlterDatabase(altered) => database(&altered.id),
            Change::DropDatabase(dropped) => database(&dropped.id),
            Change::CreateCollection(created) => {
                let place = database(&created.database_id);
                if let Some(place) = place {
                    self.collections.insert(created.id, place);
                }
                place
            }
            Change::DropCollection(dropped) => collection(&dropped.id),
            Change::AlterCollection(altered) => collection(&altered.id),
            Change::RenameCollection(renamed) => self.takes_rename(renamed)?,
            Change::CreatePartition(created) => collection(&created.collection_id),
            Change::DropPartition(dropped) => self.rows(dropped.collection_id, dropped.partition_id),
            Change::CreateIndex(created) => collection(&created.collection_id),
            Change::DropIndex(dropped) => collection(&dropped.collection_id),
            Change::Load(load) | Change::Release(load) => self.takes_load(load),
            // Ids that the catalog does not know are passed over.
            Change::Flush(_) => None,
            Change::CreateAlias(alias) | Change::AlterAlias(alias) => collection(&alias.collection_id),
            Change::DropAlias(alias) => database(&alias.database_id),
        })
    }

    fn takes_rename(&self, renamed: &RenameCollection) -> Result<Option<Place>> {
        let (gone, into) = (self.collections.get(&renamed.id), self.databases.get(&renamed.database_id));
        match (gone, into) {
            (None, Some(place)) => Err(Error::refused(format!(
                "skip {place}: a collection moves into this database later, as {}",
                renamed.name
            ))
            .advice("choose an earlier instant, or leave that rename out too")),
            _ => Ok(gone.copied()),
        }
    }

    fn takes_load(&self, load: &mut LoadChange) -> Option<Place> {
        let partition = |id: &PartitionId| self.rows(load.collection_id, *id);
        let place = load.partition_ids.iter().find_map(partition);
        load.partition_ids.retain(|id| !self.partitions.contains_key(&(load.collection_id, *id)));
        let nothing_left = !load.whole && load.partition_ids.is_empty();
        self.collections.get(&load.collection_id).copied().or(place.filter(|_| nothing_left))
    }
}
