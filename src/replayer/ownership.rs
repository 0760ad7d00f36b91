//! Whose a target's collections are: those that the log has made so far are there, and what it makes next takes
//! nobody else's place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::{TryStreamExt, stream};

use crate::catalog::CollectionId;
use crate::change::{CollectionName, DefinitionChange};
use crate::error::{Error, Result};
use crate::pb::log::{Checkpoint, Definition, definition::Change};
use crate::position::LogPosition;
use crate::target::{Target, name_is_alias};
use crate::tick::Tso;

use super::naming::Naming;
use super::place::Place;
use super::skip::Skip;

/// Questions at once.
const AT_ONCE: usize = 16;
const OTHERS: &str =
    "another target, an emptied or changed one, or another selection needs a task of another name";

const REPLACED: &str = "it was dropped and created again by others, or the target was restored from a backup";

/// What was created in a target.
#[derive(Debug)]
pub struct Made {
    /// Its ids of collections by those of the source.
    collections: Mutex<BTreeMap<CollectionId, CollectionId>>,
    /// Its databases, also those that are about to be created.
    databases: Mutex<BTreeSet<String>>,
}

impl Made {
    /// As a checkpoint has it.
    pub fn new(state: &Checkpoint) -> Made {
        let databases = state.made_databases.iter().cloned().collect();
        Made { collections: Mutex::new(state.made.clone()), databases: Mutex::new(databases) }
    }

    /// As a checkpoint takes it.
    pub fn store(&self, state: &mut Checkpoint) {
        state.made = self.known().clone();
        state.made_databases = self.databases().iter().cloned().collect();
    }

    /// Called, and stored, before a database is created: it is this replay's if it is not there yet.
    pub async fn claim(&self, target: &dyn Target, changes: &[DefinitionChange]) -> Result<()> {
        for change in changes {
            if let DefinitionChange::CreateDatabase { database } = change
                && !target.has_database(database).await?
            {
                self.databases().insert(database.clone());
            }
        }
        Ok(())
    }

