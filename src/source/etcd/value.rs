//! The values of keys, decoded.

use prost::Message;

use super::keys::Key;
use crate::error::{Error, Result};
use crate::pb::milvus::proto::meta::{
    AliasInfo, CollectionInfo, CollectionLoadInfo, DatabaseInfo, FieldIndex, PartitionInfo, PartitionLoadInfo,
};
use crate::pb::milvus::proto::schema::{FieldSchema, FunctionSchema};

/// What root-coord writes in the place of a value when an object goes.
const TOMBSTONE: [u8; 3] = [0xe2, 0x9b, 0xbc];

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Database(Box<DatabaseInfo>),
    Collection(Box<CollectionInfo>),
    Field(Box<FieldSchema>),
    Function(Box<FunctionSchema>),
    Partition(Box<PartitionInfo>),
    Alias(Box<AliasInfo>),
    Index(Box<FieldIndex>),
    CollectionLoad(CollectionLoadInfo),
    PartitionLoad(PartitionLoadInfo),
    /// The object is gone.
    Tombstone,
}

/// Where an object stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It may still come to nothing, and is then removed.
    Creating,
    Live,
    /// Gone for users, whatever is still stored of it.
    Gone,
}

impl Value {
    /// Decodes the value of a key; of a key that is not of interest, nothing.
    pub fn decode(key: &Key, name: &str, bytes: &[u8]) -> Result<Option<Value>> {
        if bytes == TOMBSTONE {
            return Ok(Some(Value::Tombstone));
        }
        let value = match key {
            Key::Database(_) => DatabaseInfo::decode(bytes).map(|value| Value::Database(value.into())),
            Key::Collection { .. } => {
                CollectionInfo::decode(bytes).map(|value| Value::Collection(value.into()))
            }
            Key::Field { .. } => FieldSchema::decode(bytes).map(|value| Value::Field(value.into())),
            Key::Function { .. } => FunctionSchema::decode(bytes).map(|value| Value::Function(value.into())),
            Key::Partition { .. } => PartitionInfo::decode(bytes).map(|value| Value::Partition(value.into())),
            Key::Alias { .. } => AliasInfo::decode(bytes).map(|value| Value::Alias(value.into())),
            Key::OldAlias(_) => {
                CollectionInfo::decode(bytes).map(|value| Value::Alias(old_alias(value).into()))
            }
            Key::Index { .. } => FieldIndex::decode(bytes).map(|value| Value::Index(value.into())),
            Key::CollectionLoad(_) => CollectionLoadInfo::decode(bytes).map(Value::CollectionLoad),
            Key::PartitionLoad { .. } => PartitionLoadInfo::decode(bytes).map(Value::PartitionLoad),
            Key::Other => return Ok(None),
        };
        value.map(Some).map_err(|error| {
            Error::refused(format!("the value of {name} in etcd cannot be decoded: {error}"))
                .advice("compare the source's version with those that are supported")
        })
    }

    /// Where the object stands. Databases count their states in another way than the rest.
    pub fn stage(&self) -> Stage {
        let state = match self {
            Value::Tombstone => return Stage::Gone,
            Value::Database(database) => {
                return match database.state {
                    1 => Stage::Live,
                    0 | 2 => Stage::Creating, // 0: unknown
                    _ => Stage::Gone,
                };
            }
            Value::Index(index) => return if index.deleted { Stage::Gone } else { Stage::Live },
            Value::Collection(collection) => collection.state,
            Value::Field(field) => field.state,
            Value::Partition(partition) => partition.state,
            Value::Alias(alias) => alias.state,
            Value::Function(_) | Value::CollectionLoad(_) | Value::PartitionLoad(_) => 0,
        };
        match state {
            0 => Stage::Live,
            1 => Stage::Creating,
            _ => Stage::Gone,
        }
    }
}

fn old_alias(value: CollectionInfo) -> AliasInfo {
    AliasInfo {
        alias_name: value.schema.map(|schema| schema.name).unwrap_or_default(),
        collection_id: value.id,
        state: value.state,
        ..Default::default()
    }
}
