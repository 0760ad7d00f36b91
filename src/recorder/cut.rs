//! The definitions of one cut, while they are put together. Pure.

use crate::catalog::{Catalog, CollectionId, DatabaseId};
use crate::error::Result;
use crate::pb::log::{self as pb, Collection, Definition, definition::Change};
use crate::tick::Tso;

/// The changes with `after < TSO <= to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The watermark before.
    pub after: Tso,
    /// The watermark from then on.
    pub to: Tso,
}

impl Window {
    /// The TSO of a change in this window, given when its object was created.
    pub fn date(self, created: u64) -> Tso {
        Tso(created).max(self.after).min(self.to)
    }
}

/// Where changes of equal TSO stand. A change without a date lies anywhere within the cut. What takes away goes to its
/// beginning, the watermark before it, and so precedes what it makes possible: a release the drop of an index, a drop
/// or a rename the next use of the name. A load or an alias goes to its end and follows what it needs. A creation keeps
/// the date in the object, so that it precedes its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A release.
    Release,
    /// A drop of an index.
    DropIndex,
    /// A change whose TSO is the source's.
    Dated,
    /// A change of what exists that etcd shows without a date.
    Undated,
    /// The creation of an index.
    CreateIndex,
    /// A load.
    Load,
}

/// The changes found so far and the catalog after them.
pub struct Cut {
    /// The cut's bounds.
    pub window: Window,
    /// What exists after the changes.
    pub catalog: Catalog,
    changes: Vec<(Tso, Place, Definition)>,
}

impl Cut {
    /// A cut without changes.
    pub fn new(window: Window, catalog: Catalog) -> Cut {
        Cut { window, catalog, changes: Vec::new() }
    }

    /// Adds a change.
    pub fn push(&mut self, tso: Tso, place: Place, change: Change) -> Result<()> {
        // A creation may be seen only by a later change of its object.
        let tso = match &change {
            Change::CreateCollection(collection) => tso.min(self.window.date(collection.create_tso)),
            _ => tso,
        };
        for before in self.make_way(&change) {
            self.add(tso, place, false, before)?;
        }
        self.add(tso, place, place == Place::Dated, change)
    }

    fn add(&mut self, tso: Tso, place: Place, exact: bool, change: Change) -> Result<()> {
        let definition = Definition { tso: tso.0, exact, change: Some(change) };
        self.catalog.apply(&definition)?;
        self.changes.push((tso, place, definition));
        Ok(())
    }

    /// What must have happened before a change, where etcd has forgotten it: a collection that had the name has got
    /// another, one that moves to another database has lost its aliases, and one that gets an alias in another database
    /// has moved there.
    fn make_way(&self, change: &Change) -> Vec<Change> {
        match change {
            Change::CreateCollection(created) => {
                self.free_name(created.id, created.database_id, &created.name).into_iter().collect()
            }
            Change::RenameCollection(renamed) => {
                let of_it = |(database_id, _): &(DatabaseId, String), id: &CollectionId| {
                    *id == renamed.id && *database_id != renamed.database_id
                };
                let left = self.catalog.aliases.iter().filter(|(alias, id)| of_it(alias, id));
                let left = left.map(|((database_id, name), _)| {
                    Change::DropAlias(pb::DropAlias { database_id: *database_id, name: name.clone() })
                });
                left.chain(self.free_name(renamed.id, renamed.database_id, &renamed.name)).collect()
            }
            Change::CreateAlias(pb::Alias { database_id, collection_id: id, .. })
            | Change::AlterAlias(pb::Alias { database_id, collection_id: id, .. }) => {
                let elsewhere = |collection: &&Collection| collection.database_id != *database_id;
                let Some(collection) = self.catalog.collections.get(id).filter(elsewhere) else {
                    return Vec::new();
                };
                let (id, database_id, name) = (*id, *database_id, collection.name.clone());
                let moved = Change::RenameCollection(pb::RenameCollection { id, database_id, name });
                self.make_way(&moved).into_iter().chain([moved]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Renames the collection that has a name which another is about to get.
    fn free_name(&self, for_id: CollectionId, database_id: DatabaseId, name: &str) -> Option<Change> {
        let mut collections = self.catalog.collections.values();
        let holder = collections.find(|collection| {
            collection.id != for_id && collection.database_id == database_id && collection.name == name
        })?;
        let name = format!("{name}_{}", holder.id);
        Some(Change::RenameCollection(pb::RenameCollection { id: holder.id, database_id, name }))
    }

    /// Adds a change that only the replicate channel may have dated.
    pub fn push_at(&mut self, date: Option<Tso>, otherwise: Tso, place: Place, change: Change) -> Result<()> {
        self.push(date.unwrap_or(otherwise), place, change)?;
        if let Some((_, _, definition)) = self.changes.last_mut() {
            definition.exact = date.is_some();
        }
        Ok(())
    }

    /// When a collection came to be, at the earliest the beginning of the cut.
    pub fn beginning_of(&self, id: CollectionId) -> Tso {
        let created = self.changes.iter().find_map(|(tso, _, definition)| match &definition.change {
            Some(Change::CreateCollection(collection)) if collection.id == id => Some(*tso),
            _ => None,
        });
        created.unwrap_or(self.window.after)
    }

    /// The newest change so far other than a load.
    pub fn newest_before_loads(&self) -> Tso {
        let others = self.changes.iter().filter(|(_, place, _)| *place != Place::Load);
        others.map(|(tso, _, _)| *tso).max().unwrap_or_default()
    }

    /// The catalog after the cut and the definitions in the order in which they are to be applied.
    pub fn finish(mut self) -> (Catalog, Vec<Definition>) {
        self.changes.sort_by_key(|(tso, place, _)| (*tso, *place));
        (self.catalog, self.changes.into_iter().map(|(_, _, definition)| definition).collect())
    }
}
