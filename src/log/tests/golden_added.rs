//! Objects with the fields that version 1 was given after its first golden log was made. They are kept in
//! `formats/golden/v1-added` for ever, each for itself: no log.
//!
//! `TAPEDECK_WRITE_GOLDEN=1 cargo test --lib golden` writes them; an object that is there already is never to be changed.

use std::path::PathBuf;

use bytes::Bytes;

use super::golden::golden;
use super::sample::{LOG_ID, tso};
use crate::log::base::{self, Base};
use crate::log::commit;
use crate::log::envelope::{self, Kind};
use crate::log::incomplete::Incomplete;
use crate::log::layout;
use crate::pb::log as pb;
use crate::position::Seq;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("formats/golden/v1-added")
}

fn incomplete() -> Incomplete {
    Incomplete { since: tso(1), what: vec!["Import".into(), "CreateRole".into()] }
}

fn base_of_1() -> Base {
    let (_, first) = golden().into_iter().find(|(key, _)| *key == layout::commit(Seq(1))).unwrap();
    let after = commit::open(Seq(1), first).unwrap();
    Base { after, segments: vec![], wall_time_ms: tso(6).millis(), incomplete: incomplete() }
}

fn manifest() -> pb::ArchiveManifest {
    pb::ArchiveManifest {
        n: 1,
        log_id: LOG_ID.into(),
        archiver: Bytes::from_static(&[4; 16]),
        first_seq: 1,
        last_seq: 1,
        commit_digest: Bytes::copy_from_slice(&base_of_1().after.digest),
        wall_time_ms: tso(5).millis(),
        incomplete_since: incomplete().since.0,
        incomplete: incomplete().what,
        ..Default::default()
    }
}

fn checkpoint() -> pb::Checkpoint {
    pb::Checkpoint {
        n: 1,
        log_id: LOG_ID.into(),
        replayer: Bytes::from_static(&[3; 16]),
        ack: Some(pb::LogPosition { seq: 4, definitions: 2, rows: true, segments: 1 }),
        intent: Some(pb::LogPosition { seq: 4, segments: 3, ..Default::default() }),
        applied_tso: tso(1).0,
        wall_time_ms: tso(4).millis(),
        intent_tso: tso(9).0,
        checked: 3,
        skip: vec!["3:1".into(), format!("tso:{}", tso(7))],
        checked_tso: tso(2).0,
        base: 2,
        rehearsed_from: 2,
        ..Default::default()
    }
}

fn added() -> Vec<(String, Bytes)> {
    vec![
        (layout::base(Seq(1)), base::seal(LOG_ID, &base_of_1())),
        (layout::manifest(1), envelope::seal(Kind::ArchiveManifest, &manifest())),
        (layout::checkpoint("readers/golden", 1), envelope::seal(Kind::Checkpoint, &checkpoint())),
    ]
}

fn stored(key: &str) -> Bytes {
    std::fs::read(folder().join(key)).unwrap_or_default().into()
}

#[test]
fn golden_objects_with_added_fields_are_written_as_they_always_were() {
    for (key, bytes) in added() {
        let path = folder().join(&key);
        if std::env::var_os("TAPEDECK_WRITE_GOLDEN").is_some() && !path.exists() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(stored(&key), bytes, "{key} is no longer written in the same way");
    }
}

#[test]
fn golden_objects_with_added_fields_are_read() {
    let key = layout::base(Seq(1));
    assert_eq!(base::open(LOG_ID, Seq(1), stored(&key)).unwrap(), base_of_1());
    let key = layout::manifest(1);
    let opened: pb::ArchiveManifest = envelope::open(Kind::ArchiveManifest, &key, stored(&key)).unwrap();
    assert_eq!(opened, manifest());
    let key = layout::checkpoint("readers/golden", 1);
    let opened: pb::Checkpoint = envelope::open(Kind::Checkpoint, &key, stored(&key)).unwrap();
    assert_eq!(opened, checkpoint());
}
