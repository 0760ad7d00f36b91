//! What exists in the source at one TSO: databases, collections with their partitions, indexes and load states,
//! aliases. Definitions change it; the recorder and the replayer apply the same ones and so hold the same catalog.

mod definitions;

use std::collections::BTreeMap;

use crate::change::CollectionName;
use crate::error::{Error, Result};
use crate::pb::log::{self as pb, Collection, Database, Definition, definition::Change};

/// Id of a database in the source.
pub type DatabaseId = i64;
/// Id of a collection in the source. Names change and come back; ids do not.
pub type CollectionId = i64;
/// Id of a partition in the source.
pub type PartitionId = i64;

/// What exists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// Databases by id.
    pub databases: BTreeMap<DatabaseId, Database>,
    /// Live collections by id.
    pub collections: BTreeMap<CollectionId, Collection>,
    /// The collection behind each alias.
    pub aliases: BTreeMap<(DatabaseId, String), CollectionId>,
}

impl Catalog {
    /// Applies one definition. An error means that the definition does not follow from this catalog: a bug in the
    /// recorder, or a log that was put together from two.
    pub fn apply(&mut self, definition: &Definition) -> Result<()> {
        let Some(change) = &definition.change else {
            return Err(broken(definition.tso, "a definition of an unknown kind"));
        };
        let tso = definition.tso;
        match change {
            Change::CreateDatabase(database) | Change::AlterDatabase(database) => {
                self.databases.insert(database.id, database.clone());
            }
            Change::DropDatabase(dropped) => {
                self.databases.remove(&dropped.id);
            }
            Change::CreateCollection(collection) => {
                self.collections.insert(collection.id, collection.clone());
            }
            Change::DropCollection(dropped) => {
                self.collections.remove(&dropped.id);
                self.aliases.retain(|_, collection| *collection != dropped.id);
            }
            Change::RenameCollection(renamed) => {
                let collection = self.collection_mut(renamed.id, tso)?;
                collection.database_id = renamed.database_id;
                collection.name = renamed.name.clone();
            }
            Change::AlterCollection(altered) => {
                let collection = self.collection_mut(altered.id, tso)?;
                collection.properties = altered.properties.clone();
                collection.schema = altered.schema.clone().or_else(|| collection.schema.take());
                for index in &altered.indexes {
                    collection.indexes.retain(|known| known.id != index.id);
                    collection.indexes.push(index.clone());
                }
            }
            Change::CreatePartition(created) => {
                let collection = self.collection_mut(created.collection_id, tso)?;
                let partition = created.partition.clone().unwrap_or_default();
                collection.partitions.retain(|known| known.id != partition.id);
                collection.partitions.push(partition);
            }
            Change::DropPartition(dropped) => {
                let collection = self.collection_mut(dropped.collection_id, tso)?;
                collection.partitions.retain(|partition| partition.id != dropped.partition_id);
                unload(collection, &[dropped.partition_id]);
            }
            Change::CreateIndex(created) => {
                let collection = self.collection_mut(created.collection_id, tso)?;
                let index = created.index.clone().unwrap_or_default();
                collection.indexes.retain(|known| known.id != index.id);
                collection.indexes.push(index);
            }
            Change::DropIndex(dropped) => {
                let collection = self.collection_mut(dropped.collection_id, tso)?;
                collection.indexes.retain(|index| index.id != dropped.index_id);
            }
            Change::Load(load) => apply_load(self.collection_mut(load.collection_id, tso)?, load),
            Change::Release(release) => {
                apply_release(self.collection_mut(release.collection_id, tso)?, release)
            }
            Change::Flush(_) => {}
            Change::CreateAlias(alias) | Change::AlterAlias(alias) => {
                self.aliases.insert((alias.database_id, alias.name.clone()), alias.collection_id);
            }
            Change::DropAlias(alias) => {
                self.aliases.remove(&(alias.database_id, alias.name.clone()));
            }
        }
        Ok(())
    }

    /// A database's name.
    pub fn database_name(&self, id: DatabaseId) -> Option<&str> {
        self.databases.get(&id).map(|database| database.name.as_str())
    }

    /// A collection's full name.
    pub fn name(&self, id: CollectionId) -> Option<CollectionName> {
        let collection = self.collections.get(&id)?;
        Some(CollectionName::new(self.database_name(collection.database_id)?, &collection.name))
    }

    /// A live collection by its full name.
    pub fn find(&self, name: &CollectionName) -> Option<&Collection> {
        self.collections.values().find(|collection| {
            collection.name == name.collection
                && self.database_name(collection.database_id) == Some(name.database.as_str())
        })
    }

    fn collection_mut(&mut self, id: CollectionId, tso: u64) -> Result<&mut Collection> {
        self.collections.get_mut(&id).ok_or_else(|| broken(tso, &format!("collection {id} is not known")))
    }
}

fn apply_load(collection: &mut Collection, change: &pb::LoadChange) {
    let all = || collection.partitions.iter().map(|partition| partition.id).collect::<Vec<_>>();
    let asked = if change.whole { all() } else { change.partition_ids.clone() };
    let load = collection.load.get_or_insert_default();
    load.replicas = change.replicas;
    load.whole |= change.whole;
    load.partition_ids.extend(asked);
    load.partition_ids.sort_unstable();
    load.partition_ids.dedup();
}

fn apply_release(collection: &mut Collection, change: &pb::LoadChange) {
    if change.whole {
        collection.load = None;
    } else {
        unload(collection, &change.partition_ids);
    }
}

/// What is loaded without some partitions: nothing without the last of them.
fn unload(collection: &mut Collection, partitions: &[PartitionId]) {
    if let Some(load) = &mut collection.load {
        load.partition_ids.retain(|partition| !partitions.contains(partition));
        if load.partition_ids.is_empty() {
            collection.load = None;
        }
    }
}

fn broken(tso: u64, what: &str) -> Error {
    Error::refused(format!("the definition at TSO {tso} does not follow from the catalog before it: {what}"))
}

impl From<&Catalog> for pb::Catalog {
    fn from(catalog: &Catalog) -> pb::Catalog {
        pb::Catalog {
            databases: catalog.databases.values().cloned().collect(),
            collections: catalog.collections.values().cloned().collect(),
            aliases: catalog
                .aliases
                .iter()
                .map(|((database_id, name), collection_id)| pb::Alias {
                    database_id: *database_id,
                    name: name.clone(),
                    collection_id: *collection_id,
                })
                .collect(),
        }
    }
}

impl From<pb::Catalog> for Catalog {
    fn from(stored: pb::Catalog) -> Catalog {
        Catalog {
            databases: stored.databases.into_iter().map(|database| (database.id, database)).collect(),
            collections: stored
                .collections
                .into_iter()
                .map(|collection| (collection.id, collection))
                .collect(),
            aliases: stored
                .aliases
                .into_iter()
                .map(|alias| ((alias.database_id, alias.name), alias.collection_id))
                .collect(),
        }
    }
}
