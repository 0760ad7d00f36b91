//! A target in memory, with the rules of a Milvus: for tests, which compare [`Contents`], and for dry runs.

mod contents;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

pub use contents::{Collection, Contents, Index, Row};

use crate::catalog::CollectionId;
use crate::change::{CollectionName, DefinitionChange, RowChange, Rows};
use crate::error::{Error, Result};
use crate::target::{Mode, Shortfall, Target};

/// How a call fails. The caller is told the same in each case: a `Retry` error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is applied.
    Before,
    /// Half of the rows or keys are applied; of a definition nothing.
    Half,
    /// Everything is applied.
    After,
}

/// A target in memory.
#[derive(Debug, Default)]
pub struct MemoryTarget(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    contents: Contents,
    /// Of collections; below 0, so that none is a source's.
    ids: BTreeMap<CollectionName, CollectionId>,
    newest_id: CollectionId,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
}

impl MemoryTarget {
    /// An empty target: nothing but the database `default`.
    pub fn new() -> MemoryTarget {
        MemoryTarget::default()
    }

    /// What is in it now.
    pub fn contents(&self) -> Contents {
        self.state().contents.clone()
    }

    /// Calls of `define` and `write` so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Makes one call of `define` or `write` fail: the first has number 1.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state().faults.insert(call, fault);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The fault that this call is to have.
    fn count(&mut self) -> Option<Fault> {
        self.calls += 1;
        self.faults.remove(&self.calls)
    }

    fn define(&mut self, change: &DefinitionChange) -> Result<()> {
        self.contents.define(change)?;
        if let DefinitionChange::RenameCollection { from, to } = change
            && let Some(id) = self.ids.remove(from)
        {
            self.ids.insert(to.clone(), id);
        }
        let collections = &self.contents.collections;
        self.ids.retain(|name, _| collections.contains_key(name));
        for name in collections.keys().filter(|name| !self.ids.contains_key(name)).collect::<Vec<_>>() {
            self.newest_id -= 1;
            self.ids.insert(name.clone(), self.newest_id);
        }
        Ok(())
    }
}

#[async_trait]
impl Target for MemoryTarget {
    async fn hello(&self) -> Result<String> {
        Ok("memory".to_owned())
    }

    async fn define(&self, change: &DefinitionChange) -> Result<Option<Shortfall>> {
        let mut state = self.state();
        match state.count() {
            None => state.define(change).map(|()| None),
            Some(Fault::After) => state.define(change).and(Err(injected())),
            Some(Fault::Before | Fault::Half) => Err(injected()),
        }
    }

    async fn has_database(&self, database: &str) -> Result<bool> {
        Ok(self.state().contents.databases.contains(database))
    }

    async fn id_of(&self, collection: &CollectionName) -> Result<Option<CollectionId>> {
        Ok(self.state().ids.get(collection).copied())
    }

    async fn alias_of(&self, alias: &CollectionName) -> Result<Option<String>> {
        let alias = (alias.database.clone(), alias.collection.clone());
        Ok(self.state().contents.aliases.get(&alias).map(|behind| behind.collection.clone()))
    }

    async fn write(&self, collection: &CollectionName, change: &RowChange, mode: Mode) -> Result<()> {
        let mut state = self.state();
        match state.count() {
            None => state.contents.write(collection, change, mode),
            Some(Fault::After) => state.contents.write(collection, change, mode).and(Err(injected())),
            Some(Fault::Half) => state.contents.write(collection, &half(change)?, mode).and(Err(injected())),
            Some(Fault::Before) => Err(injected()),
        }
    }
}

fn injected() -> Error {
    Error::retry("a fault was asked for")
}

fn half(change: &RowChange) -> Result<RowChange> {
    let first = |rows: &Rows| rows.slice(0..rows.count / 2);
    let mut change = change.clone();
    match &mut change {
        RowChange::Insert { rows, .. } | RowChange::Upsert { rows, .. } => *rows = first(rows)?,
        RowChange::Delete { keys, .. } => *keys = keys.take(&(0..keys.len() / 2).collect::<Vec<_>>()),
    }
    Ok(change)
}
