//! A RocksMQ that the tests write as Milvus does, read from beside it.

mod access;
mod lost_end;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use prost::Message;
use rocksdb::{DB, FlushOptions, Options, WriteBatch};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::error::Verdict;
use crate::pb::milvus::proto::common::{MsgBase, MsgHeader};
use crate::source::QueueMessage;
use crate::tick::Tso;

/// What the counter of a RocksMQ starts at: a TSO.
const FIRST: i64 = 470_662_645_270_446_081;
const WITHIN: Duration = Duration::from_secs(20);

/// The Milvus.
struct Primary {
    db: DB,
    next: i64,
    folder: TempDir,
}

impl Primary {
    fn start() -> Primary {
        Primary::start_in(tempfile::tempdir().unwrap())
    }

    fn start_in(folder: TempDir) -> Primary {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let db = DB::open_cf(&options, folder.path().join("rdb_data"), ["default", "properties"]).unwrap();
        Primary { db, next: FIRST, folder }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("rdb_data")
    }

    async fn read(&self) -> RocksmqQueue {
        RocksmqQueue::open(&self.path()).await.unwrap()
    }

    /// Writes messages; ids come from one counter for all topics.
    fn produce<B: AsRef<[u8]>>(
        &mut self,
        topic: &str,
        payloads: impl IntoIterator<Item = B>,
    ) -> Range<Position> {
        let first = self.next;
        let mut batch = WriteBatch::default();
        for payload in payloads {
            batch.put(format!("{topic}/{}", self.next), payload);
            self.next += 1;
        }
        self.db.write(batch).unwrap();
        Position::offset(first)..Position::offset(self.next)
    }

    /// Retention: removes a topic's messages up to an id, as RocksMQ does.
    fn expire(&self, topic: &str, last: Position) {
        let family = self.db.cf_handle("default").unwrap();
        let end = format!("{topic}/{}", last.next());
        self.db.delete_range_cf(family, format!("{topic}/0"), end).unwrap();
    }

    fn stop(self) -> (i64, TempDir) {
        (self.next, self.folder)
    }

    fn flush(&self) {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_opt(&options).unwrap();
    }
}

/// A tick.
fn tick(millis: u64) -> Vec<u8> {
    let base = MsgBase { msg_type: 1200, timestamp: Tso::from_millis(millis).0, ..MsgBase::default() };
    MsgHeader { base: Some(base) }.encode_to_vec()
}

async fn take(subscription: &mut Box<dyn Subscription>, count: usize) -> Vec<QueueMessage> {
    let mut taken = Vec::new();
    while taken.len() < count {
        match timeout(WITHIN, subscription.next()).await.expect("a message") {
            Ok(message) => taken.push(message),
            Err(error) => assert!(error.is_retry(), "{error}"),
        }
    }
    taken
}

async fn failure(subscription: &mut Box<dyn Subscription>) -> Error {
    timeout(WITHIN, async {
        loop {
            if let Err(error) = subscription.next().await {
                return error;
            }
        }
    })
    .await
    .expect("an error")
}

