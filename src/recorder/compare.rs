//! How two looks at the catalog differ, as changes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, CollectionId, DatabaseId, PartitionId};
use crate::change::CollectionName;
use crate::error::Result;
use crate::pb::log::{self as pb, Collection, definition::Change};
use crate::selection::Selection;
use crate::source::Object;
use crate::tick::Tso;

use super::cut::{Cut, Place};
use super::requests::Requests;

/// Which collections a log takes in.
#[derive(Clone, Copy)]
pub struct Intake<'a> {
    /// Those with these names...
    pub selection: &'a Selection,
    /// ...that were created after this watermark...
    pub since: Tso,
    /// ...or shown after it...
    pub late: &'a BTreeSet<CollectionId>,
    /// ...but for those that had another name first.
    pub renamed: &'a BTreeSet<CollectionId>,
}

impl Intake<'_> {
    /// Whether all rows of a collection are still to come, and it had no other name first.
    pub fn takes_rows_of(&self, collection: &Collection) -> bool {
        let new = collection.create_tso > self.since.0 || self.late.contains(&collection.id);
        new && !self.renamed.contains(&collection.id)
    }

    /// Whether a collection has a name that is selected.
    pub fn selects(&self, collection: &Collection, catalog: &Catalog) -> bool {
        let database = catalog.database_name(collection.database_id);
        database.is_some_and(|name| self.selection.matches(&CollectionName::new(name, &collection.name)))
    }
}

/// Whether a collection was renamed or moved to another database.
pub fn moved(before: &Collection, after: &Collection) -> bool {
    before.name != after.name || before.database_id != after.database_id
}

/// Whether fields or functions of a collection are others; a rename changes no more than the schema's name.
fn redefined(before: &Collection, after: &Collection) -> bool {
    let parts = |collection: &Collection| {
        collection.schema.clone().map(|schema| (schema.fields, schema.functions, schema.enable_dynamic_field))
    };
    parts(before) != parts(after)
}

/// What an object, seen at a TSO, changes in a catalog; nothing where the catalog has it already or where it is not
/// selected. A collection that was recorded once is followed, whatever its name becomes.
pub fn changes_of(object: &Object, tso: Tso, catalog: &Catalog, intake: Intake<'_>) -> Vec<Change> {
    match object {
        Object::Database { id, name, properties } => {
            let database = pb::Database { id: *id, name: name.clone(), properties: properties.clone() };
            match catalog.databases.get(id) {
                Some(known) => only_if(*known != database, || Change::AlterDatabase(database)),
                None => only_if(intake.selection.matches_database(name), || Change::CreateDatabase(database)),
            }
        }
        Object::DatabaseGone { id } => {
            // One from which etcd does not show how a collection left goes once it is empty.
            let empty = catalog.collections.values().all(|collection| collection.database_id != *id);
            only_if(empty && catalog.databases.contains_key(id), || {
                Change::DropDatabase(pb::DropDatabase { id: *id })
            })
        }
        Object::Collection(collection) => collection_changes(collection, catalog, intake),
        Object::CollectionGone { id } => only_if(catalog.collections.contains_key(id), || {
            Change::DropCollection(pb::DropCollection { id: *id })
        }),
        Object::Partition { collection_id, id, name } => {
            let partition = pb::Partition { id: *id, name: name.clone(), create_tso: tso.0 };
            let new = partitions(catalog, *collection_id).is_some_and(|known| !known.contains(id));
            only_if(new, || {
                let created =
                    pb::CreatePartition { collection_id: *collection_id, partition: Some(partition) };
                Change::CreatePartition(created)
            })
        }
        Object::PartitionGone { collection_id, id } => {
            let known = partitions(catalog, *collection_id).is_some_and(|known| known.contains(id));
            only_if(known, || {
                Change::DropPartition(pb::DropPartition { collection_id: *collection_id, partition_id: *id })
            })
        }
        Object::Alias { database_id, name, collection_id } => {
            let alias =
                pb::Alias { database_id: *database_id, name: name.clone(), collection_id: *collection_id };
            match catalog.aliases.get(&(*database_id, name.clone())) {
                // It went over to a collection that is not recorded.
                known if !catalog.collections.contains_key(collection_id) => {
                    only_if(known.is_some(), || drop_alias(*database_id, name))
                }
                None => vec![Change::CreateAlias(alias)],
                Some(known) => only_if(known != collection_id, || Change::AlterAlias(alias)),
            }
        }
        Object::AliasGone { database_id, name } => {
            only_if(catalog.aliases.contains_key(&(*database_id, name.clone())), || {
                drop_alias(*database_id, name)
            })
        }
    }
}

fn drop_alias(database_id: DatabaseId, name: &str) -> Change {
    Change::DropAlias(pb::DropAlias { database_id, name: name.to_owned() })
}

