//! From an entry of a ledger to the messages in it.

use bytes::{Buf, Bytes};
use prost::Message;
use pulsar::Payload;
use pulsar::proto::{CommandMessage, CompressionType, MessageMetadata};

use crate::error::{Error, Result};
use crate::message::{STREAMING_PROPERTY, streaming};
use crate::pb::pulsar::SingleMessageMetadata;
use crate::position::Position;

/// No batch is believed to be larger when it is unpacked.
const LARGEST: usize = 256 << 20;

/// The place of an entry in its topic. A topic is a list of ledgers with rising ids, each with entries from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub ledger: u64,
    pub entry: i64,
}

impl EntryId {
    /// The entry that a message stands in.
    pub fn of(position: Position) -> EntryId {
        EntryId { ledger: position.ledger.unwrap_or_default(), entry: position.offset }
    }

    /// Before the first entry of a ledger: where an empty topic is read from.
    pub fn is_beginning(self) -> bool {
        self.entry < 0
    }

    /// The place of one of its messages.
    pub fn message(self, batch: usize) -> Position {
        Position::entry(self.ledger, self.entry, u32::try_from(batch).unwrap_or(u32::MAX))
    }
}

/// What one producer wrote at once.
#[derive(Debug)]
pub(super) struct Entry {
    pub id: EntryId,
    pub messages: Vec<Bytes>,
}

impl Entry {
    /// Takes a message frame apart.
    pub fn read(command: &CommandMessage, payload: Payload) -> Result<Entry> {
        let id = &command.message_id;
        let entry = i64::try_from(id.entry_id).map_err(|_| odd("an entry with an impossible number"))?;
        let id = EntryId { ledger: id.ledger_id, entry };
        let messages =
            messages(payload).map_err(|error| error.context(format_args!("entry {}", id.message(0))))?;
        Ok(Entry { id, messages })
    }
}

fn messages(Payload { metadata, data }: Payload) -> Result<Vec<Bytes>> {
    if metadata.marker_type.is_some() {
        return Ok(vec![]); // the broker's own
    }
    if !metadata.encryption_keys.is_empty() {
        return Err(odd("an encrypted message"));
    }
    if metadata.num_chunks_from_msg.is_some_and(|chunks| chunks > 1) {
        return Err(odd("a message in chunks"));
    }
    let known = metadata.properties.iter().map(|property| property.key.as_str());
    check_properties(known)?;
    let data = unpack(&metadata, data)?;
    match metadata.num_messages_in_batch {
        Some(count) => batch(data, count),
        None => Ok(vec![data]),
    }
}

fn batch(mut data: Bytes, count: i32) -> Result<Vec<Bytes>> {
    let broken = || odd("a batch that ends too early");
    let mut messages = vec![];
    for _ in 0..count {
        let length = take(&mut data, 4).ok_or_else(broken)?.get_u32();
        let head = take(&mut data, length).ok_or_else(broken)?;
        let head = SingleMessageMetadata::decode(head).map_err(|_| odd("a batch without heads"))?;
        check_properties(head.properties.iter().map(|property| property.key.as_str()))?;
        let size = u32::try_from(head.payload_size).map_err(|_| broken())?;
        messages.push(take(&mut data, size).ok_or_else(broken)?);
    }
    Ok(messages)
}

fn take(data: &mut Bytes, length: u32) -> Option<Bytes> {
    let length = usize::try_from(length).ok()?;
    (length <= data.len()).then(|| data.split_to(length))
}

fn check_properties<'a>(mut keys: impl Iterator<Item = &'a str>) -> Result<()> {
    match keys.any(|key| key == STREAMING_PROPERTY) {
        true => Err(streaming(STREAMING_PROPERTY)),
        false => Ok(()),
    }
}

fn unpack(metadata: &MessageMetadata, data: Vec<u8>) -> Result<Bytes> {
    let kind = CompressionType::try_from(metadata.compression.unwrap_or_default());
    let size = usize::try_from(metadata.uncompressed_size.unwrap_or_default()).unwrap_or(usize::MAX);
    if size > LARGEST {
        return Err(odd(&format!("a batch of {size} bytes")));
    }
    let unpacked = match kind {
        Ok(CompressionType::None) => return Ok(data.into()),
        Ok(CompressionType::Zstd) => zstd::bulk::decompress(&data, size).ok(),
        Ok(CompressionType::Lz4) => lz4_flex::block::decompress(&data, size).ok(),
        Ok(other) => return Err(odd(&format!("compression {}", other.as_str_name()))),
        Err(_) => return Err(odd("an unknown compression")),
    };
    match unpacked.filter(|unpacked| unpacked.len() == size) {
        Some(unpacked) => Ok(unpacked.into()),
        None => Err(odd("a payload that cannot be unpacked")),
    }
}

fn odd(what: &str) -> Error {
    Error::refused(format!("{what}: no producer of Milvus writes such"))
        .advice("check that nothing but Milvus writes to its topics")
}