fn positions(messages: &[QueueMessage]) -> Vec<i64> {
    messages.iter().map(|message| message.position.offset).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_in_order_whoever_else_counts_between_them() {
    let mut milvus = Primary::start();
    let (a, b) = (Channel::from("dml_1"), Channel::from("dml_11"));
    let mut expected = Vec::new();
    for n in 0..500u32 {
        milvus.produce("dml_11", [[9u8; 300]]);
        expected.push((milvus.produce("dml_1", [n.to_le_bytes()]).start, n.to_le_bytes()));
        if n % 100 == 50 {
            milvus.flush();
        }
    }
    let queue = milvus.read().await;
    let bounds = queue.bounds(&a).await.unwrap();
    assert_eq!(bounds, Position::offset(FIRST + 1)..Position::offset(FIRST + 1000));
    let mut read = queue.subscribe(&a, bounds.start).await.unwrap();
    let mut other = queue.subscribe(&b, queue.bounds(&b).await.unwrap().start).await.unwrap();
    for n in 500..600u32 {
        expected.push((milvus.produce("dml_1", [n.to_le_bytes()]).start, n.to_le_bytes()));
    }
    let got = take(&mut read, 600).await;
    let got = got.iter().map(|message| (message.position, &message.payload[..])).collect::<Vec<_>>();
    assert_eq!(got, expected.iter().map(|(position, payload)| (*position, &payload[..])).collect::<Vec<_>>());
    assert!(take(&mut other, 500).await.iter().all(|message| message.payload.len() == 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_from_any_position_and_across_restarts_of_milvus() {
    let mut milvus = Primary::start();
    let channel = Channel::from("dml_0");
    milvus.produce("dml_0", ["a", "b", "c"]);
    milvus.produce("dml_1", ["other"]);
    let queue = milvus.read().await;
    let mut read = queue.subscribe(&channel, Position::offset(FIRST)).await.unwrap();
    assert_eq!(take(&mut read, 3).await[2].payload, "c");

    // stopped, it can be read; started again, it is followed
    let (next, folder) = milvus.stop();
    let mut again = RocksmqQueue::open(&folder.path().join("rdb_data"))
        .await
        .unwrap()
        .subscribe(&channel, Position::offset(FIRST + 1))
        .await
        .unwrap();
    assert_eq!(positions(&take(&mut again, 2).await), [FIRST + 1, FIRST + 2]);
    let mut milvus = Primary { next, ..Primary::start_in(folder) };
    let d = milvus.produce("dml_0", ["d"]).start;
    milvus.flush();
    let e = milvus.produce("dml_0", ["e"]).start;
    assert_eq!(positions(&take(&mut read, 2).await), [d.offset, e.offset]);
    // from a position at which nothing stands, and from the end
    let mut between = queue.subscribe(&channel, Position::offset(FIRST + 3)).await.unwrap();
    assert_eq!(take(&mut between, 1).await[0].position, d);
    let mut end = queue.subscribe(&channel, e.next()).await.unwrap();
    milvus.produce("dml_1", ["other"]);
    let f = milvus.produce("dml_0", ["f"]).start;
    assert_eq!(take(&mut end, 1).await[0].position, f);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_start_is_refused_with_the_hole_named() {
    let mut milvus = Primary::start();
    let channel = Channel::from("dml_0");
    milvus.produce("dml_0", ["a", "b", "c", "d"]);
    let queue = milvus.read().await;
    milvus.expire("dml_0", Position::offset(FIRST + 1));
    let kept = queue.bounds(&channel).await.unwrap();
    assert_eq!(kept, Position::offset(FIRST + 2)..Position::offset(FIRST + 4));
    let Err(error) = queue.subscribe(&channel, Position::offset(FIRST + 1)).await else {
        panic!("subscribed")
    };
    assert_eq!(error.verdict, Verdict::Refused);
    assert!(
        error.message.contains(&format!("hole [{}, {}) on channel dml_0", FIRST + 1, FIRST + 2)),
        "{error}"
    );
    let Err(error) = queue.subscribe(&channel, Position::offset(FIRST + 5)).await else {
        panic!("subscribed")
    };
    assert_eq!(error.verdict, Verdict::Refused);
    assert!(error.message.contains("re-created"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_overtakes_a_reader_is_a_hole() {
    let mut milvus = Primary::start();
    let channel = Channel::from("dml_0");
    milvus.produce("dml_0", (0..200).map(|_| vec![1u8; 10_000]));
    milvus.produce("dml_1", ["other"]);
    let queue = milvus.read().await;
    let mut read = queue.subscribe(&channel, Position::offset(FIRST)).await.unwrap();
    assert_eq!(take(&mut read, 1).await[0].position, Position::offset(FIRST));
    milvus.expire("dml_0", Position::offset(FIRST + 198));
    queue.identity().await.unwrap(); // catches up
    let error = failure(&mut read).await;
    assert_eq!(error.verdict, Verdict::Refused);
    assert!(error.message.contains(&format!(", {}) on channel dml_0", FIRST + 199)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_behind_a_reader_is_none_of_its_business() {
    let mut milvus = Primary::start();
    let channel = Channel::from("dml_0");
    milvus.produce("dml_0", ["a", "b", "c"]);
    let queue = milvus.read().await;
    let mut read = queue.subscribe(&channel, Position::offset(FIRST)).await.unwrap();
    take(&mut read, 3).await;
    milvus.expire("dml_0", Position::offset(FIRST + 1));
    milvus.produce("dml_1", ["other"]);
    let d = milvus.produce("dml_0", ["d"]).start;
    assert_eq!(take(&mut read, 1).await[0].position, d);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_made_anew_in_its_place_is_refused() {
    let mut milvus = Primary::start();
    milvus.produce("dml_0", ["a"]);
    let queue = milvus.read().await;
    let identity = queue.identity().await.unwrap();
    assert!(identity.starts_with("rocksmq:") && identity.len() > 30, "{identity}");
    assert_eq!(milvus.read().await.identity().await.unwrap(), identity);
    let mut read = queue.subscribe(&"dml_0".into(), Position::offset(FIRST)).await.unwrap();
    take(&mut read, 1).await;
    let (_, folder) = milvus.stop();
    fs::remove_dir_all(folder.path().join("rdb_data")).unwrap();
    let mut milvus = Primary::start_in(folder);
    milvus.produce("dml_0", ["b"]);
    let error = timeout(WITHIN, async {
        loop {
            match read.next().await {
                Err(error) if error.is_retry() => {} // while it was away
                Err(error) => return error,
                Ok(message) => panic!("{message:?}"),
            }
        }
    });
    let error = error.await.expect("an error");
    assert_eq!(error.verdict, Verdict::Refused);
    assert!(error.message.contains("re-created"), "{error}");
    assert_ne!(milvus.read().await.identity().await.unwrap(), identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_10_mb_comes_whole_and_idle_topics_hold_up_no_other() {
    let mut milvus = Primary::start();
    let big = vec![7u8; 10 << 20];
    milvus.produce("dml_0", [&big[..], b"small"]);
    milvus.produce("idle", ["once"]);
    let queue = milvus.read().await;
    let mut idle = queue.subscribe(&"idle".into(), Position::offset(FIRST + 2)).await.unwrap();
    take(&mut idle, 1).await;
    let mut read = queue.subscribe(&"dml_0".into(), Position::offset(FIRST)).await.unwrap();
    assert_eq!(take(&mut read, 2).await[0].payload, big);
    milvus.produce("dml_0", [&big[..]]);
    assert_eq!(take(&mut read, 1).await[0].payload, big);
    assert!(timeout(Duration::from_millis(200), idle.next()).await.is_err());
    let woken = milvus.produce("idle", ["twice"]).start;
    assert_eq!(take(&mut idle, 1).await[0].position, woken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_sought_by_time_is_that_of_the_first_message_since() {
    let mut milvus = Primary::start();
    let channel = Channel::from("dml_0");
    let mut written = Vec::new();
    for n in 0..50 {
        let millis = 1_700_000_000_000 + n * 1000;
        written.push((millis, milvus.produce("dml_0", [tick(millis)]).start));
        milvus.produce("dml_0", ["no message of Milvus"]);
        milvus.produce("dml_1", [tick(1)]);
    }
    let queue = milvus.read().await;
    for (millis, position) in &written {
        let found = queue.position_at(&channel, *millis).await.unwrap();
        assert!(found <= *position, "{found} is after {position}");
        let before = written.iter().rfind(|(other, _)| other < millis);
        assert!(before.is_none_or(|(_, before)| found > *before), "{found}");
    }
    assert_eq!(queue.position_at(&channel, 0).await.unwrap(), Position::offset(FIRST));
    let end = queue.bounds(&channel).await.unwrap().end;
    assert!(queue.position_at(&channel, u64::MAX >> 20).await.unwrap() <= end);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_a_topic_does_not_create_it() {
    let mut milvus = Primary::start();
    milvus.produce("dml_1", ["a"]);
    let queue = milvus.read().await;
    let channel = Channel::from("dml_0");
    assert!(!queue.exists(&channel).await.unwrap());
    let error = queue.bounds(&channel).await.unwrap_err();
    assert!(error.verdict == Verdict::Operator && error.message.contains("dml_0"), "{error}");
    assert!(!queue.exists(&channel).await.unwrap());
    milvus.produce("dml_0", ["a"]);
    assert!(queue.exists(&channel).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_reads_no_more() {
    let mut milvus = Primary::start();
    milvus.produce("dml_0", ["a"]);
    let queue = milvus.read().await;
    let mut read = queue.subscribe(&"dml_0".into(), Position::offset(FIRST)).await.unwrap();
    take(&mut read, 1).await;
    let store = Arc::downgrade(&queue.store);
    drop(queue);
    milvus.produce("dml_0", ["b"]);
    take(&mut read, 1).await; // a subscription follows by itself
    drop(read);
    let gone = async {
        while store.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WITHIN, gone).await.expect("the store is closed");
}

/// Names, sizes and times of all that lies in Milvus' folder.
fn contents(primary: &Primary) -> BTreeMap<String, (u64, SystemTime)> {
    let mut contents = BTreeMap::new();
    for entry in fs::read_dir(primary.path()).unwrap() {
        let (entry, name) = entry.map(|entry| (entry.metadata().unwrap(), entry.file_name())).unwrap();
        contents.insert(name.into_string().unwrap(), (entry.len(), entry.modified().unwrap()));
    }
    let folder = fs::metadata(primary.path()).unwrap();
    contents.insert(".".into(), (folder.len(), folder.modified().unwrap()));
    contents
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_into_the_folder_of_milvus() {
    let mut milvus = Primary::start();
    milvus.produce("dml_0", ["a", "b"]);
    milvus.flush();
    milvus.produce("dml_0", ["c"]);
    let before = contents(&milvus);
    let queue = milvus.read().await;
    let mut read = queue.subscribe(&"dml_0".into(), Position::offset(FIRST)).await.unwrap();
    take(&mut read, 3).await;
    queue.position_at(&"dml_0".into(), 5).await.unwrap();
    drop((read, queue));
    assert_eq!(contents(&milvus), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_no_rocksmq_is_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.create_if_missing(true);
    let other = folder.path().join("other");
    drop(DB::open(&options, &other).unwrap());
    options.create_missing_column_families(true);
    let keys = folder.path().join("keys");
    let db = DB::open_cf(&options, &keys, ["default", "properties"]).unwrap();
    db.put("acked_ts/dml_0/470662645270446081", "1").unwrap();
    drop(db);
    for (path, says) in [
        (folder.path().join("nowhere"), "there is no such folder"),
        (folder.path().to_owned(), "there is no RocksDB in it"),
        (other, "is no RocksMQ"),
        (keys, "is no RocksMQ"),
    ] {
        let error = RocksmqQueue::open(&path).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.message.contains(says) && error.message.contains(path.to_str().unwrap()), "{error}");
        assert!(error.advice.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_a_message_can_be_opened() {
    let milvus = Primary::start();
    let queue = milvus.read().await;
    assert!(queue.identity().await.unwrap().contains("rocksmq:"));
    assert!(!queue.exists(&"dml_0".into()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stepped_over_while_the_primary_flushes() {
    const MESSAGES: usize = 2_000;
    let mut milvus = Primary::start();
    let first = milvus.produce("dml_0", [tick(1)]).start;
    let queue = milvus.read().await;
    let mut subscription = queue.subscribe(&Channel::from("dml_0"), first).await.unwrap();
    let writing = std::thread::spawn(move || {
        for number in 1..MESSAGES {
            milvus.produce("dml_0", [tick(number as u64)]);
            // its log of writes goes with the flush
            if number % 3 == 0 {
                milvus.flush();
            }
        }
        milvus
    });
    let taken = take(&mut subscription, MESSAGES).await;
    let offsets = taken.iter().map(|message| message.position.offset);
    assert!(offsets.eq(first.offset..first.offset + MESSAGES as i64), "messages are missing");
    writing.join().unwrap();
}
