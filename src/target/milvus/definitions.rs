//! Changes of what exists: which is done where.

use crate::change::DefinitionChange as Change;
use crate::error::Result;
use crate::pb::milvus::proto::milvus as pb;
use crate::target::Shortfall;
use crate::target::milvus::MilvusTarget;
use crate::target::milvus::connection::call;

impl MilvusTarget {
    /// Applies a change. Answers to repeated or impossible operations: `milvus-wire.md`, 7.4.
    pub(super) async fn apply(&self, change: &Change) -> Result<Option<Shortfall>> {
        let applied = match change {
            Change::CreateDatabase { database } => self.create_database(database).await,
            Change::DropDatabase { database } => return self.drop_database(database).await,
            Change::CreateCollection(new) => self.create_collection(new).await,
            Change::DropCollection { name } => self.drop_collection(name).await,
            Change::RenameCollection { from, to } => self.rename_collection(from, to).await,
            Change::AlterCollection { name, properties, removed } => {
                return self.alter_collection(name, properties, removed).await;
            }
            Change::CreatePartition { name, partition } => self.create_partition(name, partition).await,
            Change::DropPartition { name, partition } => self.drop_partition(name, partition).await,
            Change::CreateIndex { name, field, index, params } => {
                self.create_index(name, field, index, params).await
            }
            Change::DropIndex { name, field, index } => self.drop_index(name, field, index).await,
            Change::Load { name, partitions, replicas } => {
                return self.load(name, partitions.as_deref(), *replicas).await;
            }
            Change::Release { name, partitions } => self.release(name, partitions.as_deref()).await,
            Change::Flush { name } => self.flush(name).await,
            Change::CreateAlias { name, alias } => self.create_alias(name, alias).await,
            Change::AlterAlias { from, name, alias } => self.alter_alias(from, name, alias).await,
            Change::DropAlias { name, alias } => self.drop_alias(name, alias).await,
        };
        applied.map(|()| None)
    }

    pub(super) async fn databases(&self) -> Result<Vec<String>> {
        Ok(call!(self.connection, list_databases, pb::ListDatabasesRequest {})?.db_names)
    }

    // an existing database has no code of its own: ask first
    async fn create_database(&self, database: &str) -> Result<()> {
        if self.databases().await?.iter().any(|known| known == database) {
            return Ok(());
        }
        let request = pb::DatabaseRequest { db_name: database.to_owned(), ..Default::default() };
        call!(self.connection, create_database, request)?;
        Ok(())
    }

    async fn drop_database(&self, database: &str) -> Result<Option<Shortfall>> {
        if !self.databases().await?.iter().any(|known| known == database) {
            return Ok(None);
        }
        let request = pb::ShowCollectionsRequest { db_name: database.to_owned(), ..Default::default() };
        let left = call!(self.connection, show_collections, request)?.collection_names;
        if !left.is_empty() {
            let what = format!("the dropped database {database} stays: it holds {}", left.join(", "));
            return Ok(Some(Shortfall::Note(what)));
        }
        let request = pb::DatabaseRequest { db_name: database.to_owned(), ..Default::default() };
        call!(self.connection, drop_database, request)?;
        Ok(None)
    }
}

/// What is being done, for an error.
pub(super) fn describe(change: &Change) -> String {
    match change {
        Change::CreateDatabase { database } => format!("create database {database}"),
        Change::DropDatabase { database } => format!("drop database {database}"),
        Change::CreateCollection(new) => format!("create collection {}", new.name),
        Change::DropCollection { name } => format!("drop collection {name}"),
        Change::RenameCollection { from, to } => format!("rename collection {from} to {to}"),
        Change::AlterCollection { name, .. } => format!("alter collection {name}"),
        Change::CreatePartition { name, partition } => format!("create partition {partition} of {name}"),
        Change::DropPartition { name, partition } => format!("drop partition {partition} of {name}"),
        Change::CreateIndex { name, field, index, .. } => {
            format!("create index {index} on {field} of {name}")
        }
        Change::DropIndex { name, field, index } => format!("drop index {index} on {field} of {name}"),
        Change::Load { name, partitions: None, .. } => format!("load {name}"),
        Change::Load { name, partitions: Some(some), .. } => format!("load partitions {some:?} of {name}"),
        Change::Release { name, partitions: None } => format!("release {name}"),
        Change::Release { name, partitions: Some(some) } => format!("release partitions {some:?} of {name}"),
        Change::Flush { name } => format!("flush {name}"),
        Change::CreateAlias { name, alias } => format!("create alias {alias} of {name}"),
        Change::AlterAlias { name, alias, .. } => format!("let alias {alias} stand for {name}"),
        Change::DropAlias { name, alias } => format!("drop alias {alias} of {name}"),
    }
}
