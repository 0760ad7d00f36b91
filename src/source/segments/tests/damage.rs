use bytes::Bytes;
use proptest::prelude::*;

use super::fixture::Fixture;
use crate::error::{Error, Result, Verdict};
use crate::source::segments::event::{self, Kind};
use crate::source::segments::payload::Values;
use crate::source::segments::{DeletedKeys, LogFile, delete, payload};

/// Files of one kind: its name, its bytes, what etcd says of its rows.
struct Files {
    rows: Vec<(String, Bytes, usize)>,
    deletes: Vec<(String, Bytes, usize)>,
    text_keys: bool,
}

async fn files(name: &str) -> Files {
    let fixture = Fixture::read(name).await;
    let (mut rows, mut deletes) = (Vec::new(), Vec::new());
    for segment in fixture.list.segments.values().filter(|segment| segment.is_readable()) {
        let of = |file: &LogFile| {
            (file.path.clone(), fixture.objects[&file.path].clone(), file.entries.unwrap() as usize)
        };
        rows.extend(segment.binlogs.values().flatten().map(of));
        deletes.extend(segment.deltas.iter().map(of));
    }
    Files { rows, deletes, text_keys: name == "bits" }
}

/// Reads a file as if etcd named `rows` for it, and says how many there are.
fn rows_of(path: &str, bytes: &Bytes, rows: usize) -> Result<usize> {
    let file = event::parse(path, bytes, Kind::Rows)?;
    let column = payload::read(path, &file.payloads, Some(rows))?;
    Ok(match column.values {
        Values::Bool(values) => values.len(),
        Values::Int(values) => values.len(),
        Values::Long(values) => values.len(),
        Values::Float(values) => values.len(),
        Values::Double(values) => values.len(),
        Values::Bytes(values) => values.len(),
    })
}

fn deletes_of(path: &str, bytes: &Bytes, keys: usize, text_keys: bool) -> Result<DeletedKeys> {
    delete::read(path, &event::parse(path, bytes, Kind::Deletes)?, Some(keys), text_keys)
}

fn named(error: &Error, path: &str) {
    assert_eq!(error.verdict, Verdict::Refused);
    assert!(error.message.contains(path) && error.message.contains("at byte"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_cut_anywhere_is_refused_by_name_and_offset() {
    for name in ["everything", "bits"] {
        let files = files(name).await;
        for (path, bytes, rows) in &files.rows {
            for length in 0..bytes.len() {
                named(&rows_of(path, &bytes.slice(..length), *rows).unwrap_err(), path);
            }
        }
        for (path, bytes, keys) in &files.deletes {
            for length in 0..bytes.len() {
                let read = deletes_of(path, &bytes.slice(..length), *keys, files.text_keys);
                named(&read.unwrap_err(), path);
            }
        }
    }
}

#[tokio::test]
async fn a_file_of_more_or_fewer_rows_than_etcd_names_is_refused() {
    for (path, bytes, rows) in files("everything").await.rows {
        rows_of(&path, &bytes, rows).unwrap();
        for wrong in [0, rows - 1, rows + 1, usize::MAX] {
            named(&rows_of(&path, &bytes, wrong).unwrap_err(), &path);
        }
    }
}

/// Milvus' logs have no checksum: damage that gives other values cannot be told. Nothing else may come of it.
#[tokio::test]
async fn a_flipped_bit_anywhere_gives_an_error_or_as_many_rows() {
    let everything = files("everything").await;
    for (path, bytes, rows) in &everything.rows {
        each_bit(bytes, |bytes| match rows_of(path, bytes, *rows) {
            Ok(found) => assert_eq!(found, *rows),
            Err(error) => named(&error, path),
        });
    }
    for (path, bytes, keys) in &everything.deletes {
        each_bit(bytes, |bytes| match deletes_of(path, bytes, *keys, false) {
            Ok(found) => assert_eq!((found.keys.len(), found.tsos.len()), (*keys, *keys)),
            Err(error) => named(&error, path),
        });
    }
}

#[tokio::test]
async fn a_flipped_bit_in_what_frames_the_events_is_refused() {
    for (path, bytes, rows) in files("bits").await.rows {
        let framing = (0..4).chain(12..21); // magic, type, length, place of the next event
        for bit in framing.flat_map(|byte| byte * 8..byte * 8 + 8) {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            named(&rows_of(&path, &damaged.into(), rows).unwrap_err(), &path);
        }
    }
}

fn each_bit(bytes: &Bytes, mut see: impl FnMut(&Bytes)) {
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        see(&damaged.into());
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_read_or_refused(
        stretches in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..40)), 1..4),
        file in any::<prop::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let files = runtime.block_on(files("bits"));
        let (path, bytes, rows) = file.get(&files.rows);
        let mut damaged = bytes.to_vec();
        for (begin, bytes) in stretches {
            let begin = begin.index(damaged.len());
            let end = damaged.len().min(begin + bytes.len());
            damaged.splice(begin..end, bytes);
        }
        match rows_of(path, &damaged.into(), *rows) {
            Ok(found) => prop_assert_eq!(found, *rows),
            Err(error) => named(&error, path),
        }
    }
}
