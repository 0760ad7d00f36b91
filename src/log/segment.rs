//! Segments: framed records, each with its CRC-32C, the whole with the BLAKE3 digest that the commit names.
//!
//! Reading checks the digest first; payloads are then slices of the object. The CRCs are there to say where an object
//! is damaged, and the trailer to show that it was finished.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use prost::encoding::{
    WireType, encode_key, encode_varint, encoded_len_varint, int32, message, uint32, uint64,
};

use super::commit::digest;
use super::damage::Damage;
use super::envelope::{VERSION, check_head};
use crate::pb::log::{self as pb, record::Body};
use crate::position::Position;
use crate::tick::Tso;

const MAGIC: [u8; 4] = *b"TDSG";
const HEAD: usize = 8;

/// Writes one segment into one buffer.
pub struct SegmentWriter {
    buffer: Vec<u8>,
    records: u64,
    counts: pb::ObjectRef,
}

impl SegmentWriter {
    /// A segment without records.
    pub fn new(header: pb::SegmentHeader) -> SegmentWriter {
        let mut buffer = Vec::new();
        buffer.extend_from_slice(&MAGIC);
        buffer.put_u32_le(VERSION);
        let mut writer = SegmentWriter { buffer, records: 0, counts: pb::ObjectRef::default() };
        writer.frame(header.encoded_len(), |buffer| header.encode_raw(buffer));
        writer
    }

    /// Adds a message of the queue. `channel` counts in the header's list; `rows` are those it inserts or deletes.
    pub fn message(
        &mut self,
        channel: u32,
        position: Position,
        tso: Tso,
        msg_type: i32,
        payload: &[u8],
        rows: u64,
    ) {
        let message = MessageFields { channel, position: position.into(), tso: tso.0, msg_type, payload };
        let length = message.encoded_len();
        self.frame(1 + encoded_len_varint(length as u64) + length, |buffer| {
            encode_key(1, WireType::LengthDelimited, buffer);
            encode_varint(length as u64, buffer);
            message.encode(buffer);
        });
        self.counts.messages += 1;
        self.counts.rows = self.counts.rows.saturating_add(rows);
        self.count(tso.0);
    }

    /// Adds a definition. Definitions stand where they take effect among the messages.
    pub fn definition(&mut self, definition: &pb::Definition) {
        let length = definition.encoded_len();
        self.frame(1 + encoded_len_varint(length as u64) + length, |buffer| {
            message::encode(2, definition, buffer);
        });
        self.counts.definitions += 1;
        self.count(definition.tso);
    }

    /// Bytes so far.
    #[allow(clippy::len_without_is_empty, reason = "there is always a header")]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The object, and all that its commit says about it but the key.
    pub fn finish(mut self) -> (Bytes, pb::ObjectRef) {
        self.buffer.put_u32_le(0);
        self.buffer.put_u64_le(self.records);
        let bytes = Bytes::from(self.buffer);
        let reference = pb::ObjectRef {
            length: bytes.len() as u64,
            digest: Bytes::copy_from_slice(&digest(&bytes)),
            ..self.counts
        };
        (bytes, reference)
    }

    fn count(&mut self, tso: u64) {
        let first = self.records == 0;
        self.records += 1;
        self.counts.first_tso = if first { tso } else { self.counts.first_tso.min(tso) };
        self.counts.last_tso = self.counts.last_tso.max(tso);
    }

    /// Writes a frame in place: its length is known before, its CRC is put in after.
    fn frame(&mut self, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
        // A queue's message is far below this: Kafka and Pulsar themselves count its bytes in 31 bits.
        let stored = u32::try_from(length).unwrap_or(u32::MAX);
        self.buffer.reserve(8 + length);
        self.buffer.put_u32_le(stored);
        let crc_at = self.buffer.len();
        self.buffer.put_u32_le(0);
        write(&mut self.buffer);
        let (head, payload) = self.buffer.split_at_mut(crc_at + 4);
        debug_assert_eq!(payload.len(), length);
        head[crc_at..].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    }
}

/// The fields of `pb::Message`, written as prost writes them, without a copy of the payload in between.
struct MessageFields<'a> {
    channel: u32,
    position: pb::Position,
    tso: u64,
    msg_type: i32,
    payload: &'a [u8],
}

impl MessageFields<'_> {
    fn encoded_len(&self) -> usize {
        let payload = self.payload.len();
        field(self.channel != 0, uint32::encoded_len(1, &self.channel))
            + message::encoded_len(2, &self.position)
            + field(self.tso != 0, uint64::encoded_len(3, &self.tso))
            + field(self.msg_type != 0, int32::encoded_len(4, &self.msg_type))
            + field(payload != 0, 1 + encoded_len_varint(payload as u64) + payload)
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        if self.channel != 0 {
            uint32::encode(1, &self.channel, buffer);
        }
        message::encode(2, &self.position, buffer);
        if self.tso != 0 {
            uint64::encode(3, &self.tso, buffer);
        }
        if self.msg_type != 0 {
            int32::encode(4, &self.msg_type, buffer);
        }
        if !self.payload.is_empty() {
            encode_key(5, WireType::LengthDelimited, buffer);
            encode_varint(self.payload.len() as u64, buffer);
            buffer.extend_from_slice(self.payload);
        }
    }
}

