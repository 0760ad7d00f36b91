//! An archive with bytes flipped, objects cut, lost, swapped, or put together by hand.

use std::future::ready;
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::rows::{SMALL, archive_all, checked};
use super::sample::{Action, Recorder, manifests};
use crate::archive::archiver::{Limits, archive};
use crate::archive::manifest::seal;
use crate::archive::verify::{Scope, verify};
use crate::error::Verdict;
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::log::verify as log_verify;
use crate::pb::log::ArchiveManifest;
use crate::position::Seq;
use crate::store::Store;
use crate::store::encryption::{Encryption, Identity, Keys};

/// Three commits, each in a manifest of its own, and the objects of the archive.
async fn small_archive() -> (Store, Recorder, Vec<(String, Bytes)>) {
    let store = Store::memory();
    let mut recorder = Recorder::new(&store).await;
    for key in 1..4 {
        recorder.act(&Action::Insert { table: 1, partition: 0, keys: vec![key], again: false }).await;
        recorder.commit().await;
        archive_all(&store, SMALL).await;
    }
    let mut objects = Vec::new();
    for (key, _) in store.list(layout::ARCHIVE, None).await.unwrap() {
        let bytes = store.get(&key).await.unwrap().unwrap();
        objects.push((key, bytes));
    }
    assert_eq!((objects.len(), checked(&store).await.1), (6, vec![]));
    (store, recorder, objects)
}

/// Checks the archive alone.
async fn damages(reader: &LogReader, store: &Store) -> Vec<String> {
    let mut report = log_verify::Report::default();
    let scope = Scope { from: Seq(1), rows: false };
    verify(reader, store, scope, &mut report, |_, _| ready(())).await.unwrap();
    report.damages.into_iter().map(|damage| damage.object).collect()
}

#[tokio::test]
async fn every_flipped_byte_and_every_cut_is_found_and_named() {
    let (store, _, objects) = small_archive().await;
    let reader = LogReader::open(store.clone()).await.unwrap();
    for (key, bytes) in objects {
        for at in 0..bytes.len() {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            for damaged in [flipped.into(), bytes.slice(..at)] {
                store.put(&key, damaged).await.unwrap();
                assert!(damages(&reader, &store).await.contains(&key), "{key} at {at}");
            }
        }
        store.put(&key, bytes).await.unwrap();
    }
    assert!(damages(&reader, &store).await.is_empty());
}

