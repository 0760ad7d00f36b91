//! The messages of the small Milvus, as Milvus 2.3.5 writes them.

use bytes::Bytes;
use prost::Message;

use super::CollectionSpec;
use crate::catalog::PartitionId;
use crate::pb::log::{Collection, Shard};
use crate::pb::milvus::proto::common::{KeyValuePair, MsgBase, MsgHeader};
use crate::pb::milvus::proto::msg::{DeleteRequest, InsertRequest};
use crate::pb::milvus::proto::schema::{
    CollectionSchema, DataType, FieldData, FieldSchema, FloatArray, IDs, LongArray, ScalarField, StringArray,
    VectorField, field_data::Field, i_ds::IdField, scalar_field, vector_field,
};
use crate::tick::Tso;

const KEY: i64 = 100;
/// Field id of `vector`.
pub const VECTOR: i64 = 101;
/// Field id of `note`.
pub const NOTE: i64 = 102;

/// The schema of every collection.
pub fn schema(spec: &CollectionSpec) -> CollectionSchema {
    let param = |key: &str, value: &str| vec![KeyValuePair { key: key.into(), value: value.into() }];
    let field = |id, name: &str, data_type: DataType, type_params| FieldSchema {
        field_id: id,
        name: name.into(),
        is_primary_key: id == KEY,
        data_type: data_type.into(),
        type_params,
        ..Default::default()
    };
    let key = match spec.text_keys {
        true => field(KEY, "id", DataType::VarChar, param("max_length", "64")),
        false => field(KEY, "id", DataType::Int64, vec![]),
    };
    CollectionSchema {
        name: spec.name.clone(),
        fields: vec![
            key,
            field(VECTOR, "vector", DataType::FloatVector, param("dim", &spec.dim.to_string())),
            field(NOTE, "note", DataType::VarChar, param("max_length", "64")),
        ],
        ..Default::default()
    }
}

/// A time tick.
pub fn tick(tso: Tso) -> Bytes {
    announcement(1200, tso)
}

/// The creation (100) or drop (101) of a collection, or the drop of a partition (201), as the channel repeats it. What
/// it names is left out: etcd is the truth for it.
pub fn announcement(msg_type: i32, tso: Tso) -> Bytes {
    encode(MsgHeader { base: base(msg_type, tso) })
}

/// New rows on one shard. `base` is [`Tso::ZERO`] in the insert half of an upsert.
pub fn insert(
    base_tso: Tso,
    tso: Tso,
    collection: &Collection,
    partition_id: PartitionId,
    shard: &Shard,
    keys: &[i64],
) -> Bytes {
    let rows = keys.len();
    let notes = vec![tso.to_string(); rows];
    let dim = dim(collection);
    let vectors = keys.iter().flat_map(|key| vec![*key as f32; dim]).flat_map(f32::to_le_bytes);
    let vector = VectorField {
        dim: dim as i64,
        data: Some(vector_field::Data::FloatVector(FloatArray { data: vectors.collect() })),
    };
    let column = |id, name: &str, data_type: DataType, field| FieldData {
        r#type: data_type.into(),
        field_name: name.into(),
        field_id: id,
        field: Some(field),
        ..Default::default()
    };
    let key = match ids(collection, keys) {
        IdField::IntId(keys) => {
            column(KEY, "id", DataType::Int64, scalars(scalar_field::Data::LongData(keys)))
        }
        IdField::StrId(keys) => {
            column(KEY, "id", DataType::VarChar, scalars(scalar_field::Data::StringData(keys)))
        }
    };
    let notes = scalars(scalar_field::Data::StringData(StringArray { data: notes }));
    encode(InsertRequest {
        base: base_of_rows(400, base_tso, tso, shard),
        shard_name: shard.virtual_channel.clone(),
        collection_name: collection.name.clone(),
        partition_name: partition_name(collection, partition_id),
        collection_id: collection.id,
        partition_id,
        segment_id: 1,
        timestamps: vec![tso.0; rows],
        row_i_ds: (0..rows as i64).collect(),
        fields_data: vec![
            column(VECTOR, "vector", DataType::FloatVector, Field::Vectors(vector)),
            column(NOTE, "note", DataType::VarChar, notes),
            key,
        ],
        num_rows: rows as u64,
        version: 1,
        ..Default::default()
    })
}

/// Deleted keys on one shard.
pub fn delete(
    tso: Tso,
    collection: &Collection,
    partition_id: PartitionId,
    shard: &Shard,
    keys: &[i64],
) -> Bytes {
    encode(DeleteRequest {
        base: base_of_rows(401, tso, tso, shard),
        shard_name: shard.virtual_channel.clone(),
        collection_name: collection.name.clone(),
        partition_name: partition_name(collection, partition_id),
        collection_id: collection.id,
        partition_id,
        timestamps: vec![tso.0; keys.len()],
        num_rows: keys.len() as i64,
        primary_keys: Some(IDs { id_field: Some(ids(collection, keys)) }),
        ..Default::default()
    })
}

fn ids(collection: &Collection, keys: &[i64]) -> IdField {
    let text = |field: &FieldSchema| field.is_primary_key && field.data_type == DataType::VarChar as i32;
    match collection.schema.iter().flat_map(|schema| &schema.fields).any(text) {
        true => IdField::StrId(StringArray { data: keys.iter().map(|key| format!("key {key}")).collect() }),
        false => IdField::IntId(LongArray { data: keys.to_vec() }),
    }
}

fn dim(collection: &Collection) -> usize {
    let fields = collection.schema.iter().flat_map(|schema| &schema.fields);
    let mut params = fields.flat_map(|field| &field.type_params);
    let dim = params.find(|param| param.key == "dim").map(|param| param.value.parse());
    dim.expect("a vector").expect("a number")
}

fn scalars(data: scalar_field::Data) -> Field {
    Field::Scalars(ScalarField { data: Some(data) })
}

fn partition_name(collection: &Collection, id: PartitionId) -> String {
    let partition = collection.partitions.iter().find(|partition| partition.id == id);
    partition.map(|partition| partition.name.clone()).unwrap_or_default()
}

fn base(msg_type: i32, tso: Tso) -> Option<MsgBase> {
    Some(MsgBase { msg_type, timestamp: tso.0, ..Default::default() })
}

/// The base of rows, with a number that no other message has: a request sends one of a type to a shard.
fn base_of_rows(msg_type: i32, base_tso: Tso, tso: Tso, shard: &Shard) -> Option<MsgBase> {
    let request = format!("{msg_type} {} {}", tso.0, shard.virtual_channel);
    let digest = blake3::hash(request.as_bytes());
    let msg_id = digest.as_bytes().first_chunk().map_or(0, |first| i64::from_le_bytes(*first));
    Some(MsgBase { msg_type, msg_id, timestamp: base_tso.0, ..Default::default() })
}

fn encode(message: impl Message) -> Bytes {
    message.encode_to_vec().into()
}
