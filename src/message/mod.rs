//! What the messages of a source's queue mean: pure decoding of verbatim payloads.
//!
//! Every message begins with a MsgBase that tells its type. [`header`] reads what routing needs and skips the columns;
//! [`insert`], [`delete`] and [`request()`] decode whole bodies and check them. Whatever is malformed is refused by name:
//! nothing panics, and no length is believed before the bytes are there.

mod columns;
mod kind;
mod request;
#[cfg(test)]
mod tests;

pub use kind::{Kind, kind, type_name};
pub use request::{Action, Request, request};

use bytes::Bytes;
use prost::Message;

use crate::catalog::{CollectionId, PartitionId};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::common::{MsgBase, MsgHeader, RmqMessageLayout};
use crate::pb::milvus::proto::msg::{DeleteRequest, InsertRequest, RowHeader};
use crate::pb::milvus::proto::schema::{IDs, LongArray, i_ds::IdField};
use crate::tick::Tso;

/// The partition id of a delete that names no partition: it concerns the whole collection.
pub const ALL_PARTITIONS: PartitionId = -1;

/// MsgBase.properties or message properties with this key come from the streaming service of Milvus 2.6.
pub const STREAMING_PROPERTY: &str = "_v";

/// The layout of an Insert's rows.
pub const COLUMN_BASED: i32 = 1;
/// Milvus' MsgType of an Insert.
pub const INSERT: i32 = 400;

/// What routing needs of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Milvus' MsgType; [`type_name`] gives its name.
    pub msg_type: i32,
    /// Its number at the source; 0: it has none. A producer that got no answer may send a message once more, with the
    /// same number: Milvus passes over a second Insert or Delete with it between two ticks.
    pub id: i64,
    /// Of its rows; of a message without rows that of its base (a tick's value, a request's start). Only messages of
    /// [`Kind::Request`], [`Kind::Announcement`] and [`Kind::Other`] can have none ([`Tso::ZERO`]).
    pub tso: Tso,
    /// Of an Insert or a Delete.
    pub rows: Option<RowsHeader>,
}

/// What an Insert or a Delete concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsHeader {
    /// The collection. The names in the message are those of the time of the request, and may be empty.
    pub collection_id: CollectionId,
    /// The partition; [`ALL_PARTITIONS`] in a delete over the whole collection.
    pub partition_id: PartitionId,
    /// The virtual channel.
    pub shard: String,
    /// Rows inserted or keys deleted; never 0.
    pub rows: u64,
}

/// Reads the header; the columns are skipped. A message that does not say what it is or where it belongs is refused.
pub fn header(payload: &Bytes) -> Result<Header> {
    let base = base(payload)?;
    let kind = kind(base.msg_type);
    if !matches!(kind, Kind::Insert | Kind::Delete) {
        if kind == Kind::Tick && base.timestamp == 0 {
            return Err(malformed("a TimeTick without a time"));
        }
        let (msg_type, id, tso) = (base.msg_type, base.msg_id, Tso(base.timestamp));
        return Ok(Header { kind, msg_type, id, tso, rows: None });
    }
    let name = type_name(base.msg_type);
    let row = RowHeader::decode(payload.clone()).map_err(|error| undecodable(&name, &error))?;
    if kind == Kind::Insert {
        check_layout(row.version)?;
    }
    Ok(Header {
        kind,
        msg_type: base.msg_type,
        id: base.msg_id,
        tso: check_route(&name, row.collection_id, &row.shard_name, &row.timestamps)?,
        rows: Some(RowsHeader {
            collection_id: row.collection_id,
            partition_id: row.partition_id,
            shard: row.shard_name,
            rows: row.timestamps.len() as u64,
        }),
    })
}

/// Decodes an Insert: `num_rows` rows in every column, one TSO.
pub fn insert(payload: Bytes) -> Result<InsertRequest> {
    expect_kind(&payload, Kind::Insert)?;
    let insert = InsertRequest::decode(payload).map_err(|error| undecodable("Insert", &error))?;
    check_layout(insert.version)?;
    check_route("Insert", insert.collection_id, &insert.shard_name, &insert.timestamps)?;
    let rows = insert.timestamps.len();
    if insert.num_rows != rows as u64 || insert.row_i_ds.len() != rows {
        return Err(malformed(format!(
            "an Insert of {} rows with {rows} timestamps and {} row ids",
            insert.num_rows,
            insert.row_i_ds.len()
        )));
    }
    if insert.fields_data.is_empty() {
        return Err(malformed(format!("an Insert of {rows} rows without columns")));
    }
    for column in &insert.fields_data {
        columns::check(column, rows)?;
    }
    Ok(insert)
}

