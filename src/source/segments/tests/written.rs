//! Kinds of files that Milvus 2.3.5 does not write, or not of a few rows.

use bytes::Bytes;
use parquet::data_type::{FixedLenByteArray, FixedLenByteArrayType, Int64Type};

use crate::change::{Keys, Rows};
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::vector_field::Data as Vector;
use crate::pb::milvus::proto::schema::{CollectionSchema, DataType, FieldData, FieldSchema};
use crate::source::memory::binlog::{self, longs, parquet, texts};
use crate::source::segments::column::column;
use crate::source::segments::event::{self, Kind};
use crate::source::segments::{Block, Level, LogFile, Segment, SegmentReader, SegmentState, delete, payload};
use crate::store::Store;
use crate::tick::Tso;

const SEGMENT: i64 = 7;

fn log(kind: Kind, field: i64, data_type: DataType, payloads: &[Vec<u8>]) -> Bytes {
    binlog::file(kind as u8, [1, 2, SEGMENT, field], data_type, payloads)
}

fn field(field_id: i64, data_type: DataType, dim: &str) -> FieldSchema {
    let type_params = vec![KeyValuePair { key: "dim".into(), value: dim.into() }];
    let name = format!("f{field_id}");
    FieldSchema { field_id, name, data_type: data_type.into(), type_params, ..FieldSchema::default() }
}

/// What the column of a field is, of one payload.
fn read(field: &FieldSchema, payload: Vec<u8>, rows: usize) -> Option<Field> {
    let log = log(Kind::Rows, field.field_id, field.data_type(), &[payload]);
    let file = event::parse("a", &log, Kind::Rows).unwrap();
    column(field, payload::read("a", &file.payloads, Some(rows)).unwrap())
        .unwrap()
        .and_then(|column| column.field)
}

/// A collection with one Int64 field, its key, and a segment with these files for it, its row ids and timestamps.
async fn segment(files: &[Bytes]) -> (Store, CollectionSchema, Segment) {
    let store = Store::memory();
    let mut binlogs = std::collections::BTreeMap::<_, Vec<_>>::new();
    for id in [0, 1, 100] {
        for (number, file) in files.iter().enumerate() {
            let path = format!("insert_log/1/2/{SEGMENT}/{id}/{number}");
            let mut file = file.to_vec();
            file[45..53].copy_from_slice(&i64::to_le_bytes(id));
            store.put(&path, file.into()).await.unwrap();
            binlogs.entry(id).or_default().push(LogFile { path, entries: Some(3) });
        }
    }
    let segment = Segment {
        id: SEGMENT,
        collection_id: 1,
        partition_id: 2,
        shard: "dml_0_1v0".into(),
        state: SegmentState::Flushed,
        level: Level::L1,
        rows: 3 * files.len() as u64,
        start: None,
        dml: None,
        compacted_from: vec![],
        compacted: false,
        dropped_ms: 0,
        importing: false,
        unfinished: false,
        binlogs,
        deltas: vec![],
    };
    let key = FieldSchema { is_primary_key: true, ..field(100, DataType::Int64, "") };
    (store, CollectionSchema { fields: vec![key], ..CollectionSchema::default() }, segment)
}

#[tokio::test]
async fn every_block_of_a_segment_is_read_and_every_payload_of_a_file() {
    let files = [
        log(Kind::Rows, 0, DataType::Int64, &[longs(&[1, 2, 3])]),
        log(Kind::Rows, 0, DataType::Int64, &[longs(&[4]), longs(&[5, 6])]),
    ];
    let (store, schema, segment) = segment(&files).await;
    let reader = SegmentReader::new(&store, &schema, &segment);
    assert_eq!(reader.blocks().unwrap(), 2);
    for (number, expected) in [vec![1, 2, 3], vec![4, 5, 6]].into_iter().enumerate() {
        let block = reader.block(number).await.unwrap();
        assert_eq!(block.rows.keys("f100").unwrap(), Keys::Int(expected.clone()));
        assert_eq!(block.tsos, expected.iter().map(|tso| Tso(*tso as u64)).collect::<Vec<_>>());
        assert_eq!(block.row_ids, expected);
    }
}

