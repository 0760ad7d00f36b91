//! Files of segments, as Milvus 2.3.5 writes them: an event around each Parquet file of one column.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType as Physical, FixedLenByteArray, FixedLenByteArrayType, Int64Type,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::change::Keys;
use crate::pb::milvus::proto::msg::InsertRequest;
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::vector_field::Data as Vector;
use crate::pb::milvus::proto::schema::{DataType, FieldData};
use crate::rows::Key;
use crate::source::segments::{LogFile, Segment};
use crate::store::Store;
use crate::tick::Tso;

const ROWS: u8 = 1;
const DELETES: u8 = 2;

/// A Parquet file with one column of a physical type; `levels` says which rows have a value, where rows can be null.
pub fn parquet<T: Physical>(kind: &str, values: &[T::T], levels: Option<&[i16]>) -> Vec<u8> {
    let repetition = if levels.is_some() { "optional" } else { "required" };
    let schema = parse_message_type(&format!("message schema {{ {repetition} {kind} val; }}"));
    let schema = Arc::new(schema.expect("a schema"));
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Default::default()).expect("a writer");
    let mut group = writer.next_row_group().expect("a row group");
    let mut column = group.next_column().expect("no error").expect("a column");
    column.typed::<T>().write_batch(values, levels, None).expect("values of the type");
    column.close().expect("a whole column");
    group.close().expect("a whole row group");
    writer.close().expect("a whole file");
    file
}

/// A column of Int64.
pub fn longs(values: &[i64]) -> Vec<u8> {
    parquet::<Int64Type>("int64", values, None)
}

/// A column of texts or bytes.
pub fn texts(values: &[&[u8]]) -> Vec<u8> {
    let values = values.iter().map(|value| ByteArray::from(value.to_vec())).collect::<Vec<_>>();
    parquet::<ByteArrayType>("binary", &values, None)
}

/// A file with an event around each payload; `ids` are those of collection, partition, segment and field.
pub fn file(event_type: u8, ids: [i64; 4], data_type: DataType, payloads: &[Vec<u8>]) -> Bytes {
    let mut file = vec![0xbc, 0xfa, 0xff, 0x00];
    let mut descriptor = Vec::new();
    for id in ids {
        descriptor.put_i64_le(id);
    }
    descriptor.put_bytes(0, 16);
    descriptor.put_i32_le(data_type.into());
    descriptor.put_slice(&[0x34, 16, 16, 16, 16, 16, 16, 16]);
    descriptor.put_u32_le(2);
    descriptor.put_slice(b"{}");
    let mut event = |kind: u8, content: &[u8]| {
        file.put_u64_le(0);
        file.put_u8(kind);
        file.put_i32_le(17 + content.len() as i32);
        file.put_i32_le((file.len() + 4 + content.len()) as i32);
        file.put_slice(content);
    };
    event(0, &descriptor);
    for payload in payloads {
        event(event_type, &[vec![0; 16], payload.clone()].concat());
    }
    file.into()
}

/// Writes rows, one file a field, before those that are there: a segment need not have its rows in the order of time.
pub async fn write_rows(storage: &Store, segment: &mut Segment, insert: InsertRequest) {
    let tsos = insert.timestamps.iter().map(|tso| tso.cast_signed()).collect::<Vec<_>>();
    let own = [(0, DataType::Int64, longs(&insert.row_i_ds)), (1, DataType::Int64, longs(&tsos))];
    let columns = insert.fields_data.iter().map(|column| (column.field_id, column.r#type(), payload(column)));
    for (field, data_type, payload) in own.into_iter().chain(columns) {
        let Segment { id, collection_id, partition_id, .. } = *segment;
        let files = segment.binlogs.entry(field).or_default();
        let path = format!("insert_log/{collection_id}/{partition_id}/{id}/{field}/{}", files.len());
        let file = file(ROWS, [collection_id, partition_id, id, field], data_type, &[payload]);
        storage.put(&path, file).await.expect("a store");
        files.insert(0, LogFile { path, entries: Some(insert.num_rows) });
    }
    segment.rows += insert.num_rows;
}

/// Writes a delta log.
pub async fn write_deletes(storage: &Store, segment: &mut Segment, keys: &Keys, tso: Tso) {
    let Segment { id, collection_id, partition_id, .. } = *segment;
    let entries = keys.iter().map(|key| match key {
        Key::Int(key) => format!(r#"{{"pk":{key},"ts":{tso},"pkType":5}}"#),
        Key::Text(key) => format!(r#"{{"pk":"{key}","ts":{tso},"pkType":21}}"#),
    });
    let entries = entries.collect::<Vec<_>>();
    let payload = texts(&entries.iter().map(|entry| entry.as_bytes()).collect::<Vec<_>>());
    let path = format!("delta_log/{collection_id}/{partition_id}/{id}/{}", segment.deltas.len());
    let file = file(DELETES, [collection_id, partition_id, id, -1], DataType::String, &[payload]);
    storage.put(&path, file).await.expect("a store");
    segment.deltas.push(LogFile { path, entries: Some(keys.len() as u64) });
}

fn payload(column: &FieldData) -> Vec<u8> {
    match &column.field {
        Some(Field::Scalars(scalars)) => match &scalars.data {
            Some(Scalar::LongData(values)) => longs(&values.data),
            Some(Scalar::StringData(values)) => {
                texts(&values.data.iter().map(|value| value.as_bytes()).collect::<Vec<_>>())
            }
            _ => panic!("no column of the small Milvus"),
        },
        Some(Field::Vectors(vectors)) => {
            let Some(Vector::FloatVector(values)) = &vectors.data else { panic!("no floats") };
            let width = vectors.dim as usize * 4;
            let values = values.data.chunks(width).map(|value| FixedLenByteArray::from(value.to_vec()));
            let kind = format!("fixed_len_byte_array({width})");
            parquet::<FixedLenByteArrayType>(&kind, &values.collect::<Vec<_>>(), None)
        }
        None => panic!("an empty column"),
    }
}
