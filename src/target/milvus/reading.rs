//! A Milvus as it is read: what exists there, and rows by their keys. A source answers as a target does.

use crate::change::{CollectionName, Rows};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::milvus as pb;
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data;
use crate::pb::milvus::proto::schema::{DataType, FieldData, FieldSchema, ScalarField};
use crate::rows::with_nulls;
use crate::target::milvus::MilvusOptions;
use crate::target::milvus::connection::{Connection, call};
use crate::target::milvus::failure::{Failure, INDEX_NOT_FOUND};
use crate::target::request::{Which, expression, has_partition_key};
use crate::tick::Tso;

const LOADED: i32 = 3;
/// With it goes the TSO that a query names.
const STRONG: i32 = 0;

/// A Milvus that answers questions.
pub struct MilvusReader {
    whose: &'static str,
    connection: Connection,
}

/// What a Milvus tells of a collection.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its schema and what belongs to it.
    pub described: pb::DescribeCollectionResponse,
    /// Its partitions by name, in the order of names.
    pub partitions: Vec<String>,
    /// Those that are loaded; of a partition-key collection all or none.
    pub loaded: Vec<String>,
    /// Its indexes, also those that are still being built.
    pub indexes: Vec<pb::IndexDescription>,
}

/// Rows that are asked for. They must be loaded.
#[derive(Clone, Copy, Debug)]
pub struct RowsOf<'a> {
    /// The collection.
    pub name: &'a CollectionName,
    /// Of one partition; none: of all.
    pub partition: Option<&'a str>,
    /// The primary key.
    pub key: &'a FieldSchema,
    /// Which of them.
    pub which: Which<'a>,
    /// Every change up to here is seen; later ones may be.
    pub guarantee: Tso,
}

impl MilvusReader {
    /// Connects with the first question. `whose` (source, target) stands in the errors.
    pub fn new(whose: &'static str, options: &MilvusOptions) -> Result<MilvusReader> {
        Ok(MilvusReader { whose, connection: Connection::new(whose, options)? })
    }

    /// A TSO that is later than every change that this Milvus has accepted.
    pub async fn now(&self) -> Result<Tso> {
        let answer = call!(self.connection, alloc_timestamp, pb::AllocTimestampRequest {});
        Ok(Tso(answer.map_err(|failure| failure.of(self.whose))?.timestamp))
    }

    /// The names of the databases.
    pub async fn databases(&self) -> Result<Vec<String>> {
        let answer = call!(self.connection, list_databases, pb::ListDatabasesRequest {});
        Ok(answer.map_err(|failure| failure.of(self.whose))?.db_names)
    }

    /// The collections of a database; none where it is gone. Aliases are not among them.
    pub async fn collections(&self, database: &str) -> Result<Vec<CollectionName>> {
        let request = pb::ShowCollectionsRequest { db_name: database.to_owned(), ..Default::default() };
        match call!(self.connection, show_collections, request) {
            Err(failure) if failure.is_missing() => Ok(Vec::new()),
            Err(failure) => Err(failure.of(self.whose)),
            Ok(answer) => {
                let names = answer.collection_names.into_iter();
                Ok(names.map(|name| CollectionName::new(database, name)).collect())
            }
        }
    }

    /// A collection; none where it is not there, or the name is an alias.
    pub async fn find(&self, name: &CollectionName) -> Result<Option<Found>> {
        match self.found(name).await {
            Err(failure) if failure.is_missing() => Ok(None),
            found => found.map_err(|failure| failure.of(self.whose)),
        }
    }

    async fn found(&self, name: &CollectionName) -> Result<Option<Found>, Failure> {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let request = pb::DescribeCollectionRequest { db_name, collection_name, ..Default::default() };
        let described = call!(self.connection, describe_collection, request)?;
        // the answer to an alias has the collection's own name in its schema
        if described.schema.as_ref().is_some_and(|schema| schema.name != name.collection) {
            return Ok(None);
        }
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let request = pb::ShowPartitionsRequest { db_name, collection_name };
        let mut partitions = call!(self.connection, show_partitions, request)?.partition_names;
        partitions.sort_unstable();
        let mut loaded = Vec::new();
        if described.schema.as_ref().is_some_and(has_partition_key) {
            if self.is_loaded(name, None).await? {
                loaded.clone_from(&partitions);
            }
        } else {
            for partition in &partitions {
                if self.is_loaded(name, Some(partition)).await? {
                    loaded.push(partition.clone());
                }
            }
        }
        Ok(Some(Found { described, partitions, loaded, indexes: self.indexes(name).await? }))
    }