/// Decodes a Delete: one timestamp a key, all equal. Keys of the deprecated field are moved to `primary_keys`.
pub fn delete(payload: Bytes) -> Result<DeleteRequest> {
    expect_kind(&payload, Kind::Delete)?;
    let mut delete = DeleteRequest::decode(payload).map_err(|error| undecodable("Delete", &error))?;
    check_route("Delete", delete.collection_id, &delete.shard_name, &delete.timestamps)?;
    if delete.primary_keys.is_none() && !delete.int64_primary_keys.is_empty() {
        let keys = LongArray { data: std::mem::take(&mut delete.int64_primary_keys) };
        delete.primary_keys = Some(IDs { id_field: Some(IdField::IntId(keys)) });
    }
    let keys = match delete.primary_keys.as_ref().and_then(|keys| keys.id_field.as_ref()) {
        Some(IdField::IntId(keys)) => keys.data.len(),
        Some(IdField::StrId(keys)) => keys.data.len(),
        None => 0,
    };
    if keys != delete.timestamps.len() || i64::try_from(keys) != Ok(delete.num_rows) {
        return Err(malformed(format!(
            "a Delete of {} rows with {} timestamps and {keys} keys",
            delete.num_rows,
            delete.timestamps.len()
        )));
    }
    Ok(delete)
}

/// The base of any message.
fn base(payload: &Bytes) -> Result<MsgBase> {
    let header = MsgHeader::decode(payload.clone()).map_err(|error| undecodable("message", &error));
    let typed = |base: &MsgBase| base.msg_type > 0;
    let base = header.and_then(|header| header.base.filter(typed).ok_or_else(without_type));
    // a value of another layout may begin like a base
    let known = base.as_ref().is_ok_and(|base| kind(base.msg_type) != Kind::Other);
    if !known && is_streaming_layout(payload) {
        return Err(streaming("as RocksMQ holds it"));
    }
    let base = base?;
    if kind(base.msg_type) == Kind::Streaming || base.properties.contains_key(STREAMING_PROPERTY) {
        return Err(streaming(&type_name(base.msg_type)));
    }
    Ok(base)
}

fn without_type() -> Error {
    malformed("a message without a type").advice(
        "make sure that the channel belongs to Milvus 2.3-2.5; other versions, and 2.6 with its streaming \
         service, write another format",
    )
}

fn is_streaming_layout(payload: &Bytes) -> bool {
    RmqMessageLayout::decode(payload.clone())
        .is_ok_and(|layout| layout.properties.contains_key(STREAMING_PROPERTY))
}

/// The refusal of a message of the streaming service, under which ticks do not promise what a cut relies on.
pub fn streaming(what: &str) -> Error {
    Error::refused(format!("a message of Milvus' streaming service ({what}): its stream cannot be recorded"))
        .advice("record from Milvus 2.3-2.5 with the streaming service switched off")
}

fn expect_kind(payload: &Bytes, expected: Kind) -> Result<()> {
    let base = base(payload)?;
    if kind(base.msg_type) == expected {
        return Ok(());
    }
    Err(malformed(format!("a message of type {} where type {expected:?} is said", type_name(base.msg_type))))
}

/// Only columns are understood: rows as blobs come from writers before Milvus 2.1.
fn check_layout(version: i32) -> Result<()> {
    match version {
        COLUMN_BASED => Ok(()),
        0 => Err(malformed("an Insert in the row-based layout of Milvus before 2.1")),
        other => Err(malformed(format!("an Insert in layout {other}, which is not known"))),
    }
}

/// Order goes by `timestamps`, never by the base: it is 0 in the insert half of an upsert.
fn check_route(name: &str, collection_id: CollectionId, shard: &str, timestamps: &[u64]) -> Result<Tso> {
    if collection_id == 0 || shard.is_empty() {
        return Err(malformed(format!("the message ({name}) names no collection or no virtual channel")));
    }
    match timestamps {
        [] => Err(malformed(format!("the message ({name}) of collection {collection_id} has no timestamps"))),
        [0, ..] => {
            Err(malformed(format!("the message ({name}) of collection {collection_id} has timestamp 0")))
        }
        [first, rest @ ..] => match rest.iter().find(|other| *other != first) {
            None => Ok(Tso(*first)),
            Some(other) => Err(malformed(format!(
                "the message ({name}) of collection {collection_id} has different timestamps: {first} and {other}"
            ))),
        },
    }
}

fn undecodable(name: &str, error: &prost::DecodeError) -> Error {
    malformed(format!("it is no {name} in protobuf ({error})"))
}

fn malformed(what: impl Into<String>) -> Error {
    Error::refused(format!("malformed message: {}", what.into())).advice(
        "compare the source's version with those that are supported, and keep the message for a report",
    )
}
