//! What the source's objects are called at the target. Pure.

mod clash;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::catalog::{Catalog, CollectionId, DatabaseId, PartitionId};
use crate::change::{CollectionName, DefinitionChange, NewCollection};
use crate::error::{Error, Result};
use crate::pb::log::{self as pb, Collection, Definition, definition::Change};
use crate::selection::{Renames, Selection};

/// Where the rows of a collection go.
#[derive(Debug, PartialEq)]
pub struct Destination {
    /// The collection's name at the target.
    pub name: CollectionName,
    /// Its primary key field.
    pub key_field: String,
    /// Whether the target itself chooses partitions by key: then none may be named.
    pub partition_key: bool,
    /// Names of partitions.
    pub partitions: HashMap<PartitionId, String>,
    /// Fields that the target computes and that must not be sent.
    pub computed: Vec<String>,
}

/// The catalog as of the replayer's place in the log, and the names that follow from it.
#[derive(Clone)]
pub struct Naming {
    catalog: Catalog,
    selection: Selection,
    renames: Renames,
    destinations: BTreeMap<CollectionId, Option<Arc<Destination>>>,
}

impl Naming {
    /// Names for a catalog.
    pub fn new(catalog: Catalog, selection: Selection, renames: Renames) -> Naming {
        Naming { catalog, selection, renames, destinations: BTreeMap::new() }
    }

    /// Databases that renames name and no definition creates.
    pub fn extra_databases(&self) -> Vec<DefinitionChange> {
        let databases = self.renames.target_databases().into_iter();
        databases.map(|database| DefinitionChange::CreateDatabase { database: database.to_owned() }).collect()
    }

    /// The catalog so far.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The collections that are at the target by now: the source's ids and their names there.
    pub fn collections(&self) -> Vec<(CollectionId, CollectionName)> {
        let names = self.catalog.collections.keys().filter_map(|id| Some((*id, self.catalog.name(*id)?)));
        let selected = names.filter(|(_, name)| self.selection.matches(name));
        selected.map(|(id, name)| (id, self.renames.apply(&name))).collect()
    }

    /// Where the rows of a collection go; none: they are not selected.
    pub fn destination(&mut self, id: CollectionId) -> Result<Option<Arc<Destination>>> {
        if let Some(known) = self.destinations.get(&id) {
            return Ok(known.clone());
        }
        let collection = self.collection(id)?;
        let name = self.name(id)?;
        let destination = self.selection.matches(&name).then(|| Arc::new(self.describe(&name, collection)));
        self.destinations.insert(id, destination.clone());
        Ok(destination)
    }

    fn describe(&self, name: &CollectionName, collection: &Collection) -> Destination {
        let fields = collection.schema.as_ref().map_or(&[][..], |schema| &schema.fields);
        let key_field = fields.iter().find(|field| field.is_primary_key).map(|field| field.name.clone());
        let computed = fields.iter().filter(|field| field.is_function_output).map(|field| field.name.clone());
        Destination {
            name: self.renames.apply(name),
            key_field: key_field.unwrap_or_default(),
            partition_key: fields.iter().any(|field| field.is_partition_key),
            partitions: collection.partitions.iter().map(|part| (part.id, part.name.clone())).collect(),
            computed: computed.collect(),
        }
    }

    /// Moves the catalog over a definition and says what is to be done at the target, in order. Nothing for what is
    /// not selected.
    pub fn apply(&mut self, definition: &Definition) -> Result<Vec<DefinitionChange>> {
        let before = self.changes(definition, Side::Before)?;
        self.check_names(definition)?;
        self.catalog.apply(definition)?;
        let after = self.changes(definition, Side::After)?;
        self.destinations.clear();
        Ok(before.into_iter().chain(after).collect())
    }

