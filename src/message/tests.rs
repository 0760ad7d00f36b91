use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::error::Verdict;
use crate::pb::milvus::proto::common::Blob;
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::{DataType, FieldData, vector_field};
use crate::position::Channel;
use crate::source::memory::{CollectionSpec, MemorySource};

/// An Insert of 3 rows, a Delete of 2 keys, and their TSOs.
fn rows() -> (InsertRequest, DeleteRequest) {
    let mut source = MemorySource::new(1);
    let id = source.create_collection(CollectionSpec::new("docs"));
    source.insert(id, source.default_partition(id), &[1, 2, 3]);
    source.delete(id, None, &[1, 2]);
    let payloads = source.queue.messages(&Channel::from("by-dev-rootcoord-dml_0"));
    (insert(payloads[1].payload.clone()).unwrap(), delete(payloads[2].payload.clone()).unwrap())
}

fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn with_type(msg_type: i32) -> MsgHeader {
    MsgHeader { base: Some(MsgBase { msg_type, timestamp: 7, ..Default::default() }) }
}

fn refused<T: std::fmt::Debug>(result: Result<T>, says: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.verdict, Verdict::Refused);
    assert!(error.message.contains(says), "\"{error}\" does not say \"{says}\"");
}

type Change = fn(&mut InsertRequest);

/// Changes an Insert, and says what both readers of it make of that.
fn changed_insert(change: impl FnOnce(&mut InsertRequest)) -> (Result<Header>, Result<InsertRequest>) {
    let mut message = rows().0;
    change(&mut message);
    (header(&bytes(&message)), insert(bytes(&message)))
}

#[test]
fn order_goes_by_the_rows_and_not_by_the_base() {
    let (header, _) = changed_insert(|insert| insert.base.as_mut().unwrap().timestamp = 0);
    let header = header.unwrap();
    assert_eq!((header.kind, header.msg_type), (Kind::Insert, 400));
    assert_eq!(header.tso.0, rows().0.timestamps[0]);
    assert_eq!(header.rows.map(|rows| rows.rows), Some(3));
}

#[test]
fn a_message_that_does_not_say_where_it_belongs_is_refused() {
    let cases: [(Change, &str); 6] = [
        (|insert| insert.timestamps[1] += 1, "different timestamps"),
        (|insert| insert.timestamps.clear(), "no timestamps"),
        (|insert| insert.timestamps.fill(0), "timestamp 0"),
        (|insert| insert.collection_id = 0, "no collection"),
        (|insert| insert.shard_name.clear(), "no virtual channel"),
        (
            |insert| {
                insert.version = 0;
                insert.row_data = vec![Blob::default(); 3];
            },
            "row-based",
        ),
    ];
    for (change, says) in cases {
        let (header, insert) = changed_insert(change);
        refused(header, says);
        refused(insert, says);
    }
    for payload in [Bytes::new(), bytes(&MsgHeader { base: Some(MsgBase::default()) })] {
        refused(header(&payload), "without a type");
    }
    refused(
        header(&bytes(&MsgHeader { base: Some(MsgBase { msg_type: 1200, ..Default::default() }) })),
        "without a time",
    );
    refused(header(&Bytes::from_static(b"not protobuf at all")), "protobuf");
}

