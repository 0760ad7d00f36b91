//! A small log with every byte flipped, every length cut, every object lost or swapped.

use bytes::Bytes;

use super::sample::{LOG_ID, Replayed, record, replay, segment};
use crate::error::Verdict;
use crate::log::checkpoint::Checkpoints;
use crate::log::envelope::{self, Kind};
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::log::store::Store;
use crate::log::verify::verify;
use crate::pb::log::{Checkpoint, ObjectRef};
use crate::position::Seq;

const MESSAGES: i64 = 5;

/// Three commits, a fence and one more; a checkpoint.
async fn small_log() -> (Store, Vec<(String, Bytes)>) {
    let store = Store::memory();
    record(&store, 4).await.unwrap();
    record(&store, MESSAGES).await.unwrap();
    let (mut checkpoints, _) = Checkpoints::open(store.clone(), "a").await.unwrap();
    checkpoints.save(Checkpoint { applied_tso: 7, ..Default::default() }).await.unwrap();
    let mut objects = Vec::new();
    for (key, _) in store.list("", None).await.unwrap() {
        let bytes = store.get(&key).await.unwrap().unwrap();
        objects.push((key, bytes));
    }
    assert_eq!(verify(store.clone(), |_, _| {}).await.unwrap().damages, []);
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES));
    (store, objects)
}

/// The damage is found and named, and no replay ends as if nothing were.
async fn must_be_found(store: &Store, key: &str, how: &str) {
    let report = verify(store.clone(), |_, _| {}).await.unwrap();
    assert!(report.damages.iter().any(|damage| damage.object == key), "{key} {how}: {:?}", report.damages);
    if key.starts_with(layout::READERS) {
        assert_eq!(Checkpoints::open(store.clone(), "a").await.unwrap_err().verdict, Verdict::Refused);
    } else {
        let error = replay(store).await.expect_err(how);
        assert_eq!(error.verdict, Verdict::Refused, "{key} {how}: {error}");
        assert!(error.message.contains(key), "{key} {how}: {error}");
    }
}

#[tokio::test]
async fn every_flipped_byte_is_found_and_named() {
    let (store, objects) = small_log().await;
    for (key, bytes) in objects {
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << (at % 8);
            store.put(&key, damaged.into()).await.unwrap();
            must_be_found(&store, &key, &format!("byte {at}")).await;
        }
        store.put(&key, bytes).await.unwrap();
    }
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES));
}

#[tokio::test]
async fn every_cut_and_every_added_byte_is_found_and_named() {
    let (store, objects) = small_log().await;
    for (key, bytes) in objects {
        for length in 0..bytes.len() {
            store.put(&key, bytes.slice(..length)).await.unwrap();
            must_be_found(&store, &key, &format!("cut to {length}")).await;
        }
        store.put(&key, [&bytes[..], b"}"].concat().into()).await.unwrap();
        must_be_found(&store, &key, "one more").await;
        store.put(&key, bytes).await.unwrap();
    }
}

#[tokio::test]
async fn every_lost_object_is_found_and_named() {
    let (store, objects) = small_log().await;
    let last = objects.iter().filter_map(|(key, _)| layout::parse_commit(key)).max().unwrap();
    for (key, bytes) in objects {
        // The loss of the very last commit cannot be told from its never having been made.
        if layout::parse_commit(&key) == Some(last) || key.starts_with(layout::READERS) {
            continue;
        }
        store.delete(&key).await.unwrap();
        let report = verify(store.clone(), |_, _| {}).await.unwrap();
        assert!(report.damages.iter().any(|damage| damage.object == key), "{key}: {:?}", report.damages);
        let error = replay(&store).await.expect_err(&key);
        assert!(error.message.contains(&key) || key == layout::IDENTITY, "{key}: {error}");
        store.put(&key, bytes).await.unwrap();
    }
}

