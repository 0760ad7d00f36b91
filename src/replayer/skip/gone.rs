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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::log::{self as pb, Collection, CreatePartition, Database, DropPartition, Partition};
    use crate::position::Seq;

    const PLACE: Place = Place::Definition(Seq(1), 2);

    fn without(change: Change) -> Gone {
        let mut gone = Gone::default();
        gone.leave_out(PLACE, Some(&change)).unwrap();
        gone
    }

    #[test]
    fn a_load_loses_the_partitions_that_are_gone_and_goes_with_the_last() {
        let partition = Some(Partition { id: 70, ..Partition::default() });
        let mut gone = without(Change::CreatePartition(CreatePartition { collection_id: 7, partition }));
        for (whole, ids, taken, left) in [
            (false, vec![70, 71], None, vec![71]),
            (false, vec![70], Some(PLACE), vec![]),
            (true, vec![70], None, vec![]),
            (true, vec![], None, vec![]),
        ] {
            let load = LoadChange { collection_id: 7, whole, partition_ids: ids, replicas: 1 };
            let mut change = Change::Load(load);
            assert_eq!(gone.takes(&mut change).unwrap(), taken);
            assert!(matches!(change, Change::Load(load) if load.partition_ids == left));
        }
        let mut dropped = Change::DropPartition(DropPartition { collection_id: 7, partition_id: 70 });
        assert_eq!(gone.takes(&mut dropped).unwrap(), Some(PLACE));
        assert_eq!((gone.rows(7, 70), gone.rows(7, 71), gone.rows(8, 70)), (Some(PLACE), None, None));
    }

    #[test]
    fn a_database_that_is_gone_takes_what_is_made_in_it_and_takes_nothing_in() {
        let mut gone = without(Change::CreateDatabase(Database { id: 5, ..Database::default() }));
        let inside = Collection { id: 7, database_id: 5, ..Collection::default() };
        assert_eq!(gone.takes(&mut Change::CreateCollection(inside)).unwrap(), Some(PLACE));
        assert_eq!((gone.rows(7, 1), gone.rows(8, 1)), (Some(PLACE), None));
        let renamed = |id| {
            let name = "moved".to_owned();
            Change::RenameCollection(RenameCollection { id, database_id: 5, name })
        };
        assert_eq!(gone.takes(&mut renamed(7)).unwrap(), Some(PLACE));
        assert!(gone.takes(&mut renamed(8)).unwrap_err().message.contains("as moved"));
        let mut dropped = Change::DropDatabase(pb::DropDatabase { id: 5 });
        assert_eq!(gone.takes(&mut dropped).unwrap(), Some(PLACE));
    }
}
