//! The source's order is kept, and a source that breaks it is not believed.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tapedeck::error::Verdict;
use tapedeck::log::store::Store;
use tapedeck::message::{self, Kind};
use tapedeck::pb::milvus::proto::common::{MsgBase, MsgHeader};
use tapedeck::position::{Channel, Position};
use tapedeck::progress::RecordProgress;
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::source::QueueMessage;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::tick::Tso;

use super::oracle::assert_same;
use super::stage::{
    Running, assert_clean, finish, open, process, record, record_all, recorder, replayed, seed, settle,
};
use super::world::{Duplicates, World};

fn tick(tso: Tso) -> Bytes {
    let base = MsgBase { msg_type: 1200, timestamp: tso.0, ..Default::default() };
    MsgHeader { base: Some(base) }.encode_to_vec().into()
}

/// A world with one collection on one channel, some of it recorded.
async fn small(store: &Store) -> (World, Channel) {
    let mut world = World::new(1, 0, Duplicates::Kept);
    world.create(CollectionSpec::new("docs"));
    let partition = world.tables[0].default_partition();
    world.insert(0, partition, &[1, 2]);
    record_all(&mut world, store).await;
    let channel = world.source.ticking().pop_first().expect("a channel");
    (world, channel)
}

fn insert(world: &mut World, keys: &[i64]) {
    let partition = world.tables[0].default_partition();
    world.insert(0, partition, keys);
}

#[test]
fn rows_of_a_name_that_was_dropped_and_created_again_do_not_mix_while_a_channel_lags() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, 0, Duplicates::Kept));
        let mut recording = open(&world, &store, Start::Earliest).await;
        world.create(CollectionSpec::new("docs"));
        world.create(CollectionSpec::new("other"));
        let channels = world.source.ticking().into_iter().collect::<Vec<_>>();
        recording.reach(settle(&mut world)).await;

        insert(&mut world, &[1, 2, 3]);
        world.drop_collection(0);
        world.create(CollectionSpec::new("docs"));
        let partition = world.tables[1].default_partition();
        world.insert(1, partition, &[3, 4]);
        let reached = recording.progress.borrow().recorded_to;
        for channel in &channels[1..] {
            world.source.tick_on(channel);
        }
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(recording.progress.borrow().recorded_to, reached, "one channel has not ticked");
        finish(&mut world, recording).await;
        assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), "in the end");
    });
}

#[test]
fn a_tick_that_comes_twice_and_a_channel_without_rows_change_nothing() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, 0, Duplicates::Kept));
        let mut recording = open(&world, &store, Start::Earliest).await;
        world.create(CollectionSpec::new("docs"));
        world.create(CollectionSpec::new("idle"));
        for key in 0..10 {
            insert(&mut world, &[key]);
            let to = settle(&mut world);
            for channel in world.source.ticking() {
                world.source.queue.push(&channel, tick(to));
            }
            recording.reach(to).await;
        }
        finish(&mut world, recording).await;
        assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), "in the end");
    });
}

#[test]
fn a_tick_that_goes_back_stops_the_recorder_at_its_position() {
    process(async {
        let store = Store::memory();
        let (mut world, channel) = small(&store).await;
        let recording = open(&world, &store, Start::Earliest).await;
        insert(&mut world, &[3]);
        let last = world.source.tick();
        let position = world.source.queue.push(&channel, tick(Tso(last.0 - 1)));
        let error = recording.error().await;
        assert_eq!(error.verdict, Verdict::Refused);
        assert!(error.message.contains(&format!("position {position} of channel {channel}")), "{error}");
        assert!(error.message.contains(&last.to_string()), "{error}");
        assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), "up to the last tick");
    });
}

#[test]
fn rows_behind_a_tick_stop_the_recorder() {
    process(async {
        let store = Store::memory();
        let (mut world, channel) = small(&store).await;
        let recording = open(&world, &store, Start::Earliest).await;
        let late = world.source.now().millis() + 60_000;
        world.source.queue.push(&channel, tick(Tso::from_millis(late)));
        insert(&mut world, &[3]);
        let error = recording.error().await;
        assert_eq!(error.verdict, Verdict::Refused);
        assert!(error.message.contains("came before it"), "{error}");
    });
}

#[test]
fn rows_behind_a_tick_stop_a_recorder_that_was_started_again_since() {
    process(async {
        let store = Store::memory();
        let (mut world, channel) = small(&store).await;
        let mut recording = open(&world, &store, Start::Earliest).await;
        let late = Tso::from_millis(world.source.now().millis() + 60_000);
        world.source.queue.push(&channel, tick(late));
        recording.reach(late).await;
        recording.stop().await.unwrap();
        insert(&mut world, &[3]);
        let error = record(recorder(&world.source, &store, Start::Earliest)).error().await;
        assert_eq!(error.verdict, Verdict::Refused);
        assert!(error.message.contains(&format!("tick {late} came before it")), "{error}");
    });
}