#[tokio::test]
async fn every_two_swapped_objects_are_found_and_named() {
    let (store, objects) = small_log().await;
    for (a, bytes_of_a) in &objects {
        for (b, bytes_of_b) in objects.iter().filter(|(_, bytes)| bytes != bytes_of_a) {
            store.put(a, bytes_of_b.clone()).await.unwrap();
            store.put(b, bytes_of_a.clone()).await.unwrap();
            let report = verify(store.clone(), |_, _| {}).await.unwrap();
            // What a damaged commit names is not looked at.
            let named = report.damages.iter().any(|damage| damage.object == *a || damage.object == *b);
            assert!(named, "{a} and {b}: {:?}", report.damages);
            assert_eq!(replay(&store).await.expect_err(a).verdict, Verdict::Refused);
            store.put(a, bytes_of_a.clone()).await.unwrap();
            store.put(b, bytes_of_b.clone()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_commit_of_another_log_does_not_fit_in() {
    let (store, _) = small_log().await;
    let other = Store::memory();
    record(&other, MESSAGES).await.unwrap();
    let stranger = other.get(&layout::commit(Seq(2))).await.unwrap().unwrap();
    store.put(&layout::commit(Seq(2)), stranger).await.unwrap();
    let error = replay(&store).await.unwrap_err();
    assert!(error.message.contains("commit 2 does not follow commit 1"), "{error}");
    let report = verify(store, |_, _| {}).await.unwrap();
    assert!(
        report.damages.iter().any(|damage| damage.object == layout::commit(Seq(2))),
        "{:?}",
        report.damages
    );
}

#[tokio::test]
async fn the_place_of_a_flipped_byte_in_a_segment_is_given() {
    let (store, objects) = small_log().await;
    let (key, bytes) = objects.iter().find(|(key, _)| key.starts_with(layout::SEGMENTS)).unwrap();
    let mut damaged = bytes.to_vec();
    let at = bytes.len() - 20;
    damaged[at] ^= 4;
    store.put(key, damaged.into()).await.unwrap();
    let report = verify(store, |_, _| {}).await.unwrap();
    let offset = report.damages.first().unwrap().offset.unwrap() as usize;
    assert!(offset <= at && at - offset < 120, "frame at {offset}, flipped at {at}");
}

#[tokio::test]
async fn objects_that_no_commit_names_are_told_from_damage() {
    let (store, _) = small_log().await;
    store
        .put("segments/9-9-00000000-0000-0000-0000-000000000000.seg", Bytes::from_static(b"x"))
        .await
        .unwrap();
    let report = verify(store, |_, _| {}).await.unwrap();
    assert_eq!(report.damages, []);
    assert_eq!(report.orphans, ["segments/9-9-00000000-0000-0000-0000-000000000000.seg"]);
}

#[tokio::test]
async fn an_object_that_is_sound_in_itself_but_not_the_one_that_was_named_is_refused() {
    let store = Store::memory();
    record(&store, 2).await.unwrap();
    let reader = LogReader::open(store.clone()).await.unwrap();
    let commit = reader.commit(Seq(1)).await.unwrap().unwrap().commit;
    let named = commit.segments.first().unwrap();
    let put = async |key: &str, bytes| store.put(key, bytes).await.unwrap();

    // As long as the right one, with as many records.
    put(&named.key, segment(reader.log_id(), 1, Seq(2), 0, 2).0).await;
    assert!(reader.segment(named).await.unwrap_err().message.contains("another digest"));
    // What a recorder of another log, or for another commit, has named.
    for (log_id, seq, message) in
        [(LOG_ID, Seq(1), "belongs to the log"), (reader.log_id(), Seq(3), "was written for commit 3")]
    {
        let (other, counted) = segment(log_id, 1, seq, 0, 2);
        put(&named.key, other).await;
        let error = reader.segment(&ObjectRef { key: named.key.clone(), ..counted }).await.unwrap_err();
        assert!(error.message.contains(message), "{error}");
    }

    let named = commit.catalog.as_ref().unwrap();
    put(&named.key, envelope::seal(Kind::Catalog, &crate::pb::log::Catalog::default())).await;
    assert!(reader.catalog(named).await.unwrap_err().message.contains("another digest"));
}
