//! What may pass by itself is waited for, and costs no more memory than usual.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use prost::Message;
use tapedeck::error::{Result, Verdict};
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::pb::log::ObjectRef;
use tapedeck::pb::milvus::proto::common::{MsgBase, MsgHeader};
use tapedeck::position::{Channel, Position, Seq};
use tapedeck::progress::RecordProgress;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::source::memory::{CollectionSpec, MemoryQueue};
use tapedeck::source::{Queue, QueueMessage, Subscription};
use tapedeck::target::memory::MemoryTarget;

use super::faulty_store::{Fault, FaultyStore};
use super::oracle::assert_same;
use super::stage::{
    assert_clean, finish, open, process, record, record_all, recorder, replay, replayed, replayer, seed,
    settle,
};
use super::world::{Duplicates, World};

const MIB: usize = 1 << 20;

/// A queue that counts the bytes it has delivered.
struct Counted {
    queue: MemoryQueue,
    delivered: Arc<AtomicUsize>,
}

#[async_trait]
impl Queue for Counted {
    async fn identity(&self) -> Result<String> {
        self.queue.identity().await
    }
    async fn exists(&self, channel: &Channel) -> Result<bool> {
        self.queue.exists(channel).await
    }
    async fn bounds(&self, channel: &Channel) -> Result<Range<Position>> {
        self.queue.bounds(channel).await
    }
    async fn position_at(&self, channel: &Channel, millis: u64) -> Result<Position> {
        self.queue.position_at(channel, millis).await
    }
    async fn subscribe(&self, channel: &Channel, from: Position) -> Result<Box<dyn Subscription>> {
        let inner = self.queue.subscribe(channel, from).await?;
        Ok(Box::new(CountedSubscription { inner, delivered: self.delivered.clone() }))
    }
}

struct CountedSubscription {
    inner: Box<dyn Subscription>,
    delivered: Arc<AtomicUsize>,
}

#[async_trait]
impl Subscription for CountedSubscription {
    async fn next(&mut self) -> Result<QueueMessage> {
        let message = self.inner.next().await?;
        self.delivered.fetch_add(message.payload.len(), Ordering::SeqCst);
        Ok(message)
    }
}

/// A message of one MiB, of a type that is kept as it is.
fn large(world: &World) -> Bytes {
    let base = MsgBase { msg_type: 1212, timestamp: world.source.now().0, ..Default::default() };
    let mut message = MsgHeader { base: Some(base) }.encode_to_vec();
    // A field that nobody knows.
    prost::encoding::bytes::encode(100, &vec![7u8; MIB], &mut message);
    message.into()
}

/// Writes a backlog; each message is followed by a tick.
fn write_backlog(world: &mut World, messages: usize) {
    for _ in 0..messages {
        let channel = world.source.ticking().into_iter().next().expect("a channel");
        let message = large(world);
        world.source.queue.push(&channel, message);
        world.source.tick();
    }
}

#[test]
fn while_the_store_is_down_nothing_more_is_taken_in_and_then_everything_is_recorded() {
    process(async {
        let mut world = World::new(1, 0, Duplicates::Kept);
        world.create(CollectionSpec::new("docs"));
        let store = FaultyStore::new(Arc::new(InMemory::new()), Fault::None);
        let down = store.down();
        let store = Store::new(Arc::new(store), Path::ROOT, "memory://".into());
        let delivered = Arc::<AtomicUsize>::default();
        let queue = Counted { queue: world.source.queue.clone(), delivered: delivered.clone() };
        let recorder = recorder(&world.source, &store, Start::Earliest);
        let mut recording = record(tapedeck::recorder::Recorder { queue: Arc::new(queue), ..recorder });
        recording.reach(settle(&mut world)).await;

        down.store(true, Ordering::SeqCst);
        write_backlog(&mut world, 160);
        tokio::time::sleep(Duration::from_secs(600)).await;
        let taken = delivered.load(Ordering::SeqCst) / MIB;
        assert!((8..72).contains(&taken), "{taken} MiB were taken in");
        let retrying =
            recording.progress.borrow().tries.oldest().cloned().expect("something that is tried again");
        assert!(retrying.count > 10, "{retrying:?}");

        down.store(false, Ordering::SeqCst);
        finish(&mut world, recording).await;
        assert_clean(&store).await;
    });
}

