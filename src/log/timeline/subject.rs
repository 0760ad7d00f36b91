//! What a definition concerns, by the names of its instant. Pure.

use crate::catalog::{Catalog, CollectionId, DatabaseId};
use crate::pb::log::definition::Change;

/// Of a definition that `catalog` does not hold yet. What it does not know is named by its id.
pub fn of(catalog: &Catalog, change: Option<&Change>) -> String {
    let Some(change) = change else { return String::new() };
    match change {
        Change::CreateDatabase(database) => database.name.clone(),
        Change::AlterDatabase(altered) => database(catalog, altered.id),
        Change::DropDatabase(dropped) => database(catalog, dropped.id),
        Change::CreateCollection(created) => within(catalog, created.database_id, &created.name),
        Change::DropCollection(dropped) => collection(catalog, dropped.id),
        Change::RenameCollection(renamed) => collection(catalog, renamed.id),
        Change::AlterCollection(altered) => collection(catalog, altered.id),
        Change::CreatePartition(created) => collection(catalog, created.collection_id),
        Change::DropPartition(dropped) => collection(catalog, dropped.collection_id),
        Change::CreateIndex(created) => collection(catalog, created.collection_id),
        Change::DropIndex(dropped) => collection(catalog, dropped.collection_id),
        Change::Load(load) => collection(catalog, load.collection_id),
        Change::Release(release) => collection(catalog, release.collection_id),
        Change::Flush(flush) => {
            let names = flush.collection_ids.iter().map(|id| collection(catalog, *id));
            names.collect::<Vec<_>>().join(", ")
        }
        Change::CreateAlias(alias) | Change::AlterAlias(alias) => collection(catalog, alias.collection_id),
        Change::DropAlias(dropped) => {
            match catalog.aliases.get(&(dropped.database_id, dropped.name.clone())) {
                Some(id) => collection(catalog, *id),
                None => database(catalog, dropped.database_id),
            }
        }
    }
}

/// `database.collection`
pub fn collection(catalog: &Catalog, id: CollectionId) -> String {
    match catalog.collections.get(&id) {
        Some(collection) => within(catalog, collection.database_id, &collection.name),
        None => format!("(collection {id})"),
    }
}

fn within(catalog: &Catalog, database_id: DatabaseId, name: &str) -> String {
    format!("{}.{name}", database(catalog, database_id))
}

fn database(catalog: &Catalog, id: DatabaseId) -> String {
    catalog.database_name(id).map_or_else(|| format!("(database {id})"), str::to_owned)
}
