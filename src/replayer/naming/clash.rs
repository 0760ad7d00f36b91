//! What a skip has kept may be in the way of what comes later. Pure.

use crate::catalog::{CollectionId, DatabaseId};
use crate::change::CollectionName;
use crate::error::{Error, Result};
use crate::pb::log::{self as pb, Definition, definition::Change};
use crate::tick::Tso;

use super::Naming;
use crate::replayer::place::Place;

impl Naming {
    /// Refuses a definition that needs something gone which a skip has kept; the catalog has not moved over it.
    pub fn check_clash(&self, place: Place, definition: &Definition) -> Result<()> {
        let Some((what, kept)) = self.clash(definition) else { return Ok(()) };
        let time = Tso(definition.tso).time();
        Err(Error::refused(format!("{what} at {time} ({place}) clashes with {kept}, which a skip keeps")).advice(
            format!(
                "restore to an earlier instant, or leave out {place} too and rename what is kept to have it beside"
            ),
        ))
    }

    fn clash(&self, definition: &Definition) -> Option<(String, String)> {
        match definition.change.as_ref()? {
            Change::CreateCollection(created) => {
                self.name_clash("the creation of", created.id, created.database_id, &created.name)
            }
            Change::RenameCollection(renamed) => {
                self.name_clash("the rename to", renamed.id, renamed.database_id, &renamed.name)
            }
            Change::DropDatabase(dropped) => {
                let mut inside = self.catalog.collections.values();
                let kept = inside.find(|kept| kept.database_id == dropped.id && self.is_selected(kept.id))?;
                let database = self.catalog.database_name(dropped.id).unwrap_or_default();
                Some((format!("the drop of database {database}"), self.title(kept.id)))
            }
            Change::CreatePartition(created) => {
                let name = &created.partition.as_ref()?.name;
                let known = &self.catalog.collections.get(&created.collection_id)?.partitions;
                let clashes =
                    known.iter().any(|kept| kept.name == *name) && self.is_selected(created.collection_id);
                let collection = self.title(created.collection_id);
                let what = format!("the creation of partition {name} of {collection}");
                clashes.then(|| (what, "the one of this name".to_owned()))
            }
            Change::CreateIndex(created) => {
                let index = created.index.as_ref()?;
                let known = &self.catalog.collections.get(&created.collection_id)?.indexes;
                let same = |kept: &&pb::Index| kept.field_name == index.field_name && kept.id != index.id;
                let kept = known.iter().find(same).filter(|_| self.is_selected(created.collection_id))?;
                let collection = self.title(created.collection_id);
                let what = format!("the creation of index {} of {collection}", index.name);
                Some((what, format!("the index {} of the same field", kept.name)))
            }
            Change::CreateAlias(alias) => {
                let kept = self.catalog.aliases.get(&(alias.database_id, alias.name.clone()));
                let other = kept.filter(|kept| **kept != alias.collection_id && self.is_selected(**kept));
                let kept = match other {
                    Some(kept) => format!("the alias of {}", self.title(*kept)),
                    None => self.named_as_alias(alias)?.to_string(),
                };
                Some((format!("the creation of alias {}", alias.name), kept))
            }
            Change::AlterAlias(alias) => {
                let kept = self.named_as_alias(alias)?;
                Some((format!("the alteration of alias {}", alias.name), kept.to_string()))
            }
            _ => None,
        }
    }

    /// What has a name that another collection is about to get.
    fn name_clash(
        &self,
        doing: &str,
        id: CollectionId,
        database: DatabaseId,
        name: &str,
    ) -> Option<(String, String)> {
        let wanted = CollectionName::new(self.catalog.database_name(database).unwrap_or_default(), name);
        if !self.selection.matches(&wanted) {
            return None;
        }
        let holder = self.catalog.find(&wanted).filter(|kept| kept.id != id).map(|_| wanted.to_string());
        let alias = || {
            let kept = self.catalog.aliases.get(&(database, name.to_owned()))?;
            Some(format!("the alias {name} of {}", self.title(*kept)))
        };
        holder.or_else(alias).map(|kept| (format!("{doing} {wanted}"), kept))
    }

    /// The collection whose name at the target an alias is about to get there.
    fn named_as_alias(&self, alias: &pb::Alias) -> Option<CollectionName> {
        let bearer = self.bearer(&self.catalog.name(alias.collection_id)?)?;
        let kept = CollectionName::new(self.catalog.database_name(alias.database_id)?, &alias.name);
        let clashes = self.catalog.find(&kept).is_some()
            && self.selection.matches(&kept)
            && self.renames.apply(&kept) == CollectionName::new(bearer.database, &alias.name);
        clashes.then_some(kept)
    }

    /// Whether a definition is of something selected or in its way; the catalog has not moved over it.
    pub fn concerns(&self, definition: &Definition) -> bool {
        let Some(change) = &definition.change else { return true };
        let database = |id| self.catalog.database_name(id).unwrap_or_default();
        let named = |id, name: &str| self.selection.matches(&CollectionName::new(database(id), name));
        let is_of_selected = match change {
            Change::CreateDatabase(it) | Change::AlterDatabase(it) => {
                self.selection.matches_database(&it.name)
            }
            Change::DropDatabase(it) => self.selection.matches_database(database(it.id)),
            Change::CreateCollection(it) => named(it.database_id, &it.name),
            Change::DropCollection(it) => self.is_selected(it.id),
            Change::RenameCollection(it) => self.is_selected(it.id) || named(it.database_id, &it.name),
            Change::AlterCollection(it) => self.is_selected(it.id),
            Change::CreatePartition(it) => self.is_selected(it.collection_id),
            Change::DropPartition(it) => self.is_selected(it.collection_id),
            Change::CreateIndex(it) => self.is_selected(it.collection_id),
            Change::DropIndex(it) => self.is_selected(it.collection_id),
            Change::Load(it) | Change::Release(it) => self.is_selected(it.collection_id),
            Change::Flush(it) => it.collection_ids.iter().any(|id| self.is_selected(*id)),
            Change::CreateAlias(it) => self.is_selected(it.collection_id),
            Change::AlterAlias(it) => {
                self.is_selected(it.collection_id) || self.alias_is_selected(it.database_id, &it.name)
            }
            Change::DropAlias(it) => self.alias_is_selected(it.database_id, &it.name),
        };
        is_of_selected || self.clash(definition).is_some()
    }

    fn alias_is_selected(&self, database: DatabaseId, alias: &str) -> bool {
        let behind = self.catalog.aliases.get(&(database, alias.to_owned()));
        behind.is_some_and(|id| self.is_selected(*id))
    }

    /// Whether a collection is selected, by its name now.
    pub fn is_selected(&self, id: CollectionId) -> bool {
        self.catalog.name(id).is_some_and(|name| self.selection.matches(&name))
    }
}
