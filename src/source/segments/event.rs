//! What a file of a segment is around its payload. Everything is little endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `BC FA FF 00` |
//! | 4 | 17 | event header: u64 TSO of writing, u8 type, i32 length of the event, i32 where the next one begins |
//! | 21 | 52 | i64 collection, partition, segment, field (-1 in a delta log); u64 first and last TSO; i32 data type |
//! | 73 | 8 | lengths of what stands between header and payload, by type of event |
//! | 81 | 4 + n | length of a JSON object, and the object: `original_size`, and what later versions add |
//!
//! That was the descriptor, an event of type 0. Then come events of type 1 (rows) or 2 (deletes): the header, u64 first
//! and last TSO, and a whole Parquet file. Milvus 2.3.5 writes one of them to a file. There is no checksum.

use bytes::{Buf, Bytes};

use super::{FieldId, SegmentId};
use crate::catalog::CollectionId;
use crate::error::{Error, Result};

const MAGIC: [u8; 4] = [0xbc, 0xfa, 0xff, 0x00];
const HEADER: usize = 17;
const DESCRIPTOR: usize = 52;
const TIMES: usize = 16;
const DESCRIBES: u8 = 0;

/// What the payloads of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Rows = 1,
    Deletes = 2,
}

/// A file, taken apart.
#[derive(Debug)]
pub(super) struct File {
    pub collection_id: CollectionId,
    /// The segment that it was made for.
    pub segment_id: SegmentId,
    pub field_id: FieldId,
    /// Milvus' DataType; String in a delta log.
    pub data_type: i32,
    /// Parquet files, and where each begins.
    pub payloads: Vec<(usize, Bytes)>,
}

/// Takes a file of one kind apart. `path` is named in errors.
pub(super) fn parse(path: &str, bytes: &Bytes, kind: Kind) -> Result<File> {
    if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
        return Err(damaged(path, 0, "it does not begin as Milvus' logs do"));
    }
    let (event, mut begin) = event(path, bytes, MAGIC.len())?;
    let mut described = event.content;
    if event.kind != DESCRIBES || described.len() < DESCRIPTOR {
        return Err(damaged(path, MAGIC.len(), "it begins with no descriptor"));
    }
    let (collection_id, _partition) = (described.get_i64_le(), described.get_i64_le());
    let (segment_id, field_id) = (described.get_i64_le(), described.get_i64_le());
    described.advance(TIMES);
    let data_type = described.get_i32_le();
    let mut payloads = Vec::new();
    while begin < bytes.len() {
        let (event, next) = self::event(path, bytes, begin)?;
        if event.kind != kind as u8 {
            let what = format!("an event of type {}, where {} ({kind:?}) is due", event.kind, kind as u8);
            return Err(damaged(path, begin, what));
        }
        if event.content.len() < TIMES {
            return Err(damaged(path, begin, "an event without a payload"));
        }
        payloads.push((begin + HEADER + TIMES, event.content.slice(TIMES..)));
        begin = next;
    }
    Ok(File { collection_id, segment_id, field_id, data_type, payloads })
}

struct Event {
    kind: u8,
    content: Bytes,
}

/// The event that begins at an offset, and where the next one does.
fn event(path: &str, bytes: &Bytes, begin: usize) -> Result<(Event, usize)> {
    let mut header = bytes.get(begin..).unwrap_or_default();
    if header.len() < HEADER {
        return Err(damaged(path, begin, "it ends within the header of an event"));
    }
    header.advance(8);
    let (kind, length, next) = (header.get_u8(), header.get_i32_le(), header.get_i32_le());
    let end = usize::try_from(length).ok().and_then(|length| begin.checked_add(length));
    match end {
        Some(end) if end > bytes.len() => Err(damaged(
            path,
            begin,
            format!("an event of {length} bytes, of which {} are there", bytes.len() - begin),
        )),
        Some(end) if end >= begin + HEADER && usize::try_from(next) == Ok(end) => {
            Ok((Event { kind, content: bytes.slice(begin + HEADER..end) }, end))
        }
        _ => Err(damaged(
            path,
            begin,
            format!("an event of {length} bytes, after which the next is said to begin at {next}"),
        )),
    }
}

/// The error of a file that is not what it should be.
pub(super) fn damaged(path: &str, offset: usize, what: impl std::fmt::Display) -> Error {
    Error::refused(format!("{path} at byte {offset}: {what}")).advice(
        "compare the source's version with those that are supported; if it is one of them, the file is damaged in the \
         source's own storage: bring it back from a copy, or drop what it belongs to",
    )
}