#[test]
fn while_the_catalog_is_away_memory_stays_bounded() {
    process(async {
        let mut world = World::new(1, 0, Duplicates::Kept);
        world.create(CollectionSpec::new("docs"));
        let (store, delivered) = (Store::memory(), Arc::<AtomicUsize>::default());
        let queue = Counted { queue: world.source.queue.clone(), delivered: delivered.clone() };
        let recorder = recorder(&world.source, &store, Start::Earliest);
        let mut recording = record(tapedeck::recorder::Recorder { queue: Arc::new(queue), ..recorder });
        recording.reach(settle(&mut world)).await;

        world.source.catalog.fail_next(usize::MAX);
        write_backlog(&mut world, 64);
        tokio::time::sleep(Duration::from_secs(600)).await;
        let taken = delivered.load(Ordering::SeqCst) / MIB;
        assert!((8..16).contains(&taken), "{taken} MiB were taken in");

        world.source.catalog.fail_next(0);
        finish(&mut world, recording).await;
    });
}

#[test]
fn a_source_that_fails_for_a_while_is_recorded_as_if_it_had_not() {
    let first = seed();
    for seed in (0..8).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
            let recording = open(&world, &store, Start::Earliest).await;
            for _ in 0..8 {
                world.work(12);
                let (catalog, queue) = (world.roll(6), world.roll(6));
                world.source.catalog.fail_next(catalog);
                world.source.queue.fail_next(queue);
                tokio::time::sleep(Duration::from_millis(world.roll(900) as u64)).await;
            }
            finish(&mut world, recording).await;
            let contents = replayed(&store, Until::Latest).await;
            assert_same(&contents, &world.oracle.contents(), &format!("seed {seed}"));
        });
    }
}

#[test]
fn what_happened_while_nobody_recorded_and_etcd_forgot_is_found_by_comparison() {
    let first = seed();
    for seed in (0..120).map(|number| first.wrapping_add(number)) {
        println!("world {seed}");
        process(async {
            let (store, mut world) = (Store::memory(), World::new(3, seed, Duplicates::Kept));
            world.work(40);
            record_all(&mut world, &store).await;
            let remembered = world.roll(2) * world.roll(60);
            world.work(60 - remembered);
            world.source.catalog.forget_before(world.source.now().next());
            world.work(remembered);
            record_all(&mut world, &store).await;
            let contents = replayed(&store, Until::Latest).await;
            assert_same(&contents, &world.oracle.contents(), &format!("seed {seed}"));
            assert_clean(&store).await;
        });
    }
}

#[test]
fn a_damaged_log_is_replayed_up_to_the_damage_and_no_further() {
    let seed = seed();
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Avoided));
        let mut recording = open(&world, &store, Start::Earliest).await;
        let opens_at = recording.progress.borrow().opens_at;
        for _ in 0..5 {
            world.work(15);
            recording.reach(settle(&mut world)).await;
        }
        recording.stop().await.unwrap();
        let mut objects = store.list("commits", None).await.unwrap();
        objects.extend(store.list("segments", None).await.unwrap());
        for (number, (key, length)) in objects.into_iter().enumerate() {
            let whole = store.get(&key).await.unwrap().expect("an object");
            let mut damaged = whole.to_vec();
            match number % 3 {
                0 => damaged[world.roll(length as usize)] ^= 1,
                1 => damaged.truncate(world.roll(length as usize)),
                _ => damaged.clear(),
            }
            store.put(&key, damaged.into()).await.unwrap();
            let target = Arc::new(MemoryTarget::new());
            let replaying = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
            let progress = replaying.progress.clone();
            let error = replaying.error().await;
            assert_eq!(error.verdict, Verdict::Refused, "{key}: {error}");
            assert!(error.message.contains(&key), "{key}: {error}");

            store.put(&key, whole).await.unwrap();
            let applied = progress.borrow().applied_to;
            if applied >= opens_at {
                let expected = replayed(&store, Until::Tso(applied)).await;
                assert_same(&target.contents(), &expected, &format!("seed {seed}, damage in {key}"));
            }
            replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.unwrap();
            assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}, {key} is back"));
            super::stage::forget(&store, "r").await;
        }
    });
}

