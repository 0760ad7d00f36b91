//! The target: where changes are applied.

pub mod memory;
pub mod milvus;
pub mod request;

use async_trait::async_trait;

use crate::catalog::CollectionId;
use crate::change::{CollectionName, DefinitionChange, RowChange};
use crate::error::{Error, Result};

/// How rows are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As they are. After an error nothing is known about the outcome, not even after a refusal (an earlier part of
    /// the same change may be in): the caller repeats the change in safe mode.
    Plain,
    /// The rows may be there already, all or some: Insert is sent as Upsert, so that sending twice leaves each row
    /// once. A key that stands twice in one change keeps both rows; rows of its keys from earlier changes go.
    Safe,
}

/// How a target differs from what it was asked for, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// It lacks something.
    Lacks(String),
    /// It has everything, and something is worth a look.
    Note(String),
}

/// A database that changes are applied to.
///
/// `Ok` means that the target has accepted the change durably. A `Retry` error says that nothing is known about the
/// outcome, or that the target refused for now: the caller may give the same change again, rows in [`Mode::Safe`].
/// Changes of different collections may be applied at once; the caller keeps the order within one.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    /// Tries address and credentials; returns what the target says it is (e.g. `Milvus v2.3.5`).
    async fn hello(&self) -> Result<String>;

    /// Applies a change of what exists, as far as the target can. Bears repetition: what is already so is success. A target
    /// that has another definition under the same name is an error for a person, with the difference named. A database
    /// that holds anything is not dropped: it stays, and a note says so.
    async fn define(&self, change: &DefinitionChange) -> Result<Option<Shortfall>>;

    /// Whether there is a database of this name.
    async fn has_database(&self, database: &str) -> Result<bool>;

    /// The id that the target itself gave to the collection of this name; an alias is none.
    async fn id_of(&self, collection: &CollectionName) -> Result<Option<CollectionId>>;

    /// The name of the collection for which an alias stands; none: the name is no alias.
    async fn alias_of(&self, alias: &CollectionName) -> Result<Option<String>>;

    /// Applies changes of rows to one collection.
    async fn write(&self, collection: &CollectionName, change: &RowChange, mode: Mode) -> Result<()>;
}

/// The refusal to take an alias or the name of one from what it stands for.
pub(crate) fn name_is_alias(name: &CollectionName, of: &str) -> Error {
    Error::operator(format!("in the target {name} is an alias of {of}"))
        .advice("drop that alias in the target, or map the source's collection to another name")
}