#[tokio::test]
async fn a_file_that_is_missing_or_stands_in_the_place_of_another_is_refused_by_name() {
    let files = [log(Kind::Rows, 0, DataType::Int64, &[longs(&[1, 2, 3])])];
    let (store, schema, segment) = segment(&files).await;
    let reader = SegmentReader::new(&store, &schema, &segment);
    let path = &segment.binlogs[&100][0].path;
    let other = store.get(&segment.binlogs[&0][0].path).await.unwrap().unwrap();
    store.put(path, other).await.unwrap();
    let error = reader.block(0).await.unwrap_err();
    assert!(error.message.contains(path) && error.message.contains("of field 0,"), "{error}");
    let mut other = store.get(path).await.unwrap().unwrap().to_vec();
    other[37] ^= 1;
    store.put(path, other.into()).await.unwrap();
    let error = reader.block(0).await.unwrap_err();
    assert!(error.message.contains(path) && error.message.contains("of segment 6"), "{error}");
    store.delete(path).await.unwrap();
    let error = reader.block(0).await.unwrap_err();
    assert!(error.message.contains(path) && error.message.contains("is not in"), "{error}");
    let mut short = segment.clone();
    short.binlogs.remove(&0);
    let error = SegmentReader::new(&store, &schema, &short).blocks().unwrap_err();
    assert!(error.message.contains("0 files of field 0"), "{error}");
}

