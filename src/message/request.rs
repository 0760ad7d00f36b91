//! Messages of the replicate channel: the requests that clients made, after the source accepted them.

use bytes::Bytes;
use prost::Message;

use crate::change::CollectionName;
use crate::error::Result;
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::milvus as pb;
use crate::tick::Tso;

use super::{base, malformed, type_name, undecodable};

/// The database that is meant where a request names none.
const DEFAULT_DATABASE: &str = "default";

/// A request. Its names are those at `tso`: a rename may have made them stale since.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Milvus' MsgType.
    pub msg_type: i32,
    /// When the request started. etcd may date its effect slightly later.
    pub tso: Tso,
    /// What was asked for.
    pub action: Action,
}

/// What was asked for. "Accepted" is all that a message says: a load may still be going on, and a repeated request
/// changed nothing.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the words of Milvus' API")]
pub enum Action {
    CreateDatabase {
        database: String,
    },
    DropDatabase {
        database: String,
    },
    LoadCollection {
        name: CollectionName,
        replicas: i32,
    },
    ReleaseCollection {
        name: CollectionName,
    },
    LoadPartitions {
        name: CollectionName,
        partitions: Vec<String>,
        replicas: i32,
    },
    ReleasePartitions {
        name: CollectionName,
        partitions: Vec<String>,
    },
    /// An empty `index` stands for the field's name.
    CreateIndex {
        name: CollectionName,
        field: String,
        index: String,
        params: Vec<KeyValuePair>,
    },
    DropIndex {
        name: CollectionName,
        field: String,
        index: String,
    },
    Flush {
        names: Vec<CollectionName>,
    },
    /// Anything else.
    Other,
}

/// Decodes a message of the replicate channel.
pub fn request(payload: Bytes) -> Result<Request> {
    let base = base(&payload)?;
    let msg_type = base.msg_type;
    let action = action(msg_type, payload).map_err(|error| undecodable(&type_name(msg_type), &error))?;
    if action != Action::Other && base.timestamp == 0 {
        return Err(malformed(format!("a request ({}) without a TSO", type_name(msg_type))));
    }
    Ok(Request { msg_type, tso: Tso(base.timestamp), action })
}

fn action(msg_type: i32, payload: Bytes) -> Result<Action, prost::DecodeError> {
    Ok(match msg_type {
        1801 => Action::CreateDatabase { database: pb::DatabaseRequest::decode(payload)?.db_name },
        1802 => Action::DropDatabase { database: pb::DatabaseRequest::decode(payload)?.db_name },
        106 => {
            let load = pb::LoadCollectionRequest::decode(payload)?;
            Action::LoadCollection {
                name: name(load.db_name, load.collection_name),
                replicas: load.replica_number,
            }
        }
        107 => {
            let release = pb::CollectionRequest::decode(payload)?;
            Action::ReleaseCollection { name: name(release.db_name, release.collection_name) }
        }
        205 => {
            let load = pb::LoadPartitionsRequest::decode(payload)?;
            Action::LoadPartitions {
                name: name(load.db_name, load.collection_name),
                partitions: load.partition_names,
                replicas: load.replica_number,
            }
        }
        206 => {
            let release = pb::ReleasePartitionsRequest::decode(payload)?;
            Action::ReleasePartitions {
                name: name(release.db_name, release.collection_name),
                partitions: release.partition_names,
            }
        }
        300 => {
            let create = pb::CreateIndexRequest::decode(payload)?;
            Action::CreateIndex {
                name: name(create.db_name, create.collection_name),
                field: create.field_name,
                index: create.index_name,
                params: create.extra_params,
            }
        }
        302 => {
            let drop = pb::IndexRequest::decode(payload)?;
            Action::DropIndex {
                name: name(drop.db_name, drop.collection_name),
                field: drop.field_name,
                index: drop.index_name,
            }
        }
        402 => {
            let flush = pb::FlushRequest::decode(payload)?;
            let names = flush.collection_names.into_iter();
            Action::Flush { names: names.map(|collection| name(flush.db_name.clone(), collection)).collect() }
        }
        _ => Action::Other,
    })
}

fn name(database: String, collection: String) -> CollectionName {
    let database = if database.is_empty() { DEFAULT_DATABASE.into() } else { database };
    CollectionName { database, collection }
}