    /// The database that a change would drop although others have created it.
    pub fn database_of_others<'a>(&self, change: &'a DefinitionChange) -> Option<&'a str> {
        match change {
            DefinitionChange::DropDatabase { database } if !self.databases().contains(database) => {
                Some(database)
            }
            _ => None,
        }
    }

    /// Notes what a change has made or removed.
    pub async fn note(
        &self,
        target: &dyn Target,
        source: Option<CollectionId>,
        change: &DefinitionChange,
    ) -> Result<()> {
        match (change, source) {
            (DefinitionChange::CreateCollection(new), Some(source)) => {
                if let Some(id) = target.id_of(&new.name).await? {
                    self.known().insert(source, id);
                }
            }
            (DefinitionChange::DropCollection { .. }, Some(source)) => {
                self.known().remove(&source);
            }
            (DefinitionChange::DropDatabase { database }, _) => {
                self.databases().remove(database);
            }
            _ => {}
        }
        Ok(())
    }

    /// What a change drops, renames or creates once more in the target is what was created there, not what others have put
    /// in its place, also not since that was looked at. What is no longer there has come to no harm. `in_doubt`: an earlier
    /// run may have made the change.
    pub async fn check(
        &self,
        target: &dyn Target,
        source: Option<CollectionId>,
        change: &DefinitionChange,
        in_doubt: bool,
    ) -> Result<()> {
        let Some(made) = source.and_then(|source| self.of(source)) else {
            return match change {
                DefinitionChange::CreateCollection(_) if !in_doubt => check_new(target, source, change).await,
                _ => Ok(()),
            };
        };
        let (name, instead) = match change {
            DefinitionChange::CreateCollection(new) => (&new.name, None),
            DefinitionChange::RenameCollection { from, to } => (from, Some(to)),
            DefinitionChange::DropCollection { name }
            | DefinitionChange::DropPartition { name, .. }
            | DefinitionChange::DropIndex { name, .. } => (name, None),
            _ => return Ok(()),
        };
        for name in [Some(name), instead].into_iter().flatten() {
            match target.id_of(name).await? {
                None => {}
                Some(found) if found == made => break,
                Some(_) => return Err(replaced(name)),
            }
        }
        Ok(())
    }

    /// The target's id of a collection of the source.
    fn of(&self, source: CollectionId) -> Option<CollectionId> {
        self.known().get(&source).copied()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<CollectionId, CollectionId>> {
        self.collections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn databases(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that was replayed into this target is still there. Another target under the same address, or one that
/// was emptied, would otherwise stay without it for good.
pub async fn check_there(
    target: &dyn Target,
    collections: Vec<(CollectionId, CollectionName)>,
    made: &Made,
) -> Result<()> {
    let collections = stream::iter(collections.into_iter().map(Ok));
    collections.try_for_each_concurrent(AT_ONCE, |(id, name)| check_one(target, id, name, made)).await
}

async fn check_one(target: &dyn Target, id: CollectionId, name: CollectionName, made: &Made) -> Result<()> {
    match target.id_of(&name).await? {
        None => {
            let what = format!("the target lacks {name}, which is replayed by this task's position");
            Err(Error::operator(what).advice(OTHERS))
        }
        Some(found) if made.of(id).is_some_and(|made| made != found) => Err(replaced(&name)),
        Some(_) => Ok(()),
    }
}

fn replaced(name: &CollectionName) -> Error {
    Error::operator(format!("{name} of the target is another one than was replayed into: {REPLACED}"))
        .advice(OTHERS)
}

/// The name that a definition is about to give takes nobody else's place. `source`: the collection that is created.
pub async fn check_new(
    target: &dyn Target,
    source: Option<CollectionId>,
    change: &DefinitionChange,
) -> Result<()> {
    match change {
        DefinitionChange::CreateCollection(new) => check_free(target, source, &new.name).await,
        DefinitionChange::RenameCollection { to, .. } => check_free(target, None, to).await,
        DefinitionChange::CreateAlias { name, alias } | DefinitionChange::AlterAlias { name, alias, .. } => {
            check_alias(target, name, alias).await
        }
        _ => Ok(()),
    }
}

/// The name that a definition gives, to a collection or an alias.
pub fn given(change: &DefinitionChange) -> Option<CollectionName> {
    match change {
        DefinitionChange::CreateCollection(new) => Some(new.name.clone()),
        DefinitionChange::RenameCollection { to, .. } => Some(to.clone()),
        DefinitionChange::CreateAlias { name, alias } | DefinitionChange::AlterAlias { name, alias, .. } => {
            Some(CollectionName::new(&name.database, alias))
        }
        _ => None,
    }
}

/// An alias that stands for a collection of others stays theirs, and a collection of others keeps its name.
async fn check_alias(target: &dyn Target, name: &CollectionName, alias: &str) -> Result<()> {
    let alias = CollectionName::new(&name.database, alias);
    let in_the_way = match target.alias_of(&alias).await? {
        Some(of) if of == name.collection => return Ok(()),
        Some(of) => format!("in the target {alias} is an alias of {of}, and would be one of {name}"),
        None if target.id_of(&alias).await?.is_some() => {
            format!("the target has a collection {alias}, and it would be an alias of {name}")
        }
        None => return Ok(()),
    };
    Err(Error::operator(in_the_way).advice("drop or rename it in the target, or replay into another one"))
}

/// A name that a collection is about to be given is free: rows go into what the replay itself has created, and into the
/// collection that they come from least of all, where each would come back as a new one, without end.
async fn check_free(target: &dyn Target, source: Option<CollectionId>, name: &CollectionName) -> Result<()> {
    if let Some(of) = target.alias_of(name).await? {
        return Err(name_is_alias(name, &of));
    }
    let Some(found) = target.id_of(name).await? else { return Ok(()) };
    if source == Some(found) {
        return Err(Error::operator(format!("{name} of the target is the source's own"))
            .advice("write the address of another Milvus, or rename what is selected out of the selection"));
    }
    Err(Error::operator(format!("the target has {name} already, which this replay did not create"))
        .advice("drop or rename it in the target, or map the source's collection to another name"))
}

/// Whether a definition gives a name to a collection or an alias.
pub fn names(definition: &Definition) -> bool {
    matches!(
        definition.change,
        Some(
            Change::CreateCollection(_)
                | Change::RenameCollection(_)
                | Change::CreateAlias(_)
                | Change::AlterAlias(_)
        )
    )
}

/// What of a segment gives names after a TSO that are not the log's own already, and the source's ids of the collections
/// that it creates. Those names are free once the segment has taken them away. `at`: where it begins.
pub fn newly_named<'a>(
    mut naming: Naming,
    mut skip: Skip,
    at: LogPosition,
    after: Option<Tso>,
    definitions: impl Iterator<Item = &'a Definition>,
) -> Result<Vec<(Option<CollectionId>, DefinitionChange)>> {
    let collections = naming.collections().into_iter().map(|(_, name)| name);
    let mut own: BTreeSet<_> = collections.chain(naming.aliases()).collect();
    let mut new = Vec::new();
    for (number, definition) in (at.definitions.saturating_add(1)..).zip(definitions) {
        let place = Place::Definition(at.seq.next(), number);
        let Some(definition) = skip.definition(&naming, place, Box::new(definition.clone()))? else {
            continue;
        };
        for change in naming.apply(&definition)? {
            if given(&change).is_some_and(|name| own.insert(name)) && Some(Tso(definition.tso)) > after {
                new.push((created(&definition), change));
            }
        }
    }
    Ok(new)
}

/// The collection that a definition creates.
pub fn created(definition: &Definition) -> Option<CollectionId> {
    match &definition.change {
        Some(Change::CreateCollection(created)) => Some(created.id),
        _ => None,
    }
}
