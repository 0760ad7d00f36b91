//! What is done to a target: changes by name, as the replayer plans them and a [`crate::target::Target`] applies them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::schema::{CollectionSchema, FieldData};

/// A collection's full name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CollectionName {
    /// Its database; `default` where the user named none.
    pub database: String,
    /// Its name within the database.
    pub collection: String,
}

impl CollectionName {
    /// The name from its two parts.
    pub fn new(database: impl Into<String>, collection: impl Into<String>) -> CollectionName {
        CollectionName { database: database.into(), collection: collection.into() }
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.collection)
    }
}

/// Columns of rows, as they came from the source (the fields that a client sends: no RowID, no Timestamp; the
/// generated key of an autoID collection is among them).
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// One entry a field, each of `count` rows, in any order.
    pub columns: Vec<FieldData>,
    /// Number of rows.
    pub count: usize,
}

/// Primary keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Of an Int64 key field.
    Int(Vec<i64>),
    /// Of a VarChar key field.
    Text(Vec<String>),
}

impl Keys {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Keys::Int(keys) => keys.len(),
            Keys::Text(keys) => keys.len(),
        }
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A change of rows in one collection.
#[derive(Clone, Debug, PartialEq)]
pub enum RowChange {
    /// New rows. A key that exists gets a second row, as Milvus has it.
    Insert {
        /// Where; none: the target chooses (partition-key collections).
        partition: Option<String>,
        /// The rows.
        rows: Rows,
    },
    /// Rows that replace those of the same keys.
    Upsert {
        /// Where; none: the target chooses.
        partition: Option<String>,
        /// The rows.
        rows: Rows,
    },
    /// All rows of these keys go.
    Delete {
        /// From where; none: from the whole collection.
        partition: Option<String>,
        /// The name of the primary key field.
        key_field: String,
        /// The keys.
        keys: Keys,
    },
}

/// A change of what exists. Applying one twice gives what applying it once gives.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the words of Milvus' API")]
pub enum DefinitionChange {
    CreateDatabase {
        database: String,
    },
    DropDatabase {
        database: String,
    },
    CreateCollection(NewCollection),
    DropCollection {
        name: CollectionName,
    },
    RenameCollection {
        from: CollectionName,
        to: CollectionName,
    },
    AlterCollection {
        name: CollectionName,
        properties: Vec<KeyValuePair>,
        /// Keys of properties that it had before.
        removed: Vec<String>,
    },
    CreatePartition {
        name: CollectionName,
        partition: String,
    },
    /// Released first where it is loaded: a loaded partition cannot be dropped.
    DropPartition {
        name: CollectionName,
        partition: String,
    },
    CreateIndex {
        name: CollectionName,
        field: String,
        index: String,
        params: Vec<KeyValuePair>,
    },
    /// The collection has been released before.
    DropIndex {
        name: CollectionName,
        field: String,
        index: String,
    },
    /// Returns when the load is accepted and finished.
    Load {
        name: CollectionName,
        partitions: Option<Vec<String>>,
        replicas: i32,
    },
    Release {
        name: CollectionName,
        partitions: Option<Vec<String>>,
    },
    /// Returns when the rows are persisted.
    Flush {
        name: CollectionName,
    },
    CreateAlias {
        name: CollectionName,
        alias: String,
    },
    /// An alias that stands for neither of the two belongs to others.
    AlterAlias {
        from: CollectionName,
        name: CollectionName,
        alias: String,
    },
    /// An alias that stands for another collection stays: it belongs to others.
    DropAlias {
        name: CollectionName,
        alias: String,
    },
}

/// A collection to be created, with its partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCollection {
    /// Where.
    pub name: CollectionName,
    /// The source's schema: user fields and `$meta`, with the source's field ids.
    pub schema: CollectionSchema,
    /// Number of shards.
    pub shards: i32,
    /// Milvus' enum ConsistencyLevel.
    pub consistency_level: i32,
    /// Properties.
    pub properties: Vec<KeyValuePair>,
    /// All partitions, `_default` among them; of a partition-key collection only their number counts.
    pub partitions: Vec<String>,
}
