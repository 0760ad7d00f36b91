mod broker;
mod moved;

use bytes::{BufMut, Bytes};
use proptest::prelude::*;
use prost::Message;
use pulsar::Payload;
use pulsar::proto::{
    CommandMessage, CompressionType, EncryptionKeys, KeyValue, MessageIdData, MessageMetadata,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::entry::Entry;
use super::order::{Order, Place};
use super::*;
use crate::error::Verdict;
use crate::pb::pulsar as pb;

fn id(ledger: u64, entry: i64) -> EntryId {
    EntryId { ledger, entry }
}

fn entry(id: EntryId, messages: &[&'static [u8]]) -> Entry {
    Entry { id, messages: messages.iter().map(|message| Bytes::from_static(message)).collect() }
}

/// A batch as producers write it.
fn batch(messages: &[&[u8]], property: &str) -> Vec<u8> {
    let mut data = vec![];
    for message in messages {
        let properties = match property {
            "" => vec![],
            key => vec![pb::KeyValue { key: key.into(), value: "1".into() }],
        };
        let head =
            pb::SingleMessageMetadata { properties, payload_size: message.len() as i32 }.encode_to_vec();
        data.put_u32(head.len() as u32);
        data.put_slice(&head);
        data.put_slice(message);
    }
    data
}

fn read(metadata: MessageMetadata, data: Vec<u8>) -> Result<Vec<Bytes>> {
    let message_id = MessageIdData { ledger_id: 17, entry_id: 4, ..Default::default() };
    let command = CommandMessage { message_id, ..Default::default() };
    let entry = Entry::read(&command, Payload { metadata, data })?;
    assert_eq!(entry.id, id(17, 4));
    Ok(entry.messages)
}

#[test]
fn a_service_url_has_one_host_or_several() {
    let hosts = |url| {
        Address::all(url, "pulsar://").map(|hosts| hosts.into_iter().map(|Address(host)| host).collect())
    };
    assert_eq!(hosts("pulsar://a:6650"), Some(vec!["a:6650".to_owned()]));
    assert_eq!(Address::all("pulsar+ssl://[::1]:6651", "pulsar+ssl://").unwrap()[0].host(), "::1");
    assert_eq!(hosts("pulsar://a:1,[::1]:2/"), Some(vec!["a:1".to_owned(), "[::1]:2".to_owned()]));
    for wrong in [
        "a:6650",
        "http://a:8080",
        "pulsar://a",
        "pulsar://a:x",
        "pulsar://",
        "pulsar://a:1,",
        "pulsar://u@a:1",
        "pulsar+ssl://a:6651",
    ] {
        assert_eq!(hosts(wrong), None, "{wrong}");
    }
}

#[test]
fn an_entry_is_one_message_or_a_batch_packed_or_not() {
    let single = read(MessageMetadata::default(), b"one".to_vec()).unwrap();
    assert_eq!(single, [&b"one"[..]]);
    let plain = batch(&[b"one", b"", b"three"], "");
    let packed = |compression: CompressionType| MessageMetadata {
        num_messages_in_batch: Some(3),
        compression: Some(compression.into()),
        uncompressed_size: Some(plain.len() as u32),
        ..Default::default()
    };
    for (compression, data) in [
        (CompressionType::None, plain.clone()),
        (CompressionType::Zstd, zstd::bulk::compress(&plain, 1).unwrap()),
        (CompressionType::Lz4, lz4_flex::block::compress(&plain)),
    ] {
        let messages = read(packed(compression), data).unwrap();
        assert_eq!(messages, [&b"one"[..], b"", b"three"], "{compression:?}");
    }
    let marker = MessageMetadata { marker_type: Some(20), ..Default::default() };
    assert!(read(marker, b"x".to_vec()).unwrap().is_empty());
}

#[test]
fn what_milvus_does_not_write_is_refused_by_name() {
    let property = KeyValue { key: STREAMING.into(), value: "2".into() };
    for (metadata, what) in [
        (MessageMetadata { properties: vec![property], ..Default::default() }, "streaming service"),
        (
            MessageMetadata { encryption_keys: vec![EncryptionKeys::default()], ..Default::default() },
            "an encrypted message",
        ),
        (MessageMetadata { num_chunks_from_msg: Some(2), ..Default::default() }, "a message in chunks"),
        (MessageMetadata { compression: Some(2), ..Default::default() }, "compression ZLIB"),
        (
            MessageMetadata { compression: Some(3), uncompressed_size: Some(u32::MAX), ..Default::default() },
            "bytes",
        ),
        (MessageMetadata { num_messages_in_batch: Some(2), ..Default::default() }, "ends too early"),
    ] {
        let error = read(metadata, b"\0\0\0\x09short".to_vec()).unwrap_err();
        assert!(error.verdict == Verdict::Refused && error.message.contains(what), "{error} for {what}");
        assert!(error.message.contains("17:4:0"), "{error}");
    }
    let batched = MessageMetadata { num_messages_in_batch: Some(1), ..Default::default() };
    let error = read(batched, batch(&[b"new"], STREAMING)).unwrap_err();
    assert!(error.message.contains("streaming service"), "{error}");
}

const STREAMING: &str = crate::message::STREAMING_PROPERTY;

#[test]
fn what_follows_is_known_within_a_ledger_and_asked_for_beyond() {
    let mut order = Order::start(Position::entry(17, 4, 1));
    assert_eq!([order.place(id(17, 3)), order.place(id(17, 5))], [Place::Repeated, Place::Gap]);
    assert_eq!(order.place(id(17, 4)), Place::Next);
    let taken = order.take(entry(id(17, 4), &[b"a", b"b", b"c"]));
    assert_eq!(
        taken[0],
        crate::source::QueueMessage { position: Position::entry(17, 4, 1), payload: "b".into() }
    );
    assert_eq!((taken.len(), order.next()), (2, Position::entry(17, 4, 3)));
    assert_eq!([order.place(id(17, 4)), order.place(id(17, 5))], [Place::Repeated, Place::Next]);
    assert_eq!([order.place(id(17, 6)), order.place(id(23, 0))], [Place::After(id(17, 4)); 2]);
    // just after a message that was the last of its entry
    let mut after = Order::start(Position::entry(17, 4, 3));
    assert!(after.take(entry(id(17, 4), &[b"a", b"b", b"c"])).is_empty());
    assert_eq!(after.place(id(17, 5)), Place::Next);
    let empty = Order::start(Position::entry(17, -1, 0));
    assert_eq!(
        [empty.place(id(17, 0)), empty.place(id(23, 0)), empty.place(id(17, 1))],
        [Place::Next, Place::After(id(17, -1)), Place::After(id(17, -1))]
    );
}

#[test]
fn who_acts_on_what_a_broker_refuses() {
    use pulsar::proto::ServerError as Code;
    let verdict = |code: Code, reason: &str| refused(&Address("p:6650".into()), code.into(), reason).verdict;
    for passes in [Code::ServiceNotReady, Code::TooManyRequests, Code::MetadataError, Code::ConsumerBusy] {
        assert_eq!(verdict(passes, "busy"), Verdict::Retry, "{passes:?}");
    }
    for person in
        [Code::AuthenticationError, Code::AuthorizationError, Code::TopicNotFound, Code::NotAllowedError]
    {
        assert_eq!(verdict(person, "no"), Verdict::Operator, "{person:?}");
    }
    let unknown = "Exception occurred while trying to authorize lookup";
    assert_eq!(verdict(Code::AuthorizationError, unknown), Verdict::Retry);
    let no_topic = |reason| super::failure::no_topic(Code::TopicNotFound.into(), reason);
    assert!(no_topic("Topic persistent://a/b/c does not exist") && !no_topic("Namespace not found"));
    assert_eq!(verdict(Code::MetadataError, "Policies not found for a/b namespace"), Verdict::Operator);
}

/// A server that answers a greeting with these bytes.
async fn impostor(scheme: &str, answer: &'static [u8]) -> PulsarQueue {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{scheme}{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(answer).await;
        }
    });
    PulsarQueue::connect(&PulsarOptions { url, ..PulsarOptions::default() }).unwrap()
}