/// Milvus 2.3 makes a delta log first and asks second into which segment a compaction has put the rows meanwhile: the file
/// is stored for that segment, and still names the one that it was made for.
#[tokio::test]
async fn deletes_that_a_compaction_overtook_are_of_the_segment_that_they_are_stored_for() {
    let (store, schema, segment) = segment(&[]).await;
    let delta = LogFile { path: format!("delta_log/1/2/{SEGMENT}/0"), entries: Some(1) };
    let deletes = async |ids: [i64; 4]| {
        let payload = texts(&[br#"{"pk":5,"ts":9,"pkType":5}"#]);
        let file = binlog::file(Kind::Deletes as u8, ids, DataType::String, &[payload]);
        store.put(&delta.path, file).await.unwrap();
        SegmentReader::new(&store, &schema, &segment).deleted(&delta).await
    };
    let deleted = deletes([1, 2, SEGMENT - 1, -1]).await.unwrap();
    assert_eq!((deleted.keys, deleted.tsos), (Keys::Int(vec![5]), vec![Tso(9)]));
    let error = deletes([3, 2, SEGMENT, -1]).await.unwrap_err();
    assert!(error.message.contains(&delta.path) && error.message.contains("of collection 3"), "{error}");
}

#[tokio::test]
async fn rows_out_of_order_become_inserts_in_order_and_each_keeps_its_own_values() {
    let (_, _, segment) = segment(&[]).await;
    let schema = field(100, DataType::Int64, "");
    let ids = parquet::<Int64Type>("int64", &[10, 11, 12, 13], None);
    let column =
        FieldData { field_name: "f100".into(), field: read(&schema, ids, 4), ..FieldData::default() };
    let block = Block {
        rows: Rows { columns: vec![column], count: 4 },
        row_ids: vec![1, 2, 3, 4],
        tsos: [9, 5, 9, 7].map(Tso).to_vec(),
    };
    let inserts = block.inserts(&segment, vec![0, 1, 2]).unwrap();
    let found = inserts.into_iter().map(|insert| {
        let rows = Rows { columns: insert.fields_data, count: insert.timestamps.len() };
        (insert.timestamps, insert.row_i_ds, rows.keys("f100").unwrap())
    });
    let expected =
        [(vec![5], vec![2], Keys::Int(vec![11])), (vec![9, 9], vec![1, 3], Keys::Int(vec![10, 12]))];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[test]
fn a_page_that_promises_more_values_than_rows_is_refused_before_room_is_made_for_them() {
    let log = log(Kind::Rows, 100, DataType::VarChar, &[texts(&[b"a", b"b", b"c"])]);
    let file = event::parse("a", &log, Kind::Rows).unwrap();
    let error = payload::read("a", &file.payloads, Some(2)).unwrap_err();
    assert!(error.message.contains("a page of 3 values for 2 rows"), "{error}");
}

#[test]
fn values_of_null_rows_are_told() {
    let log =
        log(Kind::Rows, 100, DataType::Int64, &[parquet::<Int64Type>("int64", &[5, 6], Some(&[1, 0, 1]))]);
    let file = event::parse("a", &log, Kind::Rows).unwrap();
    let read = payload::read("a", &file.payloads, Some(3)).unwrap();
    let column = column(&field(100, DataType::Int64, ""), read).unwrap().unwrap();
    assert_eq!(column.valid_data, [true, false, true]);
    let Some(Field::Scalars(scalars)) = column.field else { panic!("no scalars") };
    let Some(Scalar::LongData(values)) = scalars.data else { panic!("no Int64") };
    assert_eq!(values.data, [5, 0, 6], "a null row has an entry too, as in the queue");
}

#[test]
fn vectors_of_all_kinds_are_their_bytes() {
    let fixed = |length: usize| {
        let values = [1u8, 2].map(|byte| FixedLenByteArray::from(vec![byte; length]));
        let kind = format!("fixed_len_byte_array({length})");
        (parquet::<FixedLenByteArrayType>(&kind, &values, None), [vec![1; length], vec![2; length]].concat())
    };
    for (kind, length) in
        [(DataType::FloatVector, 16), (DataType::Float16Vector, 8), (DataType::BFloat16Vector, 8)]
    {
        let (payload, expected) = fixed(length);
        let Some(Field::Vectors(vectors)) = read(&field(100, kind, "4"), payload.clone(), 2) else {
            panic!("{kind:?}")
        };
        let bytes = match vectors.data.unwrap() {
            Vector::FloatVector(bytes) => bytes.data,
            Vector::BinaryVector(bytes) | Vector::Float16Vector(bytes) | Vector::Bfloat16Vector(bytes) => {
                bytes
            }
            Vector::SparseFloatVector(_) => panic!("{kind:?}"),
        };
        assert_eq!((vectors.dim, bytes), (4, expected.into()));
        assert_eq!(read(&field(100, kind, "5"), payload, 2), None, "of another dimension");
    }
    let element = |index: u32| [index.to_le_bytes(), 1f32.to_le_bytes()].concat();
    let vectors = [[element(3), element(70)].concat(), vec![], element(9)];
    let sparse = texts(&vectors.each_ref().map(Vec::as_slice));
    let Some(Field::Vectors(read)) = read(&field(100, DataType::SparseFloatVector, ""), sparse, 3) else {
        panic!("none")
    };
    let Some(Vector::SparseFloatVector(data)) = read.data else { panic!("not sparse") };
    assert_eq!((data.dim, data.contents), (71, vectors.map(Bytes::from).to_vec()));
}

#[test]
fn deletes_of_every_version_are_read_and_numbers_keep_all_their_digits() {
    let read = |texts_of: &[&[u8]], text_keys| {
        let log = log(Kind::Deletes, -1, DataType::String, &[texts(texts_of)]);
        delete::read("a", &event::parse("a", &log, Kind::Deletes)?, Some(texts_of.len()), text_keys)
    };
    let json: &[&[u8]] =
        &[br#"{"pk":9007199254740993,"ts":470656466589581314,"pkType":5}"#, b"-7,470656466589581315"];
    let deleted = read(json, false).unwrap();
    assert_eq!(deleted.keys, Keys::Int(vec![9_007_199_254_740_993, -7]));
    assert_eq!(deleted.tsos, [Tso(470_656_466_589_581_314), Tso(470_656_466_589_581_315)]);
    let text: &[&[u8]] = &[br#"{"pk":"a,1","ts":5,"pkType":21}"#, b"b,2,6"];
    assert_eq!(read(text, true).unwrap().keys, Keys::Text(vec!["a,1".into(), "b,2".into()]));
    for (wrong, text_keys) in
        [(&b"nothing"[..], false), (br#"{"pk":"a","ts":5}"#, false), (br#"{"pk":1,"ts":5}"#, true)]
    {
        let error = read(&[wrong], text_keys).unwrap_err();
        assert!(error.message.contains("entry 0"), "{error}");
    }
}
