//! The types of messages.

use std::borrow::Cow;

/// What a message is, as far as messages are told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A time tick: every message of the channel with a TSO up to its own came before.
    Tick,
    /// New rows.
    Insert,
    /// Keys whose rows go.
    Delete,
    /// Creation or drop of a collection or partition, repeated on the channel. etcd is the truth for them: the
    /// message can announce a collection that never comes to be.
    Announcement,
    /// A request on the replicate channel that [`super::request()`] understands.
    Request,
    /// Of Milvus' streaming service (2.6): refused.
    Streaming,
    /// Anything else: to be kept and counted.
    Other,
}

/// What a MsgType is.
pub fn kind(msg_type: i32) -> Kind {
    match msg_type {
        1200 => Kind::Tick,
        400 => Kind::Insert,
        401 => Kind::Delete,
        100 | 101 | 200 | 201 => Kind::Announcement,
        106 | 107 | 205 | 206 | 300 | 302 | 402 | 1801 | 1802 => Kind::Request,
        405..=407 | 900..=902 | 999 => Kind::Streaming,
        _ => Kind::Other,
    }
}

/// The name of a MsgType (milvus-proto, common.proto, v2.3.5-v2.6.3).
pub fn type_name(msg_type: i32) -> Cow<'static, str> {
    let name = match msg_type {
        100 => "CreateCollection",
        101 => "DropCollection",
        106 => "LoadCollection",
        107 => "ReleaseCollection",
        108 => "CreateAlias",
        109 => "DropAlias",
        110 => "AlterAlias",
        111 => "AlterCollection",
        112 => "RenameCollection",
        115 => "AlterCollectionField",
        200 => "CreatePartition",
        201 => "DropPartition",
        205 => "LoadPartitions",
        206 => "ReleasePartitions",
        300 => "CreateIndex",
        302 => "DropIndex",
        304 => "AlterIndex",
        400 => "Insert",
        401 => "Delete",
        402 => "Flush",
        404 => "Upsert",
        405 => "ManualFlush",
        406 => "FlushSegment",
        407 => "CreateSegment",
        408 => "Import",
        900 => "BeginTxn",
        901 => "CommitTxn",
        902 => "RollbackTxn",
        999 => "Txn",
        1200 => "TimeTick",
        1208 => "DataNodeTt",
        1212 => "Replicate",
        1500 => "CreateCredential",
        1502 => "DeleteCredential",
        1503 => "UpdateCredential",
        1600 => "CreateRole",
        1601 => "DropRole",
        1602 => "OperateUserRole",
        1606 => "OperatePrivilege",
        1614 => "OperatePrivilegeV2",
        1801 => "CreateDatabase",
        1802 => "DropDatabase",
        1804 => "AlterDatabase",
        1900 => "AddCollectionField",
        other => return Cow::Owned(format!("type {other}")),
    };
    Cow::Borrowed(name)
}