#[test]
fn a_channel_that_ended_before_a_restart_does_not_hold_up_the_others() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(3, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        world.create(CollectionSpec::new("gone"));
        let channel = Channel::from(world.source.collection(world.tables[0].id).channels[0].channel.as_str());
        assert_eq!(world.source.ticking().len(), 2, "a channel for each");
        let mut recording = open(&world, &store, Start::Earliest).await;
        recording.reach(settle(&mut world)).await;
        insert(&mut world, &[1]);
        let reached = world.source.tick_on(&channel);
        world.drop_collection(1);
        recording.reach(reached).await;
        recording.stop().await.unwrap();
        record_all(&mut world, &store).await;
        assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), "in the end");
    });
}

#[test]
fn messages_that_the_queue_delivers_again_are_recorded_once() {
    let first = seed();
    for seed in (0..6).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
            let mut recording = open(&world, &store, Start::Earliest).await;
            for _ in 0..8 {
                world.work(10);
                for channel in world.source.ticking() {
                    world.source.queue.redeliver(&channel, Position::offset(0));
                }
                recording.reach(settle(&mut world)).await;
            }
            finish(&mut world, recording).await;
            let contents = replayed(&store, Until::Latest).await;
            assert_same(&contents, &world.oracle.contents(), &format!("seed {seed}"));
        });
    }
}

#[test]
fn a_message_that_the_sources_producer_sent_twice_is_recorded_once() {
    let first = seed();
    for seed in (0..6).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
            let mut recording = open(&world, &store, Start::Earliest).await;
            for _ in 0..8 {
                world.work(10);
                for channel in world.source.ticking() {
                    let kind = |message: &QueueMessage| message::header(&message.payload).unwrap().kind;
                    let all = world.source.queue.messages(&channel);
                    let since_tick = all.iter().rev().take_while(|message| kind(message) != Kind::Tick);
                    for message in
                        since_tick.filter(|message| matches!(kind(message), Kind::Insert | Kind::Delete))
                    {
                        world.source.queue.push(&channel, message.payload.clone());
                    }
                }
                recording.reach(settle(&mut world)).await;
            }
            finish(&mut world, recording).await;
            let contents = replayed(&store, Until::Latest).await;
            assert_same(&contents, &world.oracle.contents(), &format!("seed {seed}"));
        });
    }
}

#[test]
fn retention_that_overtook_the_recorder_is_refused_with_the_hole_named() {
    process(async {
        let store = Store::memory();
        let (mut world, channel) = small(&store).await;
        let recorded = world.source.queue.messages(&channel).len() as i64;
        insert(&mut world, &[3]);
        insert(&mut world, &[4]);
        settle(&mut world);
        world.source.queue.trim(&channel, Position::offset(recorded + 1));
        let error = record(recorder(&world.source, &store, Start::Earliest)).error().await;
        assert_eq!(error.verdict, Verdict::Refused);
        let hole = format!("hole [{recorded}, {}) on channel {channel}", recorded + 1);
        assert!(error.message.contains(&hole), "{error}");
        assert_clean(&store).await;
    });
}

#[test]
fn retention_up_to_what_is_recorded_does_no_harm() {
    process(async {
        let store = Store::memory();
        let (mut world, channel) = small(&store).await;
        let recorded = world.source.queue.messages(&channel).len() as i64;
        world.source.queue.trim(&channel, Position::offset(recorded));
        insert(&mut world, &[3]);
        record_all(&mut world, &store).await;
        assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), "in the end");
    });
}

#[test]
fn a_log_that_should_hold_rows_which_the_queue_no_longer_has_is_not_begun() {
    process(async {
        let mut world = World::new(1, 0, Duplicates::Kept);
        world.create(CollectionSpec::new("docs"));
        insert(&mut world, &[1]);
        settle(&mut world);
        let channel = world.source.ticking().pop_first().expect("a channel");
        world.source.queue.trim(&channel, Position::offset(1));
        let store = Store::memory();
        let error = record(recorder(&world.source, &store, Start::Earliest)).error().await;
        assert_eq!(error.verdict, Verdict::Refused);
        assert!(error.message.contains("default.docs"), "{error}");
        assert_eq!(store.list("commits", None).await.unwrap(), []);
    });
}

#[test]
fn a_channel_that_was_created_anew_is_refused_whether_shorter_or_longer_than_before() {
    for rows in [0, 40] {
        process(async {
            let store = Store::memory();
            let (mut world, channel) = small(&store).await;
            world.source.queue.recreate(&channel);
            for key in 0..rows {
                insert(&mut world, &[key]);
            }
            world.source.tick();
            let error = record(recorder(&world.source, &store, Start::Earliest)).error().await;
            assert_eq!(error.verdict, Verdict::Refused);
            assert!(error.message.contains("re-created"), "{error}");
            assert_clean(&store).await;
        });
    }
}

