//! Targets that do something of their own at some calls and pass on all others.

use std::ops::Deref;

use async_trait::async_trait;
use tapedeck::catalog::CollectionId;
use tapedeck::change::{CollectionName, DefinitionChange, RowChange};
use tapedeck::error::Result;
use tapedeck::target::memory::MemoryTarget;
use tapedeck::target::{Mode, Shortfall, Target};

/// What is done otherwise. A call of which nothing is said goes to the target itself.
#[async_trait]
pub trait Alteration: Send + Sync + 'static {
    /// The target itself.
    fn target(&self) -> &MemoryTarget;

    /// See [`Target::define`].
    async fn define(&self, change: &DefinitionChange) -> Result<Option<Shortfall>> {
        self.target().define(change).await
    }

    /// See [`Target::id_of`].
    async fn id_of(&self, name: &CollectionName) -> Result<Option<CollectionId>> {
        self.target().id_of(name).await
    }

    /// See [`Target::write`].
    async fn write(&self, name: &CollectionName, change: &RowChange, mode: Mode) -> Result<()> {
        self.target().write(name, change, mode).await
    }
}

/// A target with an alteration.
#[derive(Default)]
pub struct Altered<A>(pub A);

impl<A> Deref for Altered<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.0
    }
}

#[async_trait]
impl<A: Alteration> Target for Altered<A> {
    async fn hello(&self) -> Result<String> {
        self.target().hello().await
    }

    async fn define(&self, change: &DefinitionChange) -> Result<Option<Shortfall>> {
        self.0.define(change).await
    }

    async fn has_database(&self, database: &str) -> Result<bool> {
        self.target().has_database(database).await
    }

    async fn id_of(&self, name: &CollectionName) -> Result<Option<CollectionId>> {
        self.0.id_of(name).await
    }

    async fn alias_of(&self, alias: &CollectionName) -> Result<Option<String>> {
        self.target().alias_of(alias).await
    }

    async fn write(&self, name: &CollectionName, change: &RowChange, mode: Mode) -> Result<()> {
        self.0.write(name, change, mode).await
    }
}
