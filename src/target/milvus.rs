//! A Milvus 2.3-2.5 as target, over its public gRPC API. What it answers: `milvus-wire.md`, section 7.
//!
//! Nothing is tried again in here, but for the short waits of a load and of a flush: the caller retries, visibly.

mod collections;
mod connection;
mod definitions;
mod failure;
mod indexes;
mod layout;
mod options;
mod reading;
mod rows;
mod serving;

use async_trait::async_trait;

pub use options::MilvusOptions;
pub use reading::{Found, MilvusReader, RowsOf};

use crate::catalog::CollectionId;
use crate::change::{CollectionName, DefinitionChange, RowChange};
use crate::error::Result;
use crate::target::{Mode, Shortfall, Target};
use collections::Behind;
use connection::Connection;
use layout::Layouts;

/// A Milvus as target.
pub struct MilvusTarget {
    connection: Connection,
    options: MilvusOptions,
    layouts: Layouts,
}

impl MilvusTarget {
    /// Connects with the first call, and again whenever the connection is lost. Needs a tokio runtime around it.
    /// An address that is none is an error of usage.
    pub fn new(options: MilvusOptions) -> Result<MilvusTarget> {
        let connection = Connection::new("target", &options)?;
        Ok(MilvusTarget { connection, options, layouts: Layouts::default() })
    }
}

#[async_trait]
impl Target for MilvusTarget {
    async fn hello(&self) -> Result<String> {
        self.connection.hello().await
    }

    async fn define(&self, change: &DefinitionChange) -> Result<Option<Shortfall>> {
        let result = self.apply(change).await;
        self.layouts.forget(change);
        result.map_err(|error| error.context(definitions::describe(change)))
    }

    async fn has_database(&self, database: &str) -> Result<bool> {
        Ok(self.databases().await?.iter().any(|known| known == database))
    }

    async fn id_of(&self, collection: &CollectionName) -> Result<Option<CollectionId>> {
        match self.behind(collection).await.map_err(|error| error.context(collection))? {
            Behind::Collection(found) => Ok(Some(found.collection_id)),
            Behind::Nothing | Behind::Alias(_) => Ok(None),
        }
    }

    async fn alias_of(&self, alias: &CollectionName) -> Result<Option<String>> {
        match self.behind(alias).await.map_err(|error| error.context(alias))? {
            Behind::Alias(of) => Ok(Some(of)),
            Behind::Nothing | Behind::Collection(_) => Ok(None),
        }
    }

    async fn write(&self, collection: &CollectionName, change: &RowChange, mode: Mode) -> Result<()> {
        let Err(error) = self.write_rows(collection, change, mode).await else { return Ok(()) };
        self.layouts.doubt(collection);
        let error = match self.layout(collection).await {
            // what has become of the collection says more than what Milvus says of the rows
            Err(changed) if !error.is_retry() && !changed.is_retry() => changed,
            _ => error,
        };
        Err(error.context(format!("write to {collection}")))
    }
}