    /// What of a definition no target is told, though it concerns what is selected; the catalog has moved over it.
    pub fn untold(&self, definition: &Definition) -> Result<Option<&'static str>> {
        let (id, what) = match &definition.change {
            Some(Change::CreateDatabase(database) | Change::AlterDatabase(database)) => {
                let untold =
                    !database.properties.is_empty() && self.selection.matches_database(&database.name);
                return Ok(untold.then_some("properties of a database"));
            }
            Some(Change::AlterCollection(altered)) if altered.schema.is_some() => {
                (altered.id, "altered fields")
            }
            Some(Change::AlterCollection(altered)) if !altered.indexes.is_empty() => {
                (altered.id, "an altered index")
            }
            _ => return Ok(None),
        };
        Ok(self.selection.matches(&self.name(id)?).then_some(what))
    }

    /// Refuses what no target could show rightly: two collections under one name, or a collection whose rename crosses
    /// the selection, so that a part of its rows is selected and a part is not.
    fn check_names(&self, definition: &Definition) -> Result<()> {
        let (id, database_id, name) = match &definition.change {
            Some(Change::CreateCollection(created)) => (created.id, created.database_id, &created.name),
            Some(Change::RenameCollection(renamed)) => (renamed.id, renamed.database_id, &renamed.name),
            _ => return Ok(()),
        };
        let after = CollectionName::new(self.catalog.database_name(database_id).unwrap_or_default(), name);
        let selected = self.selection.matches(&after);
        if let Some(before) = self.catalog.name(id)
            && self.selection.matches(&before) != selected
        {
            return Err(Error::refused(format!("{before} was renamed to {after}, across the selection"))
                .advice("create the task again with a selection that holds both names, or none"));
        }
        let target = self.renames.apply(&after);
        let others = self.catalog.collections.keys().filter(|other| **other != id);
        let mut named = others.filter_map(|other| self.catalog.name(*other));
        match named.find(|other| self.selection.matches(other) && self.renames.apply(other) == target) {
            Some(other) if selected => {
                Err(Error::refused(format!("{other} and {after} would both be {target} at the target"))
                    .advice("rename one of them to another name, or leave it out of the selection"))
            }
            _ => Ok(()),
        }
    }

    /// The changes whose names are those before the definition, or those after it.
    fn changes(&self, definition: &Definition, side: Side) -> Result<Vec<DefinitionChange>> {
        let Some(change) = &definition.change else { return Ok(Vec::new()) };
        Ok(match (change, side) {
            (Change::CreateDatabase(database), Side::After) => {
                let selected = self.selection.matches_database(&database.name) && database.name != "default";
                let database = self.renames.apply_database(&database.name);
                if selected { vec![DefinitionChange::CreateDatabase { database }] } else { Vec::new() }
            }
            (Change::DropDatabase(dropped), Side::Before) => {
                let name = self.catalog.database_name(dropped.id).unwrap_or_default();
                let database = self.renames.apply_database(name);
                // Another may have the same name at the target: by renames, or because one that was found by comparison
                // came before the old one went. Where single collections stay out or are moved in it is not this
                // replay's alone. `default` is always there.
                let mut others = self.catalog.databases.values().filter(|other| other.id != dropped.id);
                let gone = self.selection.takes_all_of(name)
                    && !self.renames.target_databases().contains(database.as_str())
                    && database != "default"
                    && others.all(|other| self.renames.apply_database(&other.name) != database);
                if gone { vec![DefinitionChange::DropDatabase { database }] } else { Vec::new() }
            }
            (Change::CreateCollection(created), Side::After) => {
                self.selected(created.id, |name| create(name, created))?
            }
            (Change::DropCollection(dropped), Side::Before) => {
                self.selected(dropped.id, |name| DefinitionChange::DropCollection { name })?
            }
            (Change::RenameCollection(renamed), Side::Before) => {
                let database = self.catalog.database_name(renamed.database_id).unwrap_or_default();
                let after = CollectionName::new(database, &renamed.name);
                let to = self.renames.apply(&after);
                let mut changes = match self.bearer(&after) {
                    Some(_) => Vec::new(),
                    None => self.drops_of_aliases(renamed.id),
                };
                changes.extend(
                    self.selected(renamed.id, |from| DefinitionChange::RenameCollection { from, to })?,
                );
                changes
            }
            (Change::AlterCollection(altered), Side::Before) => {
                let properties = altered.properties.clone();
                let had = self.collection(altered.id)?.properties.iter().map(|property| &property.key);
                let goes = |key: &&String| properties.iter().all(|property| property.key != **key);
                let removed = had.filter(goes).cloned().collect();
                self.selected(altered.id, |name| DefinitionChange::AlterCollection {
                    name,
                    properties,
                    removed,
                })?
            }
            (Change::CreatePartition(created), Side::After) => {
                let partition = created.partition.as_ref().map(|part| part.name.clone()).unwrap_or_default();
                self.selected(created.collection_id, |name| DefinitionChange::CreatePartition {
                    name,
                    partition,
                })?
            }
            (Change::DropPartition(dropped), Side::Before) => {
                let partition = self.partition(dropped.collection_id, dropped.partition_id)?;
                self.selected(dropped.collection_id, |name| DefinitionChange::DropPartition {
                    name,
                    partition,
                })?
            }
            (Change::CreateIndex(created), Side::After) => {
                let pb::Index { name: index, field_name: field, params, .. } =
                    created.index.clone().unwrap_or_default();
                self.selected(created.collection_id, |name| DefinitionChange::CreateIndex {
                    name,
                    field,
                    index,
                    params,
                })?
            }
            (Change::DropIndex(dropped), Side::Before) => {
                let indexes = &self.collection(dropped.collection_id)?.indexes;
                let known =
                    indexes.iter().find(|index| index.id == dropped.index_id).cloned().unwrap_or_default();
                let (field, index) = (known.field_name, known.name);
                self.selected(dropped.collection_id, |name| DefinitionChange::DropIndex {
                    name,
                    field,
                    index,
                })?
            }
            (Change::Load(load), Side::After) => {
                let (partitions, replicas) = (self.partitions(load)?, load.replicas);
                self.selected(load.collection_id, |name| DefinitionChange::Load {
                    name,
                    partitions,
                    replicas,
                })?
            }
            (Change::Release(release), Side::Before) => {
                let partitions = self.partitions(release)?;
                self.selected(release.collection_id, |name| DefinitionChange::Release { name, partitions })?
            }
            (Change::Flush(flush), Side::After) => {
                let known =
                    flush.collection_ids.iter().filter(|id| self.catalog.collections.contains_key(id));
                let flushes = known.map(|id| self.selected(*id, |name| DefinitionChange::Flush { name }));
                flushes.collect::<Result<Vec<_>>>()?.concat()
            }
            (Change::CreateAlias(alias) | Change::AlterAlias(alias), Side::Before) => {
                let to = self.bearer(&self.name(alias.collection_id)?);
                let from = self.bearer_now(alias.database_id, &alias.name);
                let alias = alias.name.clone();
                let change = match (from, to) {
                    (Some(from), Some(name)) if from != name => {
                        Some(DefinitionChange::AlterAlias { from, name, alias })
                    }
                    (_, Some(name)) => Some(DefinitionChange::CreateAlias { name, alias }),
                    (from, None) => from.map(|name| DefinitionChange::DropAlias { name, alias }),
                };
                change.into_iter().collect()
            }
            (Change::DropAlias(dropped), Side::Before) => {
                let alias = dropped.name.clone();
                let from = self.bearer_now(dropped.database_id, &alias);
                from.map(|name| DefinitionChange::DropAlias { name, alias }).into_iter().collect()
            }
            _ => Vec::new(),
        })
    }

    /// A change of a collection, by its name at the target; nothing for a collection that is not selected.
    fn selected(
        &self,
        id: CollectionId,
        change: impl FnOnce(CollectionName) -> DefinitionChange,
    ) -> Result<Vec<DefinitionChange>> {
        let name = self.name(id)?;
        let selected = self.selection.matches(&name);
        Ok(if selected { vec![change(self.renames.apply(&name))] } else { Vec::new() })
    }

    /// The name at the target of a collection whose aliases are replayed. An alias is one name for a whole database: it
    /// does not go to a copy under another name, beside which its own collection may live.
    fn bearer(&self, name: &CollectionName) -> Option<CollectionName> {
        let target = self.renames.apply(name);
        (self.selection.matches(name) && target.collection == name.collection).then_some(target)
    }

    /// The name at the target of the collection behind an alias, if the alias is there too.
    fn bearer_now(&self, database: DatabaseId, alias: &str) -> Option<CollectionName> {
        let id = self.catalog.aliases.get(&(database, alias.to_owned()))?;
        self.bearer(&self.catalog.name(*id)?)
    }

    /// The names that aliases have at the target.
    pub fn aliases(&self) -> impl Iterator<Item = CollectionName> {
        let known = self.catalog.aliases.iter();
        known.filter_map(|((_, alias), id)| {
            let name = self.bearer(&self.catalog.name(*id)?)?;
            Some(CollectionName::new(name.database, alias))
        })
    }

    /// The aliases that stay out because their collection has another name at the target, each with its collection.
    pub fn aliases_left_out(&self) -> Vec<(String, CollectionName)> {
        let known = self.catalog.aliases.iter();
        let left_out = known.filter_map(|((_, alias), id)| {
            let name = self.catalog.name(*id)?;
            let stays_out = self.selection.matches(&name) && self.bearer(&name).is_none();
            stays_out.then(|| (alias.clone(), name))
        });
        left_out.collect()
    }

    fn drops_of_aliases(&self, id: CollectionId) -> Vec<DefinitionChange> {
        let Some(name) = self.catalog.name(id).and_then(|name| self.bearer(&name)) else { return Vec::new() };
        let aliases = self.catalog.aliases.iter().filter(|(_, behind)| **behind == id);
        let drop = |alias: &String| DefinitionChange::DropAlias { name: name.clone(), alias: alias.clone() };
        aliases.map(|((_, alias), _)| drop(alias)).collect()
    }

    fn collection(&self, id: CollectionId) -> Result<&Collection> {
        self.catalog.collections.get(&id).ok_or_else(|| unknown(id))
    }

    fn name(&self, id: CollectionId) -> Result<CollectionName> {
        self.catalog.name(id).ok_or_else(|| unknown(id))
    }

    fn partition(&self, collection: CollectionId, id: PartitionId) -> Result<String> {
        let partitions = &self.collection(collection)?.partitions;
        let known = partitions.iter().find(|partition| partition.id == id);
        known.map(|partition| partition.name.clone()).ok_or_else(|| unknown(id))
    }

    fn partitions(&self, change: &pb::LoadChange) -> Result<Option<Vec<String>>> {
        if change.whole {
            return Ok(None);
        }
        let names = change.partition_ids.iter().map(|id| self.partition(change.collection_id, *id));
        names.collect::<Result<Vec<_>>>().map(Some)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

fn create(name: CollectionName, created: &Collection) -> DefinitionChange {
    DefinitionChange::CreateCollection(NewCollection {
        name,
        schema: created.schema.clone().unwrap_or_default(),
        shards: created.shards,
        consistency_level: created.consistency_level,
        properties: created.properties.clone(),
        partitions: created.partitions.iter().map(|partition| partition.name.clone()).collect(),
    })
}

fn unknown(id: i64) -> Error {
    Error::refused(format!(
        "the log speaks of the collection or partition {id}, which its catalog does not hold"
    ))
    .advice("verify the log with `tapedeck log verify`")
}