#[test]
fn a_malformed_message_stops_the_recorder_is_kept_and_what_came_before_it_is_recorded() {
    process(async {
        let store = Store::memory();
        let (mut world, channel) = small(&store).await;
        insert(&mut world, &[3]);
        settle(&mut world);
        let garbage = Bytes::from_static(b"\xff\xffgarbage");
        let position = world.source.queue.push(&channel, garbage.clone());
        let before = world.oracle.contents();
        insert(&mut world, &[4]);
        settle(&mut world);
        for _ in 0..2 {
            let error = record(recorder(&world.source, &store, Start::Earliest)).error().await;
            assert_eq!(error.verdict, Verdict::Refused);
            assert!(error.message.contains(&format!("position {position} of channel {channel}")), "{error}");
            let key = format!("malformed/{channel}-{position}.bin");
            assert!(error.advice.expect("advice").contains(&key));
            assert_eq!(store.get(&key).await.unwrap(), Some(garbage.clone()));
            assert_same(&replayed(&store, Until::Latest).await, &before, "before the malformed message");
        }
        assert_clean(&store).await;
    });
}

#[test]
fn a_malformed_request_stops_the_recorder_each_time_and_is_kept() {
    process(async {
        let store = Store::memory();
        let (mut world, _) = small(&store).await;
        let mut recording = open(&world, &store, Start::Earliest).await;
        recording.reach(settle(&mut world)).await;
        let base = MsgBase { msg_type: 402, timestamp: world.source.now().0, ..Default::default() };
        let mut flush = MsgHeader { base: Some(base) }.encode_to_vec();
        flush.extend_from_slice(b"\x12\xff");
        let channel = world.source.replicate_channel();
        let position = world.source.queue.push(&channel, flush.into());
        world.source.flush(world.tables[0].id);
        settle(&mut world);
        let fails_there = async |recording: Running<RecordProgress>| {
            let error = recording.error().await;
            assert_eq!(error.verdict, Verdict::Refused, "{error}");
            assert!(error.message.contains(&format!("position {position} of channel {channel}")), "{error}");
            let key = format!("malformed/{channel}-{position}.bin");
            assert!(store.exists(&key).await.unwrap(), "{error}");
            store.delete(&key).await.unwrap();
        };
        fails_there(recording).await;
        fails_there(record(recorder(&world.source, &store, Start::Earliest))).await;
    });
}

#[test]
fn a_log_that_begins_at_a_tso_has_every_row_after_it_though_the_clock_of_the_queue_is_minutes_behind() {
    for behind in [0, 100_000] {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
            world.source.set_queue_behind(behind);
            world.create(CollectionSpec::new("docs"));
            world.source.tick();
            world.source.advance(300_000);
            let from = world.source.tick();
            insert(&mut world, &[1, 2]);
            world.source.tick();
            world.source.advance(100_000);
            let recording = open(&world, &store, Start::After(from)).await;
            let progress = recording.progress.clone();
            finish(&mut world, recording).await;
            assert_eq!(progress.borrow().rows.inserted, 2, "{behind} ms behind");
        });
    }
}

#[test]
fn channels_that_may_have_ended_are_waited_for_side_by_side() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(4, 0, Duplicates::Kept));
        world.create(CollectionSpec { shards: 4, ..CollectionSpec::new("docs") });
        let mut recording = open(&world, &store, Start::Earliest).await;
        insert(&mut world, &[1, 2, 3, 4, 5, 6]);
        recording.reach(settle(&mut world)).await;
        world.drop_collection(0);
        let (dropped, began) = (world.source.now(), tokio::time::Instant::now());
        world.source.advance(20_000);
        recording.reach(dropped).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        recording.stop().await.expect("a clean stop");
        assert_clean(&store).await;
    });
}

#[test]
fn a_row_that_comes_after_the_drop_of_its_collection_is_announced_is_recorded() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        let mut recording = open(&world, &store, Start::Earliest).await;
        insert(&mut world, &[1]);
        recording.reach(settle(&mut world)).await;
        let channel = world.source.ticking().pop_first().expect("a channel");
        let inserted = world.source.queue.messages(&channel).into_iter().map(|message| message.payload);
        let mut late =
            inserted.filter_map(|payload| message::insert(payload).ok()).last().expect("an insert");
        world.source.advance(1);
        late.timestamps = vec![world.source.now().0];
        late.base.as_mut().expect("a base").msg_id += 1;
        world.drop_collection(0);
        let dropped = world.source.now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.source.queue.push(&channel, late.encode_to_vec().into());
        world.source.advance(20_000);
        recording.reach(dropped).await;
        recording.until("both rows", |progress| progress.rows.inserted == 2).await;
        recording.stop().await.expect("a clean stop");
        assert_same(&replayed(&store, Until::Latest).await, &world.oracle.contents(), "in the end");
        assert_clean(&store).await;
    });
}
