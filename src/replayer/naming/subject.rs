//! What a definition is of, for people. Pure.

use crate::catalog::CollectionId;
use crate::change::CollectionName;
use crate::pb::log::{Definition, definition::Change};

use super::Naming;

impl Naming {
    /// The source's name of what a definition is of; the catalog has not moved over it. Empty where it is not known.
    pub fn subject(&self, definition: &Definition) -> String {
        let Some(change) = &definition.change else { return String::new() };
        match change {
            Change::CreateDatabase(database) | Change::AlterDatabase(database) => database.name.clone(),
            Change::DropDatabase(dropped) => {
                self.catalog.database_name(dropped.id).unwrap_or_default().to_owned()
            }
            Change::CreateCollection(created) => {
                let database = self.catalog.database_name(created.database_id).unwrap_or_default();
                CollectionName::new(database, &created.name).to_string()
            }
            Change::DropCollection(dropped) => self.title(dropped.id),
            Change::RenameCollection(renamed) => self.title(renamed.id),
            Change::AlterCollection(altered) => self.title(altered.id),
            Change::CreatePartition(created) => self.title(created.collection_id),
            Change::DropPartition(dropped) => self.title(dropped.collection_id),
            Change::CreateIndex(created) => self.title(created.collection_id),
            Change::DropIndex(dropped) => self.title(dropped.collection_id),
            Change::Load(load) | Change::Release(load) => self.title(load.collection_id),
            Change::Flush(flush) => {
                let names = flush.collection_ids.iter().map(|id| self.title(*id));
                names.collect::<Vec<_>>().join(", ")
            }
            Change::CreateAlias(alias) | Change::AlterAlias(alias) => self.title(alias.collection_id),
            Change::DropAlias(alias) => alias.name.clone(),
        }
    }

    /// The source's name of a collection.
    pub fn title(&self, id: CollectionId) -> String {
        self.catalog.name(id).map(|name| name.to_string()).unwrap_or_default()
    }
}
