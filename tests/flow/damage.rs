//! Restores of a damaged log.

use std::sync::Arc;

use bytes::Bytes;
use tapedeck::error::Verdict;
use tapedeck::log::layout;
use tapedeck::log::store::Store;
use tapedeck::replayer::{Replayer, Until};
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::{Contents, MemoryTarget};
use tapedeck::tick::Tso;

use super::oracle::{assert_same, dated};
use super::stage::{base, process, record_all, replay, replayed, replayer, seed};
use super::world::{Duplicates, World};

/// A log that begins with a base for whoever restores it, and goes on after that; what is restored of it.
async fn small_log(seed: u64) -> (Store, Tso, Contents) {
    let (store, mut world) = (Store::memory(), World::new(1, seed, Duplicates::Kept));
    world.create(CollectionSpec::new("docs"));
    let partition = world.tables[0].default_partition();
    world.insert(0, partition, &[1, 2]);
    record_all(&mut world, &store).await;
    base(&store, None).await;
    world.delete(0, None, &[1]);
    record_all(&mut world, &store).await;
    world.insert(0, partition, &[3]);
    world.create_index(0);
    record_all(&mut world, &store).await;
    let to = world.oracle.last();
    let contents = replayed(&store, Until::Tso(to)).await;
    assert_same(&dated(contents.clone()), &dated(world.oracle.contents()), &format!("seed {seed}"));
    (store, to, contents)
}

/// A restore of a log of which one object is changed: it is refused with the object's name before anything is applied,
/// or the object is none that it reads.
async fn must_be_found(store: &Store, key: &str, to: Tso, contents: &Contents, how: &str) -> bool {
    let target = Arc::new(MemoryTarget::new());
    let Err(error) = replay(replayer(store, target.clone(), "r", Until::Tso(to))).end().await else {
        super::stage::forget(store, "r").await;
        assert_same(&target.contents(), contents, &format!("{key}, {how}"));
        return false;
    };
    assert!(error.verdict == Verdict::Refused && error.message.contains(key), "{key}, {how}: {error}");
    assert_eq!(target.contents(), MemoryTarget::new().contents(), "{key}, {how}: something was applied");
    assert_eq!(store.list(layout::READERS, None).await.unwrap(), [], "{key}, {how}: a position was left");
    true
}

#[test]
fn every_flipped_byte_and_every_cut_is_named_by_a_restore_before_anything_is_applied() {
    process(async {
        let (store, to, contents) = small_log(seed()).await;
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        for (key, _) in store.list("", None).await.unwrap() {
            let bytes = store.get(&key).await.unwrap().unwrap();
            let flipped = (0..bytes.len()).map(|at| {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << (at % 8);
                (format!("byte {at} flipped"), Bytes::from(flipped))
            });
            let cut = (0..bytes.len()).map(|length| (format!("cut to {length}"), bytes.slice(..length)));
            let mut found = Vec::new();
            for (how, damaged) in flipped.chain(cut) {
                store.put(&key, damaged).await.unwrap();
                found.push(must_be_found(&store, &key, to, &contents, &how).await);
            }
            assert!(found.iter().all(|named| *named == found[0]), "{key}: only some damages are found");
            if found[0] { &mut read } else { &mut unread }.push(key.clone());
            store.put(&key, bytes).await.unwrap();
        }
        assert!(read.iter().any(|key| layout::parse_base(key).is_some()), "{read:?}");
        assert!(read.iter().filter(|key| layout::parse_segment(key).is_some()).count() >= 2, "{read:?}");
        // What stands before the base, what has another use, and catalogs, which follow from the definitions.
        let is_needless = |key: &str| {
            key.starts_with("archive")
                || layout::parse_catalog(key).is_some()
                || layout::parse_segment(key).is_some()
                || layout::parse_commit(key).is_some()
        };
        assert!(unread.iter().all(|key| is_needless(key)), "{unread:?}");
    });
}

#[test]
fn an_unchecked_restore_stops_where_the_damage_is_and_goes_on_when_it_is_mended() {
    process(async {
        let (store, to, contents) = small_log(seed()).await;
        let segments = store.list(layout::SEGMENTS, None).await.unwrap();
        let last =
            segments.iter().map(|(key, _)| key).max_by_key(|key| layout::parse_segment(key).unwrap().seq);
        let last = last.unwrap().clone();
        let bytes = store.get(&last).await.unwrap().unwrap();
        store.put(&last, bytes.slice(1..)).await.unwrap();
        let target = Arc::new(MemoryTarget::new());
        let unchecked =
            || Replayer { unchecked: true, ..replayer(&store, target.clone(), "r", Until::Tso(to)) };
        let error = replay(unchecked()).error().await;
        assert!(error.message.contains(&last), "{error}");
        assert_ne!(target.contents(), MemoryTarget::new().contents());
        store.put(&last, bytes).await.unwrap();
        replay(unchecked()).end().await.unwrap();
        assert_same(&target.contents(), &contents, "when it is mended");
    });
}
