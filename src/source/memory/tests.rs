use futures::FutureExt;

use super::*;
use crate::error::Verdict;
use crate::message::{self, Kind};
use crate::position::{Channel, Position};
use crate::source::{CatalogSource, Object, Queue};

fn filled(messages: usize) -> (MemoryQueue, Channel) {
    let queue = MemoryQueue::default();
    let channel = queue.create_channel("c");
    for i in 0..messages {
        queue.push(&channel, vec![i as u8].into());
    }
    (queue, channel)
}

#[tokio::test]
async fn a_subscription_gives_each_message_once_and_waits_at_the_end() {
    let (queue, channel) = filled(3);
    let mut reader = queue.subscribe(&channel, Position::offset(1)).await.unwrap();
    assert_eq!(reader.next().await.unwrap().position, Position::offset(1));
    queue.redeliver(&channel, Position::offset(0));
    assert_eq!(reader.next().await.unwrap().position, Position::offset(2));
    assert!(reader.next().now_or_never().is_none());
    let (next, pushed) = tokio::join!(reader.next(), async { queue.push(&channel, vec![3].into()) });
    assert_eq!((next.unwrap().position, pushed), (Position::offset(3), Position::offset(3)));
}

#[tokio::test]
async fn retention_and_a_new_channel_are_refused() {
    let (queue, channel) = filled(4);
    let mut reader = queue.subscribe(&channel, Position::offset(1)).await.unwrap();
    queue.trim(&channel, Position::offset(3));
    assert_eq!(queue.bounds(&channel).await.unwrap(), Position::offset(3)..Position::offset(4));
    let hole = reader.next().await.unwrap_err();
    assert!(hole.verdict == Verdict::Refused && hole.message.contains("[1, 3)"), "{hole}");
    queue.recreate(&channel);
    let beyond = queue.subscribe(&channel, Position::offset(3)).await.err().unwrap();
    assert!(beyond.verdict == Verdict::Refused && beyond.message.contains("re-created"), "{beyond}");
    let unknown = queue.bounds(&Channel::from("x")).await.unwrap_err();
    assert_eq!(unknown.verdict, Verdict::Operator);
}

#[tokio::test]
async fn an_outage_passes_and_leaves_everything_usable() {
    let (queue, channel) = filled(1);
    let mut reader = queue.subscribe(&channel, Position::offset(0)).await.unwrap();
    queue.fail_next(2);
    assert!(queue.bounds(&channel).await.unwrap_err().is_retry());
    assert!(reader.next().await.unwrap_err().is_retry());
    assert_eq!(reader.next().await.unwrap().position, Position::offset(0));
    let source = MemorySource::new(1);
    let mut catalog = source.catalog.reader();
    source.catalog.fail_next(1);
    assert!(catalog.read().await.unwrap_err().is_retry());
    assert_eq!(catalog.read().await.unwrap().events.len(), 1);
    assert!(catalog.read().await.unwrap().events.is_empty());
}

#[tokio::test]
async fn the_small_milvus_writes_what_the_decoder_reads() {
    let mut source = MemorySource::new(3);
    let spec = CollectionSpec { shards: 2, text_keys: true, ..CollectionSpec::new("docs") };
    let id = source.create_collection(spec);
    let partition = source.default_partition(id);
    let inserted = source.insert(id, partition, &[1, 2, 3]);
    let upserted = source.upsert(id, partition, &[2]);
    let deleted = source.delete(id, None, &[1, 3]);
    let ticked = source.tick();
    source.drop_collection(id);

    let mut rows = vec![];
    let mut others = vec![];
    for channel in (0..3).map(|i| Channel::from(format!("by-dev-rootcoord-dml_{i}").as_str())) {
        for message in source.queue.messages(&channel) {
            let header = message::header(&message.payload).unwrap();
            match header.kind {
                Kind::Insert => {
                    let insert = message::insert(message.payload).unwrap();
                    rows.push((header.tso, "insert", insert.num_rows));
                    assert_eq!(insert.base.unwrap().timestamp == 0, header.tso == upserted);
                }
                Kind::Delete => {
                    let delete = message::delete(message.payload).unwrap();
                    rows.push((header.tso, "delete", delete.num_rows as u64));
                }
                _ => others.push((header.tso, header.kind)),
            }
        }
    }
    rows.sort();
    let expected = [
        (inserted, "insert", 1),
        (inserted, "insert", 2),
        (upserted, "delete", 1),
        (upserted, "insert", 1),
        (deleted, "delete", 2),
    ];
    assert_eq!(rows, expected);
    assert_eq!(others.iter().filter(|(tso, kind)| (*tso, *kind) == (ticked, Kind::Tick)).count(), 2);
    assert_eq!(others.iter().filter(|(_, kind)| *kind == Kind::Announcement).count(), 4);

    let observation = source.catalog.reader().read().await.unwrap();
    assert!(observation.bound > source.now() && observation.live.collections.is_empty());
    assert!(
        matches!(observation.events.last().unwrap().object, Object::CollectionGone { id: gone } if gone == id)
    );
}

#[tokio::test]
async fn requests_on_the_replicate_channel_decode() {
    use crate::message::Action;
    let mut source = MemorySource::new(1);
    let database = source.create_database("db1");
    let id = source.create_collection(CollectionSpec { database, ..CollectionSpec::new("docs") });
    let index = source.create_index(id, "");
    source.load(id);
    source.flush(id);
    source.release(id);
    source.drop_index(id, index);
    source.send_other(1600);
    let messages = source.queue.messages(&source.replicate_channel()).into_iter();
    let requests = messages.map(|message| message::request(message.payload).unwrap()).collect::<Vec<_>>();
    let name = crate::change::CollectionName::new("db1", "docs");
    let types = requests.iter().map(|request| request.msg_type).collect::<Vec<_>>();
    assert_eq!(types, [1801, 300, 106, 402, 107, 302, 1600]);
    assert!(requests.is_sorted_by_key(|request| request.tso));
    assert_eq!(requests[0].action, Action::CreateDatabase { database: "db1".into() });
    assert_eq!(requests[3].action, Action::Flush { names: vec![name.clone()] });
    assert!(matches!(&requests[5].action, Action::DropIndex { field, .. } if field == "vector"));
    assert_eq!(requests[6].action, Action::Other);
}