    async fn is_loaded(&self, name: &CollectionName, partition: Option<&String>) -> Result<bool, Failure> {
        let request = pb::LoadProgressRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            partition_names: partition.into_iter().cloned().collect(),
        };
        Ok(call!(self.connection, get_load_state, request)?.state == LOADED)
    }

    async fn indexes(&self, name: &CollectionName) -> Result<Vec<pb::IndexDescription>, Failure> {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let request = pb::IndexRequest { db_name, collection_name, ..Default::default() };
        match call!(self.connection, describe_index, request) {
            Err(failure) if failure.is(INDEX_NOT_FOUND) => Ok(Vec::new()),
            described => Ok(described?.index_descriptions),
        }
    }

    /// These fields of rows, each key once, whichever of its rows that is. With a limit about as many, the first in the
    /// order of keys; where keys have several rows, keys between those of the answer may be missing from it. Without one
    /// Milvus itself stops at 16384. None: an answer of so many rows would have too many bytes.
    pub async fn rows(
        &self,
        of: RowsOf<'_>,
        fields: &[String],
        limit: Option<usize>,
    ) -> Result<Option<Rows>> {
        let columns = match self.query(of, fields.to_vec(), limit).await {
            Err(failure) if failure.is_too_large() => return Ok(None),
            columns => columns.map_err(|failure| failure.of(self.whose))?,
        };
        let columns = columns.into_iter().map(with_nulls).collect::<Result<Vec<_>>>()?;
        let mut rows = Rows { columns, count: 0 };
        if let Some(key) = rows.columns.iter().find(|column| column.field_name == of.key.name) {
            rows.count = entries(key);
        }
        match rows.count {
            0 => Ok(Some(Rows::none())),
            _ => rows.check().map(|()| Some(rows)),
        }
    }

    /// `count(*)`: every row of a key counts.
    pub async fn count(&self, of: RowsOf<'_>) -> Result<u64> {
        let answer = self.query(of, vec!["count(*)".to_owned()], None).await;
        let columns = answer.map_err(|failure| failure.of(self.whose))?;
        match columns.into_iter().next().and_then(|column| column.field) {
            Some(Field::Scalars(ScalarField { data: Some(Data::LongData(counts)) })) => {
                let count = counts.data.first().and_then(|count| u64::try_from(*count).ok());
                count.ok_or_else(|| self.strange("count(*)"))
            }
            _ => Err(self.strange("count(*)")),
        }
    }

    async fn query(
        &self,
        of: RowsOf<'_>,
        output_fields: Vec<String>,
        limit: Option<usize>,
    ) -> Result<Vec<FieldData>, Failure> {
        let limit = limit.map(|limit| KeyValuePair { key: "limit".to_owned(), value: limit.to_string() });
        let request = pb::QueryRequest {
            db_name: of.name.database.clone(),
            collection_name: of.name.collection.clone(),
            expr: expression(&of.key.name, of.which, of.key.data_type() == DataType::VarChar),
            output_fields,
            partition_names: of.partition.into_iter().map(str::to_owned).collect(),
            guarantee_timestamp: of.guarantee.0,
            query_params: limit.into_iter().collect(),
            consistency_level: STRONG,
            ..Default::default()
        };
        Ok(call!(self.connection, query, request)?.fields_data)
    }

    fn strange(&self, what: &str) -> Error {
        Error::operator(format!("the {} gives no number for {what}", self.whose))
    }
}

/// Rows in the column of a primary key.
fn entries(key: &FieldData) -> usize {
    match &key.field {
        Some(Field::Scalars(ScalarField { data: Some(Data::LongData(keys)) })) => keys.data.len(),
        Some(Field::Scalars(ScalarField { data: Some(Data::StringData(keys)) })) => keys.data.len(),
        _ => 0,
    }
}
