//! How fast messages are looked at, written into a segment, encrypted, and read back: inserts of 1,000 rows of 128
//! dimensions.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use tapedeck::log::layout;
use tapedeck::log::segment::{SegmentWriter, read};
use tapedeck::log::store::encryption::{Encryption, Identity, Keys};
use tapedeck::pb::log::{ObjectRef, SegmentHeader};
use tapedeck::pb::milvus::proto::common::MsgBase;
use tapedeck::pb::milvus::proto::msg::{InsertRequest, RowHeader};
use tapedeck::pb::milvus::proto::schema::{FieldData, FloatArray, VectorField, field_data, vector_field};
use tapedeck::position::Position;
use tapedeck::tick::Tso;

const ROWS: usize = 1000;
const MESSAGES: i64 = 16;

fn insert() -> Bytes {
    let floats = (0..ROWS * 128 * 4).map(|at| (at % 251) as u8).collect::<Vec<_>>();
    let vectors = VectorField {
        dim: 128,
        data: Some(vector_field::Data::FloatVector(FloatArray { data: floats.into() })),
    };
    let request = InsertRequest {
        base: Some(MsgBase { msg_type: 400, ..Default::default() }),
        collection_id: 7,
        timestamps: vec![470656465160896520; ROWS],
        row_i_ds: (0..ROWS as i64).collect(),
        fields_data: vec![FieldData {
            field: Some(field_data::Field::Vectors(vectors)),
            ..Default::default()
        }],
        num_rows: ROWS as u64,
        version: 1,
        ..Default::default()
    };
    request.encode_to_vec().into()
}

fn write(payload: &Bytes) -> (Bytes, ObjectRef) {
    let header = SegmentHeader { log_id: "bench".into(), epoch: 1, seq: 1, channels: vec!["a".into()] };
    let mut writer = SegmentWriter::new(header);
    for offset in 0..MESSAGES {
        writer.message(0, Position::offset(offset), Tso(offset as u64), 400, payload, ROWS as u64);
    }
    writer.finish()
}

fn segments(criterion: &mut Criterion) {
    let payload = insert();
    let (bytes, reference) = write(&payload);

    let mut one = criterion.benchmark_group("message");
    one.throughput(Throughput::Bytes(payload.len() as u64));
    one.bench_function("decode", |bench| bench.iter(|| RowHeader::decode(black_box(payload.clone()))));
    one.finish();

    let mut whole = criterion.benchmark_group("segment");
    whole.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
    whole.bench_function("write", |bench| bench.iter(|| write(black_box(&payload))));
    whole.bench_function("read", |bench| bench.iter(|| read("k", &reference, black_box(bytes.clone()))));

    let key = Identity::generate();
    let keys = Keys { identities: vec![key], ..Keys::default() };
    let encryption = Encryption::new(keys, layout::ROWS).expect("keys that fit");
    let stored = encryption.encrypt("k", &bytes).expect("a file");
    whole.bench_function("write encrypted", |bench| {
        bench.iter(|| encryption.encrypt("k", &write(black_box(&payload)).0));
    });
    whole.bench_function("read encrypted", |bench| {
        bench.iter(|| encryption.decrypt("k", black_box(&stored)).map(|bytes| read("k", &reference, bytes)));
    });
    whole.finish();
}

criterion_group!(benches, segments);
criterion_main!(benches);