#[tokio::test]
async fn what_no_key_opens_is_named_and_the_rest_is_checked_all_the_same() {
    let [reader, own, stranger] = [(); 3].map(|()| Identity::generate());
    let inner = Arc::new(InMemory::new());
    let view = |keys| {
        let store = Store::new(inner.clone(), Path::ROOT, "memory://log".into());
        store.encrypted(Encryption::new(keys, layout::ROWS).unwrap())
    };
    let recipients = vec![reader.to_public()];
    let mut recorder =
        Recorder::new(&view(Keys { recipients, recorder: vec![own], ..Keys::default() })).await;
    let store = view(Keys { identities: vec![reader], ..Keys::default() });
    for key in 1..4 {
        recorder.act(&Action::Insert { table: 1, partition: 0, keys: vec![key], again: false }).await;
        recorder.commit().await;
        archive_all(&store, SMALL).await;
    }
    let log = LogReader::open(store.clone()).await.unwrap();
    let mut locked = manifests(&store).await.swap_remove(0).files.into_iter();
    let locked = [locked.next().unwrap().object.unwrap().key, layout::manifest(2)];
    let stranger = view(Keys { identities: vec![stranger], ..Keys::default() });
    for key in &locked {
        stranger.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(damages(&log, &store).await, locked);
    let mut report = log_verify::Report::default();
    let scope = Scope { from: Seq(1), rows: true };
    let archived = verify(&log, &store, scope, &mut report, |_, _| std::future::ready(())).await.unwrap();
    assert_eq!((archived.manifests, archived.files, archived.to), (2, 1, 3));
}

#[tokio::test]
async fn every_lost_or_swapped_object_is_found_and_named() {
    let (store, _, objects) = small_archive().await;
    let reader = LogReader::open(store.clone()).await.unwrap();
    for (key, bytes) in &objects {
        store.delete(key).await.unwrap();
        // The loss of the very last manifest cannot be told from its never having been made.
        let found = damages(&reader, &store).await;
        assert!(found.contains(key) || layout::parse_manifest(key) == Some(3), "{key}: {found:?}");
        for (other, _) in objects.iter().filter(|(other, _)| other != key) {
            let other_bytes = store.get(other).await.unwrap().unwrap();
            store.put(key, other_bytes).await.unwrap();
            assert!(damages(&reader, &store).await.contains(key), "{other} as {key}");
        }
        store.put(key, bytes.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_archived_after_a_damaged_lost_or_foreign_manifest() {
    let (store, mut recorder, objects) = small_archive().await;
    recorder.act(&Action::Delete { table: 0, partition: None, keys: vec![1], again: false }).await;
    recorder.commit().await;
    let third = layout::manifest(3);
    let whole = |(key, bytes): &(String, Bytes)| (*key == third).then(|| bytes.clone());
    let sound = objects.iter().find_map(whole).unwrap();
    let foreign = small_archive().await.2.iter().find_map(whole).unwrap();
    let mut unlike = manifests(&store).await.pop().unwrap();
    unlike.commit_digest = vec![0; 32].into();
    for (bytes, says) in [
        (Some(sound.slice(1..)), "is damaged"),
        (Some(foreign), "belongs to the log"),
        (Some(seal(unlike).0), "names another commit 3"),
        (None, "is missing from"),
    ] {
        match bytes {
            Some(bytes) => store.put(&third, bytes).await.unwrap(),
            None => {
                store.put(&layout::manifest(4), sound.clone()).await.unwrap();
                store.delete(&third).await.unwrap();
            }
        }
        let before = store.list(layout::ARCHIVE, None).await.unwrap();
        let error = archive(store.clone(), Limits::default(), |_, _, _| {}).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Refused, "{error}");
        assert!(error.message.contains(says) && error.message.contains(&third), "{error}");
        assert_eq!(store.list(layout::ARCHIVE, None).await.unwrap(), before);
    }
    store.delete(&layout::manifest(4)).await.unwrap();
    store.put(&third, sound).await.unwrap();
    assert_eq!(archive_all(&store, SMALL).await.deleted, 1);
}

#[tokio::test]
async fn files_that_lack_rows_or_have_others_are_told_by_collection() {
    let (store, recorder, _) = small_archive().await;
    let id = *recorder.expected.keys().next().unwrap();
    let named = manifests(&store).await;
    let second = named[1].clone();
    for (files, says) in [
        (vec![], format!("collection {id} has no rows, not rows: insert 1")),
        (
            [second.files.clone(), second.files.clone()].concat(),
            format!("collection {id} has rows: insert 2, not"),
        ),
        (named[0].files.clone(), format!("collection {id} has other rows, as many of each kind")),
    ] {
        let (bytes, sealed) = seal(ArchiveManifest { files, ..second.clone() });
        store.put(&layout::manifest(2), bytes).await.unwrap();
        let third = ArchiveManifest { previous_digest: sealed.digest.to_vec().into(), ..named[2].clone() };
        store.put(&layout::manifest(3), seal(third).0).await.unwrap();
        let (_, damages) = checked(&store).await;
        let [damage] = &damages[..] else { panic!("{damages:?}") };
        assert!(
            damage.starts_with(&format!("object {}", layout::manifest(2))) && damage.contains(&says),
            "{damage}"
        );
    }
}

#[tokio::test]
async fn files_before_the_commits_that_are_asked_for_are_passed_over_and_orphans_are_no_damage() {
    let (store, _, objects) = small_archive().await;
    let reader = LogReader::open(store.clone()).await.unwrap();
    for (key, bytes) in objects.iter().filter(|(key, _)| layout::is_archive_file(key)) {
        store.put(key, bytes.slice(1..)).await.unwrap();
    }
    store.put("archive/default/docs-1/left.parquet", Bytes::from_static(b"x")).await.unwrap();
    for (from, found) in [(1, 3), (3, 1), (4, 0)] {
        let mut report = log_verify::Report::default();
        let scope = Scope { from: Seq(from), rows: true };
        let archived = verify(&reader, &store, scope, &mut report, |_, _| ready(())).await.unwrap();
        assert_eq!((report.damages.len(), archived.manifests, archived.orphans), (found, 3, 1));
    }
    let log = log_verify::verify(store, log_verify::Scope::Whole, |_, _| ready(())).await.unwrap();
    assert_eq!((log.damages, log.orphans), (vec![], vec![]));
}

#[test]
fn a_manifest_that_does_not_continue_the_one_before_is_refused_with_the_reason() {
    use crate::archive::manifest::follows;
    use crate::pb::log::Floor;
    let first = ArchiveManifest {
        n: 1,
        first_seq: 1,
        last_seq: 4,
        commit_digest: vec![1; 32].into(),
        ..Default::default()
    };
    let (_, sealed) = seal(first.clone());
    let next = ArchiveManifest {
        n: 2,
        first_seq: 5,
        last_seq: 5,
        previous_digest: sealed.digest.to_vec().into(),
        ..first.clone()
    };
    follows(None, None, &first).unwrap();
    follows(Some(&sealed), None, &next).unwrap();
    let strange = || vec![crate::pb::log::ArchiveFile::default()];
    for (manifest, says) in [
        (ArchiveManifest { n: 3, ..next.clone() }, "its number is 3 instead of 2"),
        (ArchiveManifest { first_seq: 6, ..next.clone() }, "its first commit is 6 instead of 5"),
        (ArchiveManifest { last_seq: 4, ..next.clone() }, "names no commits"),
        (ArchiveManifest { commit_digest: Bytes::new(), ..next.clone() }, "names no commits"),
        (ArchiveManifest { previous_digest: Bytes::new(), ..next.clone() }, "another manifest before it"),
        (ArchiveManifest { files: strange(), ..next.clone() }, "names no file with \"\""),
    ] {
        let error = follows(Some(&sealed), None, &manifest).unwrap_err();
        assert!(
            error.message.contains(says) && error.verdict == Verdict::Refused,
            "{error} instead of {says}"
        );
    }
    let floor = |first_seq| Floor { first_seq, first_manifest: 2, ..Default::default() };
    for (first_seq, fits) in [(5, true), (6, true), (4, false)] {
        assert_eq!(follows(None, Some(&floor(first_seq)), &next).is_ok(), fits, "{first_seq}");
    }
    assert!(follows(None, None, &next).is_err() && follows(Some(&sealed), None, &first).is_err());
}