#[tokio::test]
async fn whoever_does_not_greet_as_a_broker_is_named() {
    // one hangs up, as a Kafka does; one speaks HTTP, whose first letters are a length of a gigabyte
    for (answer, reason) in [(&b""[..], "closed"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "frame")] {
        let error = impostor("pulsar://", answer).await.identity().await.unwrap_err();
        assert!(error.message.contains("does not greet as a Pulsar broker"), "{error}");
        assert!(error.message.contains(reason) && error.message.contains("127.0.0.1:"), "{error}");
        assert!(error.advice.unwrap().contains("source.queue.pulsar.url"));
    }
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let error = impostor("pulsar+ssl://", answer).await.identity().await.unwrap_err();
        assert!(error.message.starts_with("Pulsar at 127.0.0.1:") && error.is_retry(), "{error}");
        assert!(error.message.contains("no TLS"), "{error}");
        assert!(error.advice.as_ref().is_some_and(|told| told.contains("write pulsar://")), "{error:?}");
    }
    let wrong = PulsarOptions { url: "127.0.0.1:9092".into(), ..PulsarOptions::default() };
    assert_eq!(PulsarQueue::connect(&wrong).unwrap_err().verdict, Verdict::Usage);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..200), kind in 0..5, count in prop::option::of(-1..9i32), size in 0..300u32) {
        let metadata = MessageMetadata {
            compression: Some(kind),
            uncompressed_size: Some(size),
            num_messages_in_batch: count,
            ..Default::default()
        };
        let _ = read(metadata, data);
    }

    /// A topic of several ledgers, delivered with repetitions and jumps: only what is contiguous is taken.
    #[test]
    fn whatever_is_delivered_no_message_is_left_out_or_told_twice(
        topic in prop::collection::vec((1u64..4, prop::collection::vec(1usize..4, 1..5)), 1..5),
        delivered in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let mut ledger = 0;
        let mut entries = vec![];
        for (step, sizes) in topic {
            ledger += step;
            entries.extend((0..).zip(sizes).map(|(number, size)| (id(ledger, number), size)));
        }
        let all = entries.iter().flat_map(|(id, size)| (0..*size).map(|batch| id.message(batch))).collect::<Vec<_>>();
        let mut order = Order::start(all[0]);
        let mut told = vec![];
        for index in delivered {
            let at = index.index(entries.len());
            let (found, size) = entries[at];
            let take = match order.place(found) {
                Place::Next => true,
                Place::After(last) => at > 0 && entries[at - 1].0 == last,
                Place::Repeated | Place::Gap => false,
            };
            if take {
                told.extend(order.take(entry(found, &vec![&b"m"[..]; size])).into_iter().map(|message| message.position));
            }
        }
        prop_assert_eq!(&told[..], &all[..told.len()]);
    }
}
