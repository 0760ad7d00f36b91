//! A small log with every byte flipped, every length cut, every object lost or swapped.

use std::future::ready;

use bytes::Bytes;

use super::sample::{
    CHANNEL, LOG_ID, Replayed, catalog, draft, log_id, record, replay, segment, source, tso,
};
use crate::catalog::Catalog;
use crate::error::Verdict;
use crate::log::checkpoint::Checkpoints;
use crate::log::envelope::{self, Kind};
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::log::segment::SegmentWriter;
use crate::log::store::Store;
use crate::log::verify::{Scope, verify};
use crate::log::writer::LogWriter;
use crate::pb::log::{
    Checkpoint, CreatePartition, Database, Definition, ObjectRef, SegmentHeader, definition::Change,
};
use crate::position::Seq;
use crate::tick::Tso;

const MESSAGES: i64 = 5;

/// Three commits, a fence and one more; a checkpoint.
async fn small_log() -> (Store, Vec<(String, Bytes)>) {
    let store = Store::memory();
    record(&store, 4).await.unwrap();
    record(&store, MESSAGES).await.unwrap();
    let (mut checkpoints, _) = Checkpoints::open(store.clone(), "a").await.unwrap();
    let log_id = log_id(&store).await;
    checkpoints.save(Checkpoint { log_id, applied_tso: 7, ..Default::default() }).await.unwrap();
    let mut objects = Vec::new();
    for (key, _) in store.list("", None).await.unwrap() {
        let bytes = store.get(&key).await.unwrap().unwrap();
        objects.push((key, bytes));
    }
    assert_eq!(verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap().damages, []);
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES));
    (store, objects)
}