fn only_if(holds: bool, change: impl FnOnce() -> Change) -> Vec<Change> {
    if holds { vec![change()] } else { Vec::new() }
}

fn partitions(catalog: &Catalog, collection: i64) -> Option<BTreeSet<PartitionId>> {
    let collection = catalog.collections.get(&collection)?;
    Some(collection.partitions.iter().map(|partition| partition.id).collect())
}

fn collection_changes(collection: &Collection, catalog: &Catalog, intake: Intake<'_>) -> Vec<Change> {
    let Some(known) = catalog.collections.get(&collection.id) else {
        // One that a rename brings into the selection stays out: its earlier rows are not in the log.
        return only_if(intake.selects(collection, catalog) && intake.takes_rows_of(collection), || {
            Change::CreateCollection(Collection { indexes: Vec::new(), load: None, ..collection.clone() })
        });
    };
    let renamed = pb::RenameCollection {
        id: collection.id,
        database_id: collection.database_id,
        name: collection.name.clone(),
    };
    let redefined = redefined(known, collection);
    let altered = pb::AlterCollection {
        id: collection.id,
        properties: collection.properties.clone(),
        schema: collection.schema.clone().filter(|_| redefined),
        indexes: Vec::new(),
    };
    let mut changes = only_if(moved(known, collection), || Change::RenameCollection(renamed));
    let changed = redefined || known.properties != collection.properties;
    changes.extend(only_if(changed, || Change::AlterCollection(altered)));
    changes
}

/// Objects that differ between what is known and what is live, in an order in which their changes can be applied.
pub fn objects_between(known: &Catalog, live: &Catalog) -> Vec<Object> {
    let mut objects = Vec::new();
    for (database_id, name) in known.aliases.keys().filter(|alias| !live.aliases.contains_key(*alias)) {
        objects.push(Object::AliasGone { database_id: *database_id, name: name.clone() });
    }
    for id in known.collections.keys().filter(|id| !live.collections.contains_key(*id)) {
        objects.push(Object::CollectionGone { id: *id });
    }
    for database in
        live.databases.values().filter(|database| known.databases.get(&database.id) != Some(*database))
    {
        let (name, properties) = (database.name.clone(), database.properties.clone());
        objects.push(Object::Database { id: database.id, name, properties });
    }
    objects.extend(renames_between(known, live));
    for collection in live.collections.values() {
        match known.collections.get(&collection.id) {
            None => objects.push(Object::Collection(Box::new(collection.clone()))),
            Some(before) => {
                if before.properties != collection.properties || redefined(before, collection) {
                    objects.push(Object::Collection(Box::new(collection.clone())));
                }
                objects.extend(partitions_between(before, collection));
            }
        }
    }
    for ((database_id, name), collection_id) in &live.aliases {
        let alias = (*database_id, name.clone());
        if known.aliases.get(&alias) != Some(collection_id) {
            let (database_id, name) = alias;
            objects.push(Object::Alias { database_id, name, collection_id: *collection_id });
        }
    }
    for id in known.databases.keys().filter(|id| !live.databases.contains_key(*id)) {
        objects.push(Object::DatabaseGone { id: *id });
    }
    objects
}

/// Renames, so that each finds its name free: where names went round in a circle, one collection steps aside first.
fn renames_between(known: &Catalog, live: &Catalog) -> Vec<Object> {
    let place = |collection: &Collection| (collection.database_id, collection.name.clone());
    let stay =
        known.collections.values().filter_map(|before| Some((before, live.collections.get(&before.id)?)));
    let mut waiting = stay.filter(|(before, after)| moved(before, after)).collect::<Vec<_>>();
    let mut taken: BTreeMap<_, CollectionId> =
        waiting.iter().map(|(before, _)| (place(before), before.id)).collect();
    let mut objects = Vec::new();
    let mut rename = |before: &Collection, database_id, name| {
        let renamed = Collection { database_id, name, ..before.clone() };
        objects.push(Object::Collection(Box::new(renamed)));
    };
    while !waiting.is_empty() {
        if let Some(free) = waiting.iter().position(|(_, after)| !taken.contains_key(&place(after))) {
            let (before, after) = waiting.swap_remove(free);
            taken.retain(|_, id| *id != before.id);
            rename(before, after.database_id, after.name.clone());
        } else if let Some(((database_id, name), id)) = taken.pop_first()
            && let Some(before) = known.collections.get(&id)
        {
            rename(before, database_id, format!("{name}_{id}"));
        }
    }
    objects
}

fn partitions_between(before: &Collection, live: &Collection) -> Vec<Object> {
    let collection_id = live.id;
    let missing = |from: &Collection, id: i64| !from.partitions.iter().any(|partition| partition.id == id);
    let gone = before.partitions.iter().filter(|partition| missing(live, partition.id));
    let new = live.partitions.iter().filter(|partition| missing(before, partition.id));
    gone.map(|partition| Object::PartitionGone { collection_id, id: partition.id })
        .chain(new.map(|partition| Object::Partition {
            collection_id,
            id: partition.id,
            name: partition.name.clone(),
        }))
        .collect()
}