/// Proto3 leaves out what has its default.
fn field(present: bool, length: usize) -> usize {
    if present { length } else { 0 }
}

/// A segment that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Whose it is, and the channels' names.
    pub header: pb::SegmentHeader,
    /// Its records, in order; each has a body.
    pub records: Vec<pb::Record>,
}

/// Reads the object `key`, which must be the one that `reference` describes.
pub fn read(key: &str, reference: &pb::ObjectRef, bytes: Bytes) -> Result<Segment, Damage> {
    if bytes.len() as u64 != reference.length {
        let message = format!("has {} bytes where its commit says {}", bytes.len(), reference.length);
        return Err(Damage::new(key, bytes.len(), message));
    }
    if digest(&bytes) != *reference.digest {
        let offset = parse(key, bytes).err().and_then(|damage| damage.offset);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        return Err(Damage::new(key, offset, "is not the object that its commit names: another digest"));
    }
    let segment = parse(key, bytes)?;
    let definitions =
        segment.records.iter().filter(|record| matches!(record.body, Some(Body::Definition(_)))).count()
            as u64;
    let messages = segment.records.len() as u64 - definitions;
    if (messages, definitions) != (reference.messages, reference.definitions) {
        return Err(Damage::new(
            key,
            None,
            format!(
                "has {messages} messages and {definitions} definitions where its commit says {} and {}",
                reference.messages, reference.definitions
            ),
        ));
    }
    Ok(segment)
}

fn parse(key: &str, bytes: Bytes) -> Result<Segment, Damage> {
    check_head(MAGIC, "Segment", key, &bytes)?;
    let mut frames = Frames { key, length: bytes.len(), rest: bytes.slice(HEAD..) };
    let Some((at, header)) = frames.next()? else {
        return Err(Damage::new(key, HEAD, "has no header"));
    };
    let header = pb::SegmentHeader::decode(header).map_err(|error| frames.no(at, "header", error))?;
    let mut records = Vec::new();
    while let Some((at, frame)) = frames.next()? {
        let record = pb::Record::decode(frame).map_err(|error| frames.no(at, "record", error))?;
        let known = match &record.body {
            Some(Body::Message(message)) => {
                message.position.is_some() && (message.channel as usize) < header.channels.len()
            }
            Some(Body::Definition(definition)) => definition.change.is_some(),
            None => false,
        };
        if !known {
            return Err(Damage::new(key, at, "has a record of a kind or channel that is not known here"));
        }
        records.push(record);
    }
    frames.finish(records.len() as u64)?;
    Ok(Segment { header, records })
}

/// Cuts an object into frames. Only what the object really holds is ever allocated.
struct Frames<'a> {
    key: &'a str,
    length: usize,
    rest: Bytes,
}