/// The damage is found and named, and no replay ends as if nothing were.
async fn must_be_found(store: &Store, key: &str, how: &str) {
    let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap();
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
        let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap();
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
            let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap();
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
    let report = verify(store, Scope::Whole, |_, _| ready(())).await.unwrap();
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
    let report = verify(store, Scope::Whole, |_, _| ready(())).await.unwrap();
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
    let report = verify(store, Scope::Whole, |_, _| ready(())).await.unwrap();
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

fn create_database(id: i64) -> Change {
    Change::CreateDatabase(Database { id, name: format!("d{id}"), properties: vec![] })
}

fn databases(ids: &[i64]) -> Catalog {
    let mut catalog = Catalog::default();
    for id in ids {
        catalog.apply(&Definition { change: Some(create_database(*id)), ..Default::default() }).unwrap();
    }
    catalog
}

/// Commits the changes of each step with the catalog that it says; none: that of the commit before.
async fn defined(steps: &[(&[Change], Option<Catalog>)]) -> Store {
    let store = Store::memory();
    let (mut writer, _) = LogWriter::open(store.clone(), &source()).await.unwrap();
    let mut named = None;
    for (at, (changes, catalog)) in (0..).zip(steps) {
        let (seq, log_id) = (writer.next_seq(), writer.log_id().to_owned());
        let mut segment = SegmentWriter::new(SegmentHeader {
            log_id,
            epoch: writer.epoch(),
            seq: seq.0,
            channels: vec![CHANNEL.into()],
        });
        for change in *changes {
            let change = Some(change.clone());
            segment.definition(&Definition { tso: tso(at).0, exact: true, change });
        }
        let (bytes, counted) = segment.finish();
        let segment = writer.uploader().put_segment(seq, bytes, counted).await.unwrap();
        if let Some(catalog) = catalog {
            named = Some(writer.uploader().put_catalog(seq, catalog).await.unwrap());
        }
        let mut draft = draft(at, at + 1, segment, named.clone().unwrap_or_default());
        draft.catalog = named.clone();
        writer.commit(draft).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_catalog_that_does_not_follow_from_the_definitions_before_it_is_found_and_named_once() {
    let (one, two, three) = ([create_database(1)], [create_database(2)], [create_database(3)]);
    let orphan = [Change::CreatePartition(CreatePartition { collection_id: 9, partition: None })];
    let well = (&three[..], Some(databases(&[1, 2, 3])));
    for (second, folder, message) in [
        ((&two[..], Some(databases(&[1, 2]))), "", ""),
        ((&two[..], Some(databases(&[1]))), layout::CATALOGS, "database 2 is not in it"),
        ((&two[..], Some(databases(&[1, 2, 7]))), layout::CATALOGS, "database 7 comes from nowhere"),
        ((&[][..], Some(databases(&[1, 2]))), layout::CATALOGS, "definitions up to commit 2 make of the one"),
        ((&two[..], None), layout::COMMITS, "names a catalog without what its own definitions change"),
        ((&orphan[..], None), layout::SEGMENTS, "a definition that cannot be, 2:1"),
    ] {
        // What follows a wrong catalog is judged by that catalog.
        let third = match &second.1 {
            Some(catalog) if catalog.databases.contains_key(&7) => databases(&[1, 2, 3, 7]),
            Some(catalog) if catalog.databases.contains_key(&2) => databases(&[1, 2, 3]),
            _ => databases(&[1, 3]),
        };
        let steps = [(&one[..], Some(databases(&[1]))), second, (well.0, Some(third))];
        let report = verify(defined(&steps).await, Scope::Whole, |_, _| ready(())).await.unwrap();
        let found = report.damages.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found.len(), usize::from(!message.is_empty()), "{message}: {found:?}");
        for damage in found {
            assert!(damage.starts_with(&format!("object {folder}/")) && damage.contains(message), "{damage}");
        }
    }
}

#[tokio::test]
async fn the_first_catalog_follows_from_nothing() {
    let store = defined(&[(&[create_database(1)], Some(databases(&[1, 2])))]).await;
    let report = verify(store, Scope::Whole, |_, _| ready(())).await.unwrap();
    assert_eq!(report.damages.len(), 1, "{:?}", report.damages);
    assert_ne!(databases(&[1, 2]), catalog());
}

#[tokio::test]
async fn the_order_in_which_partitions_are_kept_is_no_damage() {
    let collection = |partitions: &[i64]| {
        let partitions =
            partitions.iter().map(|id| crate::pb::log::Partition { id: *id, ..Default::default() });
        crate::pb::log::Collection { id: 7, partitions: partitions.collect(), ..Default::default() }
    };
    let mut other_order = Catalog::default();
    other_order.collections.insert(7, collection(&[2, 1]));
    let store = defined(&[(&[Change::CreateCollection(collection(&[1, 2]))], Some(other_order))]).await;
    assert_eq!(verify(store, Scope::Whole, |_, _| ready(())).await.unwrap().damages, []);
}

#[tokio::test]
async fn only_commits_with_a_later_watermark_are_checked_and_all_of_them() {
    let store = Store::memory();
    record(&store, 10).await.unwrap();
    let check = async |scope| verify(store.clone(), scope, |_, _| ready(())).await.unwrap();
    for (scope, from) in [
        (Scope::Since(Tso::ZERO), 1),
        (Scope::Since(tso(1)), 2),
        (Scope::Since(tso(2)), 2),
        (Scope::Since(tso(9)), 6),
        (Scope::After(Seq(3)), 4),
    ] {
        let report = check(scope).await;
        assert_eq!((report.from, report.to, report.commits), (from, 5, 6 - from), "{scope:?}");
        assert_eq!((report.damages, report.orphans), (vec![], vec![]), "{scope:?}");
    }
    // A damage among the commits that are looked at to find the first does not hide a later one.
    for damaged in 1..=5 {
        let key = layout::commit(Seq(damaged));
        let whole = store.get(&key).await.unwrap().unwrap();
        store.put(&key, whole.slice(1..)).await.unwrap();
        for since in 0..10 {
            // Commit n has the watermark 2n - 1.
            let first_later = (since as u64).div_ceil(2) + 1;
            let report = check(Scope::Since(tso(since))).await;
            assert!(report.from <= first_later, "{} instead of {first_later} since {since}", report.from);
            let found = report.damages.iter().any(|damage| damage.object == key);
            assert!(found || damaged < first_later, "commit {damaged} since {since}");
        }
        store.put(&key, whole).await.unwrap();
    }
}

#[tokio::test]
async fn a_log_that_ends_before_what_was_checked_last_is_damaged() {
    let store = Store::memory();
    record(&store, 4).await.unwrap();
    let report = verify(store, Scope::After(Seq(3)), |_, _| ready(())).await.unwrap();
    assert_eq!(
        report.damages.iter().map(|damage| &damage.object).collect::<Vec<_>>(),
        [&layout::commit(Seq(3))]
    );
}
