//! The rows of one side that are compared together: of a collection, or of one of its partitions.

use std::collections::BTreeMap;

use super::definition::Layout;
use super::digest::digests;
use super::lookup::Lookup;
use super::merge::{Digest, Row};
use super::pages::{Side, halved};
use crate::change::{CollectionName, Rows};
use crate::error::Result;
use crate::rows::Key;
use crate::target::milvus::{MilvusReader, RowsOf};
use crate::target::request::Which;
use crate::tick::Tso;

/// Where they are.
pub(super) struct Part<'a> {
    pub reader: &'a MilvusReader,
    pub name: &'a CollectionName,
    pub guarantee: Tso,
    pub layout: &'a Layout,
    pub partition: Option<&'a str>,
}

impl Part<'_> {
    async fn asked(&self, which: Which<'_>, limit: Option<usize>) -> Result<Option<Rows>> {
        self.reader.rows(self.of(which), &self.layout.fields, limit).await
    }

    fn keys(&self, rows: &Rows) -> Result<Vec<Key>> {
        match rows.count {
            0 => Ok(Vec::new()),
            _ => Ok(rows.keys(&self.layout.key.name)?.iter().collect()),
        }
    }

    fn of<'b>(&'b self, which: Which<'b>) -> RowsOf<'b> {
        let (name, partition, guarantee) = (self.name, self.partition, self.guarantee);
        RowsOf { name, partition, key: &self.layout.key, which, guarantee }
    }
}

impl Side for Part<'_> {
    async fn rows(&self, after: Option<&Key>, to: Option<&Key>, limit: usize) -> Result<Option<Vec<Row>>> {
        let Some(rows) = self.asked(Which::Between(after, to), Some(limit)).await? else { return Ok(None) };
        let keyed = self.keys(&rows)?.into_iter().zip(digests(&rows, &self.layout.fields)?);
        let mut rows = keyed.map(|(key, digest)| Row { key, digest, rows: 1 }).collect::<Vec<_>>();
        rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        rows.dedup_by(|one, other| one.key == other.key);
        Ok(Some(rows))
    }

    async fn count(&self, after: Option<&Key>, to: Option<&Key>) -> Result<u64> {
        self.reader.count(self.of(Which::Between(after, to))).await
    }
}

impl Lookup for Part<'_> {
    async fn values(&self, keys: &[Key]) -> Result<BTreeMap<Key, Vec<Digest>>> {
        let mut values = BTreeMap::new();
        let mut left = vec![keys];
        while let Some(keys) = left.pop() {
            let Some(rows) = self.asked(Which::These(keys), None).await? else {
                left.extend(<[_; 2]>::from(keys.split_at(halved(keys.len())?)));
                continue;
            };
            let fields = self.layout.fields.iter().map(|field| digests(&rows, std::slice::from_ref(field)));
            let fields = fields.collect::<Result<Vec<_>>>()?;
            for (number, key) in self.keys(&rows)?.into_iter().enumerate() {
                let digests = fields.iter().filter_map(|digests| digests.get(number).copied());
                values.insert(key, digests.collect());
            }
        }
        Ok(values)
    }

    async fn counted(&self, keys: &[Key]) -> Result<u64> {
        self.reader.count(self.of(Which::These(keys))).await
    }
}