impl Frames<'_> {
    fn at(&self) -> usize {
        self.length - self.rest.len()
    }

    fn no(&self, at: usize, what: &str, error: prost::DecodeError) -> Damage {
        Damage::new(self.key, at, format!("holds no {what}: {error}"))
    }

    fn cut_short(&self) -> Damage {
        Damage::new(self.key, self.length, "is cut short")
    }

    /// The next frame and its offset; none at the mark of the end.
    fn next(&mut self) -> Result<Option<(usize, Bytes)>, Damage> {
        let at = self.at();
        let length = self.rest.try_get_u32_le().map_err(|_| self.cut_short())?;
        if length == 0 {
            return Ok(None);
        }
        let crc = self.rest.try_get_u32_le().map_err(|_| self.cut_short())?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.rest.len());
        let Some(length) = length else {
            return Err(Damage::new(self.key, at, "has a frame that is longer than the object"));
        };
        let payload = self.rest.split_to(length);
        if crc32c::crc32c(&payload) != crc {
            return Err(Damage::new(self.key, at, "has a frame whose CRC does not match"));
        }
        Ok(Some((at, payload)))
    }

    fn finish(mut self, records: u64) -> Result<(), Damage> {
        let at = self.at();
        let counted = self.rest.try_get_u64_le().map_err(|_| self.cut_short())?;
        if counted != records {
            return Err(Damage::new(
                self.key,
                at,
                format!("has {records} records where its end says {counted}"),
            ));
        }
        if self.rest.has_remaining() {
            return Err(Damage::new(self.key, self.at(), "goes on after its end"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "segments/1-1-00000000-0000-0000-0000-000000000000.seg";

    fn header() -> pb::SegmentHeader {
        pb::SegmentHeader { log_id: "log".into(), epoch: 1, seq: 1, channels: vec!["a".into(), "b".into()] }
    }

    fn position() -> impl Strategy<Value = pb::Position> {
        (any::<i64>(), any::<Option<u64>>(), any::<u32>()).prop_map(|(offset, ledger, batch)| pb::Position {
            offset,
            ledger,
            batch,
        })
    }

    fn record() -> impl Strategy<Value = pb::Record> {
        let message =
            (0u32..2, position(), any::<u64>(), any::<i32>(), prop::collection::vec(any::<u8>(), 0..400));
        prop_oneof![
            message.prop_map(|(channel, position, tso, r#type, payload)| Body::Message(pb::Message {
                channel,
                position: Some(position),
                tso,
                r#type,
                payload: payload.into(),
            })),
            (any::<u64>(), any::<bool>(), any::<i64>()).prop_map(|(tso, exact, id)| Body::Definition(
                pb::Definition {
                    tso,
                    exact,
                    change: Some(pb::definition::Change::DropCollection(pb::DropCollection { id })),
                }
            )),
        ]
        .prop_map(|body| pb::Record { body: Some(body) })
    }

    fn write(records: &[pb::Record]) -> (Bytes, pb::ObjectRef) {
        let mut writer = SegmentWriter::new(header());
        for record in records {
            match record.body.as_ref().unwrap() {
                Body::Message(m) => {
                    let position = m.position.unwrap().into();
                    writer.message(m.channel, position, Tso(m.tso), m.r#type, &m.payload, 3);
                }
                Body::Definition(definition) => writer.definition(definition),
            }
        }
        writer.finish()
    }

    /// The format's page, once more and without haste.
    fn write_slowly(records: &[pb::Record]) -> Vec<u8> {
        let frame = |payload: Vec<u8>| {
            [&(payload.len() as u32).to_le_bytes()[..], &crc32c::crc32c(&payload).to_le_bytes(), &payload]
                .concat()
        };
        let mut bytes = b"TDSG\x01\0\0\0".to_vec();
        bytes.extend(frame(header().encode_to_vec()));
        bytes.extend(records.iter().flat_map(|record| frame(record.encode_to_vec())));
        bytes.extend([0; 4]);
        bytes.extend((records.len() as u64).to_le_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(records in prop::collection::vec(record(), 0..20)) {
            let (bytes, reference) = write(&records);
            let segment = read(KEY, &reference, bytes).unwrap();
            prop_assert_eq!(&segment.records, &records);
            prop_assert_eq!(segment.header, header());
            prop_assert_eq!(reference.messages * 3, reference.rows);
            prop_assert_eq!(reference.messages + reference.definitions, records.len() as u64);
        }

        #[test]
        fn the_fast_way_writes_the_bytes_of_the_plain_way(records in prop::collection::vec(record(), 0..20)) {
            prop_assert_eq!(&write(&records).0[..], &write_slowly(&records)[..]);
        }

        #[test]
        fn any_bytes_at_all_are_refused_without_a_panic(tail: Vec<u8>) {
            let bytes = [b"TDSG\x01\0\0\0", &tail[..]].concat();
            prop_assert!(parse(KEY, bytes.into()).is_err());
        }

        #[test]
        fn even_without_the_digest_every_damaged_byte_is_found(records in prop::collection::vec(record(), 1..4), at: prop::sample::Index, bit in 0u8..8) {
            let (bytes, _) = write(&records);
            let mut damaged = bytes.to_vec();
            let at = at.index(damaged.len());
            damaged[at] ^= 1u8 << bit;
            let damage = parse(KEY, damaged.into()).unwrap_err();
            prop_assert!(damage.offset.is_some_and(|offset| offset <= at as u64 || at < 8), "{} for {}", damage, at);
        }
    }

    #[test]
    fn payloads_are_slices_of_the_object() {
        let payload = [7; 1000];
        let mut writer = SegmentWriter::new(header());
        writer.message(1, Position::offset(5), Tso(9), 400, &payload, 1);
        let (bytes, reference) = writer.finish();
        let segment = read(KEY, &reference, bytes.clone()).unwrap();
        let Some(Body::Message(message)) = &segment.records[0].body else { panic!("no message") };
        assert!(bytes.as_ptr_range().contains(&message.payload.as_ptr()));
    }

    #[test]
    fn a_frame_that_says_it_has_four_gigabytes_costs_nothing() {
        let damage = parse(KEY, Bytes::from_static(b"TDSG\x01\0\0\0\xff\xff\xff\xff....")).unwrap_err();
        assert_eq!(
            (damage.offset, damage.message.as_str()),
            (Some(8), "has a frame that is longer than the object")
        );
    }

    #[test]
    fn a_record_of_a_kind_that_is_not_known_is_not_passed_over() {
        let mut writer = SegmentWriter::new(header());
        writer.message(2, Position::offset(5), Tso(9), 400, b"", 0);
        let (bytes, reference) = writer.finish();
        let damage = read(KEY, &reference, bytes).unwrap_err();
        assert!(damage.message.contains("not known here"), "{damage}");
    }

    #[test]
    fn a_segment_of_a_later_version_is_refused_by_its_number() {
        let (bytes, reference) = write(&[]);
        let mut later = bytes.to_vec();
        later[4] = 9;
        let reference = pb::ObjectRef { digest: Bytes::copy_from_slice(&digest(&later)), ..reference };
        let damage = read(KEY, &reference, later.into()).unwrap_err();
        assert!(damage.message.contains("format version 9; this release reads version 1"), "{damage}");
    }
}
