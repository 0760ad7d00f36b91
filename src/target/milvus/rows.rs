//! Rows: inserts, upserts, deletes.

use crate::change::{CollectionName, Keys, RowChange, Rows};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::milvus as pb;
use crate::target::Mode;
use crate::target::milvus::MilvusTarget;
use crate::target::milvus::connection::call;
use crate::target::milvus::failure::Failure;
use crate::target::milvus::layout::Layout;
use crate::target::request;

impl MilvusTarget {
    pub(super) async fn write_rows(
        &self,
        name: &CollectionName,
        change: &RowChange,
        mode: Mode,
    ) -> Result<()> {
        if let RowChange::Insert { rows, .. } | RowChange::Upsert { rows, .. } = change
            && rows.count == 0
        {
            return Ok(());
        }
        let layout = self.layout(name).await?;
        match change {
            RowChange::Insert { partition, rows } if mode == Mode::Plain => {
                self.insert(name, &layout, partition.as_deref(), rows.clone()).await
            }
            RowChange::Insert { rows, .. } | RowChange::Upsert { rows, .. } if layout.has_partition_key() => {
                self.replace(name, &layout, rows).await
            }
            RowChange::Insert { partition, rows } | RowChange::Upsert { partition, rows } => {
                let (first, further) = request::first_and_further(rows, &layout.key_field)?;
                self.upsert(name, &layout, partition.as_deref(), first).await?;
                match further {
                    Some(further) => self.insert(name, &layout, partition.as_deref(), further).await,
                    None => Ok(()),
                }
            }
            RowChange::Delete { partition, key_field, keys } => {
                self.delete(name, partition.as_deref(), key_field, keys).await
            }
        }
    }

    /// What Upsert is elsewhere: that of Milvus 2.3 puts rows into partitions that are not those of their partition key,
    /// where a query by that key does not find them.
    async fn replace(&self, name: &CollectionName, layout: &Layout, rows: &Rows) -> Result<()> {
        self.delete(name, None, &layout.key_field, &rows.keys(&layout.key_field)?).await?;
        let inserted = self.insert(name, layout, None, rows.clone()).await;
        inserted.map_err(|error| Error { untouched: false, ..error })
    }

    async fn insert(
        &self,
        name: &CollectionName,
        layout: &Layout,
        partition: Option<&str>,
        rows: Rows,
    ) -> Result<()> {
        for (number, part) in request::split(rows, self.options.request_bytes)?.into_iter().enumerate() {
            let request = request::rows(name, partition, part, &layout.schema)?;
            let sent: Result<_, Failure> = call!(self.connection, insert, request);
            sent.map_err(|failure| {
                let error = Error::from(failure);
                // Once a part is in, the whole is no longer untouched.
                Error { untouched: error.untouched && number == 0, ..error }
            })?;
        }
        Ok(())
    }

    async fn upsert(
        &self,
        name: &CollectionName,
        layout: &Layout,
        partition: Option<&str>,
        rows: Rows,
    ) -> Result<()> {
        for part in request::split(rows, self.options.request_bytes)? {
            let request = request::rows(name, partition, part, &layout.schema)?;
            call!(self.connection, upsert, request)?;
        }
        Ok(())
    }

    async fn delete(
        &self,
        name: &CollectionName,
        partition: Option<&str>,
        key_field: &str,
        keys: &Keys,
    ) -> Result<()> {
        for expr in request::deletes(key_field, keys) {
            let request = pb::DeleteRequest {
                db_name: name.database.clone(),
                collection_name: name.collection.clone(),
                partition_name: partition.unwrap_or_default().to_owned(),
                expr,
            };
            call!(self.connection, delete, request)?;
        }
        Ok(())
    }
}