/// Emits what differs between a collection's indexes and load state in the cut and those that are live.
pub fn serving(live: &Collection, requests: &Requests, cut: &mut Cut) -> Result<()> {
    let (Some(known), Some(name)) =
        (cut.catalog.collections.get(&live.id).cloned(), cut.catalog.name(live.id))
    else {
        return Ok(());
    };
    let window = cut.window;
    let collection_id = live.id;
    let dropped = known.indexes.iter().filter(|index| !live.indexes.iter().any(|other| other.id == index.id));
    let dropped = dropped.collect::<Vec<_>>();
    let created = live.indexes.iter().filter(|index| {
        index.create_tso <= window.to.0 && !known.indexes.iter().any(|other| other.id == index.id)
    });

    let mut earliest = cut.beginning_of(collection_id);
    if let Some(change) = release(&known, live, !dropped.is_empty()) {
        let date = requests.release(window, &name, change.whole);
        earliest = date.unwrap_or(earliest);
        cut.push_at(date, earliest, Place::Release, Change::Release(change))?;
    }
    for index in dropped {
        let date = requests.drop_index(window, &name, index).filter(|date| *date >= earliest);
        let change = Change::DropIndex(pb::DropIndex { collection_id, index_id: index.id });
        cut.push_at(date, earliest, Place::DropIndex, change)?;
    }
    for index in created {
        let date = Tso(index.create_tso);
        let change = Change::CreateIndex(pb::CreateIndex { collection_id, index: Some(index.clone()) });
        cut.push_at((date > earliest).then_some(date), earliest, Place::CreateIndex, change)?;
    }
    let altered =
        live.indexes.iter().filter(|index| known.indexes.iter().any(|other| is_altered(other, index)));
    let indexes = altered.cloned().collect::<Vec<_>>();
    if !indexes.is_empty() {
        let (id, properties) = (collection_id, known.properties.clone());
        let change = pb::AlterCollection { id, properties, schema: None, indexes };
        cut.push(window.to, Place::CreateIndex, Change::AlterCollection(change))?;
    }
    let waits_for_index = live.indexes.iter().any(|index| index.create_tso > window.to.0);
    let now = cut.catalog.collections.get(&collection_id).cloned().unwrap_or_default();
    if let Some(change) = load(&now, live).filter(|_| !waits_for_index) {
        let possible = cut.newest_before_loads();
        let date = requests.load(window, &name, change.whole).filter(|date| *date >= possible);
        cut.push_at(date, window.to, Place::Load, Change::Load(change))?;
    }
    Ok(())
}

fn is_altered(before: &pb::Index, after: &pb::Index) -> bool {
    // Milvus dates an index anew when the same is asked for again.
    before.id == after.id && pb::Index { create_tso: before.create_tso, ..after.clone() } != *before
}

/// The release that leads towards the live load state. An index can only be dropped while nothing is loaded, and a
/// number of replicas only changes by a new load.
fn release(known: &Collection, live: &Collection, drops_index: bool) -> Option<pb::LoadChange> {
    let before = known.load.as_ref()?;
    let collection_id = known.id;
    let whole = pb::LoadChange { collection_id, whole: true, ..Default::default() };
    let Some(after) = &live.load else { return Some(whole) };
    if drops_index || before.replicas != after.replicas {
        return Some(whole);
    }
    let gone =
        |id: &&i64| !after.partition_ids.contains(*id) && known.partitions.iter().any(|p| p.id == **id);
    let partition_ids = before.partition_ids.iter().filter(gone).copied().collect::<Vec<_>>();
    (!partition_ids.is_empty()).then_some(pb::LoadChange {
        collection_id,
        partition_ids,
        ..Default::default()
    })
}

/// The load that leads to the live load state.
fn load(known: &Collection, live: &Collection) -> Option<pb::LoadChange> {
    let after = live.load.as_ref()?;
    let before = known.load.clone().unwrap_or_default();
    let exists = |id: &&i64| known.partitions.iter().any(|partition| partition.id == **id);
    let new = after.partition_ids.iter().filter(exists).filter(|id| !before.partition_ids.contains(*id));
    let partition_ids = new.copied().collect::<Vec<_>>();
    let all = known.partitions.iter().all(|partition| after.partition_ids.contains(&partition.id));
    let whole = after.whole && all;
    let changed = !partition_ids.is_empty() || (whole && !before.whole);
    let (collection_id, replicas) = (live.id, after.replicas.max(1));
    let partition_ids = if whole { Vec::new() } else { partition_ids };
    changed.then_some(pb::LoadChange { collection_id, whole, partition_ids, replicas })
}
