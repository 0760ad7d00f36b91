//! The shard of a key, as Milvus' proxies choose it: murmur3 of an Int64, CRC-32 of the beginning of a VarChar.

use crate::error::Result;
use crate::rows::Key;
use crate::source::segments::{Segment, SegmentReader};

/// As many bytes of a VarChar count.
const BYTES_THAT_COUNT: usize = 100;

/// The number of the shard, of so many, to which the first key of a segment belongs: that of a row, or a deleted one.
pub async fn of_first_key(
    reader: &SegmentReader<'_>,
    segment: &Segment,
    shards: usize,
) -> Result<Option<usize>> {
    let row = reader.first_keys().await?.and_then(|keys| keys.iter().next());
    let key = match (row, segment.deltas.first()) {
        (Some(key), _) => Some(key),
        (None, Some(file)) => reader.deleted(file).await?.keys.iter().next(),
        (None, None) => None,
    };
    Ok(key.map(|key| of(&key, shards)))
}

/// The number of the shard of a key.
pub fn of(key: &Key, shards: usize) -> usize {
    let hash = match key {
        Key::Int(key) => {
            murmur3::murmur3_32(&mut &key.to_le_bytes()[..], 0).unwrap_or_default() & 0x7fff_ffff
        }
        Key::Text(key) => {
            let bytes = key.as_bytes();
            crc32fast::hash(bytes.get(..BYTES_THAT_COUNT).unwrap_or(bytes))
        }
    };
    hash as usize % shards.max(1)
}