#[test]
fn columns_hold_as_many_values_as_there_are_rows() {
    let cases: [(Change, &str); 7] = [
        (|insert| insert.num_rows = 4, "4 rows with 3 timestamps"),
        (|insert| insert.row_i_ds.truncate(2), "2 row ids"),
        (|insert| insert.fields_data.clear(), "without columns"),
        (|insert| column(insert, "note").valid_data = vec![true; 2], "\"note\" tells 2 of 3"),
        (
            |insert| column(insert, "note").r#type = DataType::Int64.into(),
            "\"note\" has no values of its type Int64",
        ),
        (|insert| column(insert, "note").r#type = 105, "data type 105"),
        (
            |insert| match &mut column(insert, "vector").field {
                Some(Field::Vectors(vector)) => vector.dim = 3,
                _ => unreachable!(),
            },
            "\"vector\" has 4 values",
        ),
    ];
    for (change, says) in cases {
        refused(changed_insert(change).1, says);
    }
    for dim in [0, -1, 5, i64::MAX] {
        let (_, insert) = changed_insert(|insert| match &mut column(insert, "vector").field {
            Some(Field::Vectors(vector)) => vector.dim = dim,
            _ => unreachable!(),
        });
        refused(insert, "\"vector\" has no values");
    }
    let (_, binary) = changed_insert(|insert| {
        let column = column(insert, "vector");
        column.r#type = DataType::BinaryVector.into();
        let data = Some(vector_field::Data::BinaryVector(vec![0; 6].into()));
        column.field = Some(Field::Vectors(crate::pb::milvus::proto::schema::VectorField { dim: 16, data }));
    });
    assert!(binary.is_ok());
}

#[test]
fn null_rows_may_leave_their_values_out_or_not() {
    for values in [2, 3] {
        let (_, insert) = changed_insert(|insert| {
            let note = column(insert, "note");
            note.valid_data = vec![true, false, true];
            let Some(Field::Scalars(scalars)) = &mut note.field else { unreachable!() };
            let Some(crate::pb::milvus::proto::schema::scalar_field::Data::StringData(strings)) =
                &mut scalars.data
            else {
                unreachable!()
            };
            strings.data.truncate(values);
        });
        assert!(insert.is_ok(), "{values}: {insert:?}");
    }
}

#[test]
fn every_key_of_a_delete_has_its_timestamp() {
    let changed = |change: fn(&mut DeleteRequest)| {
        let mut message = rows().1;
        change(&mut message);
        delete(bytes(&message))
    };
    refused(changed(|delete| delete.num_rows = 3), "3 rows with 2 timestamps and 2 keys");
    refused(changed(|delete| delete.primary_keys = None), "0 keys");
    refused(changed(|delete| delete.timestamps.push(delete.timestamps[0])), "3 timestamps");
    let old = changed(|delete| {
        delete.primary_keys = None;
        delete.int64_primary_keys = vec![1, 2];
    });
    assert_eq!(old.unwrap().primary_keys, rows().1.primary_keys);
}

#[test]
fn the_streaming_service_is_refused() {
    for msg_type in [405, 406, 407, 900, 999] {
        refused(header(&bytes(&with_type(msg_type))), "streaming service");
    }
    let mut marked = with_type(400);
    marked.base.as_mut().unwrap().properties.insert(STREAMING_PROPERTY.into(), "1".into());
    refused(header(&bytes(&marked)), "streaming service");
}

#[test]
fn what_is_not_known_is_kept_and_named() {
    let unknown = header(&bytes(&with_type(1602))).unwrap();
    assert_eq!((unknown.kind, unknown.tso), (Kind::Other, Tso(7)));
    assert_eq!(type_name(unknown.msg_type), "OperateUserRole");
    assert_eq!(type_name(4711), "type 4711");
    assert_eq!(request(bytes(&with_type(4711))).unwrap().action, Action::Other);
    refused(insert(bytes(&with_type(401))), "Delete");
}

fn column<'a>(insert: &'a mut InsertRequest, name: &str) -> &'a mut FieldData {
    insert.fields_data.iter_mut().find(|column| column.field_name == name).unwrap()
}

/// Whatever comes in: an answer.
fn read_all(payload: Bytes) {
    let _ = header(&payload);
    let _ = insert(payload.clone());
    let _ = delete(payload.clone());
    let _ = request(payload);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..256)) {
        read_all(payload.into());
    }

    #[test]
    fn a_damaged_message_is_refused_or_read_but_never_panics(
        which in 0usize..2,
        hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        keep in any::<prop::sample::Index>(),
    ) {
        let (insert, delete) = rows();
        let mut payload = [insert.encode_to_vec(), delete.encode_to_vec()][which].clone();
        for (at, byte) in hits {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        read_all(payload.clone().into());
        payload.truncate(keep.index(payload.len()));
        read_all(payload.into());
    }

    #[test]
    fn a_length_that_is_not_there_is_not_believed(field in 1u32..16, length in 64u64..u64::MAX) {
        let mut payload = bytes(&with_type(400)).to_vec();
        prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut payload);
        prost::encoding::encode_varint(length, &mut payload);
        read_all(payload.into());
    }

    #[test]
    fn both_readers_agree_on_where_a_message_belongs(keys in proptest::collection::vec(any::<i32>(), 1..20)) {
        let mut source = MemorySource::new(2);
        let id = source.create_collection(CollectionSpec { shards: 2, ..CollectionSpec::new("docs") });
        let keys = keys.into_iter().map(i64::from).collect::<Vec<_>>();
        let tso = source.insert(id, source.default_partition(id), &keys);
        let mut rows = 0;
        for channel in source.ticking() {
            for message in source.queue.messages(&channel).into_iter().skip(1) {
                let header = header(&message.payload).unwrap();
                let body = insert(message.payload).unwrap();
                let route = header.rows.unwrap();
                prop_assert_eq!(header.tso, tso);
                prop_assert_eq!((route.collection_id, route.shard), (body.collection_id, body.shard_name));
                prop_assert_eq!(route.rows, body.num_rows);
                rows += route.rows;
            }
        }
        prop_assert_eq!(rows, keys.len() as u64);
    }
}