#[test]
fn a_source_that_gives_no_ticks_is_named_until_it_does() {
    process(async {
        let mut world = World::new(1, 0, Duplicates::Kept);
        world.create(CollectionSpec::new("docs"));
        let store = Store::memory();
        let mut recording = record(recorder(&world.source, &store, Start::Earliest));
        recording.reach(settle(&mut world)).await;
        let named = |progress: &RecordProgress| progress.tries.oldest().map(|it| it.message.clone());
        recording.until("the silence named", |progress| named(progress).is_some()).await;
        let message = named(&recording.progress.borrow()).unwrap_or_default();
        assert!(message.contains("no message has come for 10 s"), "{message}");
        settle(&mut world);
        recording.until("the silence over", |progress| named(progress).is_none()).await;
        recording.stop().await.unwrap();
    });
}

/// The segments of each commit.
async fn segments(store: &Store) -> Vec<Vec<ObjectRef>> {
    let reader = LogReader::open(store.clone()).await.unwrap();
    let mut segments = Vec::new();
    for seq in 1..=reader.tail().await.unwrap().unwrap_or_default().0 {
        segments.push(reader.commit(Seq(seq)).await.unwrap().expect("a commit").commit.segments);
    }
    segments
}

#[test]
fn a_channel_that_gets_messages_and_no_tick_is_named_and_its_cut_is_stored_in_bounded_segments() {
    process(async {
        let mut world = World::new(1, 0, Duplicates::Kept);
        world.create(CollectionSpec::new("docs"));
        let store = Store::memory();
        let mut recording = open(&world, &store, Start::Earliest).await;
        recording.reach(settle(&mut world)).await;
        let channel = world.source.ticking().pop_first().expect("a channel");
        for _ in 0..80 {
            world.source.queue.push(&channel, large(&world));
            world.source.advance(1);
        }
        let named = |progress: &RecordProgress| {
            let mut tries = progress.tries.now.values();
            tries.any(|it| it.message.contains(&format!("channel {channel} has had no tick since")))
        };
        recording.until("the channel named", named).await;
        recording.reach(settle(&mut world)).await;
        recording.until("the trouble over", |progress| !named(progress)).await;
        finish(&mut world, recording).await;
        let segments = segments(&store).await;
        assert!(segments.iter().any(|of| of.len() >= 3), "{segments:?}");
        let all = segments.concat();
        assert_eq!(all.iter().map(|segment| segment.messages).sum::<u64>(), 80);
        assert!(all.iter().all(|segment| segment.length <= 33 << 20), "{all:?}");
        assert_clean(&store).await;
    });
}

#[test]
fn a_log_opens_after_the_definitions_that_it_begins_with_however_often_its_opening_was_tried() {
    for call in 1..16 {
        process(async {
            let mut world = World::new(1, 0, Duplicates::Kept);
            world.create(CollectionSpec::new("docs"));
            let defined = world.source.now();
            let store = FaultyStore::new(Arc::new(InMemory::new()), Fault::FailOnce(call));
            let store = Store::new(Arc::new(store), Path::ROOT, "memory://".into());
            let mut recording = open(&world, &store, Start::Earliest).await;
            let opens_at = recording.progress.borrow().opens_at;
            assert!(opens_at >= defined, "{opens_at} before {defined}, call {call} failed");
            recording.reach(settle(&mut world)).await;
            recording.stop().await.expect("a clean stop");
        });
    }
}
