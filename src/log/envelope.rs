//! The envelope of small objects: magic, version, a protobuf message, and the BLAKE3 digest of all that.
//!
//! The digest is checked first, so that damage is never taken for a later version. Whatever later versions put inside,
//! magic, version and digest keep their places.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::damage::Damage;

/// The format version that this release writes, and the newest that it reads.
pub const VERSION: u32 = 1;

const HEAD: usize = 8;
const DIGEST: usize = blake3::OUT_LEN;

/// What is in an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `pb::Commit`
    Commit,
    /// `pb::Catalog`
    Catalog,
    /// `pb::Checkpoint`
    Checkpoint,
    /// `pb::BaseManifest`
    Base,
    /// `pb::Floor`
    Floor,
    /// `pb::RestorePoint`
    RestorePoint,
    /// `pb::ArchiveManifest`
    ArchiveManifest,
}

impl Kind {
    /// The first four bytes.
    pub fn magic(self) -> [u8; 4] {
        match self {
            Kind::Commit => *b"TDCM",
            Kind::Catalog => *b"TDCT",
            Kind::Checkpoint => *b"TDCP",
            Kind::Base => *b"TDBS",
            Kind::Floor => *b"TDFL",
            Kind::RestorePoint => *b"TDRP",
            Kind::ArchiveManifest => *b"TDAM",
        }
    }
}

/// The object's bytes.
pub fn seal(kind: Kind, message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD + message.encoded_len() + DIGEST);
    bytes.put_slice(&kind.magic());
    bytes.put_u32_le(VERSION);
    message.encode_raw(&mut bytes);
    let digest = blake3::hash(&bytes);
    bytes.put_slice(digest.as_bytes());
    bytes.freeze()
}

/// The message of the object `key`.
pub fn open<M: Message + Default>(kind: Kind, key: &str, bytes: Bytes) -> Result<M, Damage> {
    let Some((sealed, digest)) =
        bytes.split_last_chunk::<DIGEST>().filter(|(sealed, _)| sealed.len() >= HEAD)
    else {
        let message = format!("is cut short: {} bytes, at least {} are needed", bytes.len(), HEAD + DIGEST);
        return Err(Damage::new(key, bytes.len(), message));
    };
    if blake3::hash(sealed) != *digest {
        let message =
            format!("is damaged: its {} bytes do not have the digest that they end with", bytes.len());
        return Err(Damage::new(key, None, message));
    }
    check_head(kind.magic(), &format!("{kind:?}"), key, sealed)?;
    M::decode(bytes.slice(HEAD..sealed.len()))
        .map_err(|error| Damage::new(key, HEAD, format!("holds no {kind:?}: {error}")))
}

/// Checks magic and version of an object that has its digest.
pub(super) fn check_head(magic: [u8; 4], kind: &str, key: &str, bytes: &[u8]) -> Result<(), Damage> {
    let Some((head, version)) =
        bytes.split_first_chunk::<4>().and_then(|(magic, rest)| Some((magic, rest.first_chunk::<4>()?)))
    else {
        return Err(Damage::new(key, bytes.len(), "is cut short within its first 8 bytes"));
    };
    if *head != magic {
        return Err(Damage::new(key, 0, format!("is no {kind}: it begins with \"{}\"", head.escape_ascii())));
    }
    match u32::from_le_bytes(*version) {
        VERSION => Ok(()),
        version => Err(Damage::newer(key, version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::log::Checkpoint;
    use proptest::prelude::*;

    fn checkpoint(n: u64, incomplete: Vec<String>) -> Checkpoint {
        Checkpoint { n, log_id: "a log".into(), incomplete, ..Default::default() }
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(n: u64, incomplete: Vec<String>) {
            let sealed = checkpoint(n, incomplete);
            let opened: Checkpoint = open(Kind::Checkpoint, "k", seal(Kind::Checkpoint, &sealed)).unwrap();
            prop_assert_eq!(opened, sealed);
        }

        #[test]
        fn any_bytes_at_all_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(open::<Checkpoint>(Kind::Checkpoint, "k", bytes.into()).is_err());
        }
    }

    #[test]
    fn an_object_of_another_kind_is_named_for_what_it_is() {
        let sealed = seal(Kind::Catalog, &checkpoint(1, vec![]));
        let damage = open::<Checkpoint>(Kind::Checkpoint, "readers/a/1", sealed).unwrap_err();
        assert_eq!(
            damage.to_string(),
            "object readers/a/1 is no Checkpoint: it begins with \"TDCT\" (at byte 0)"
        );
    }

    #[test]
    fn a_later_version_is_refused_by_its_number_and_not_taken_for_damage() {
        let mut bytes = seal(Kind::Checkpoint, &checkpoint(1, vec![])).to_vec();
        bytes.truncate(bytes.len() - DIGEST);
        bytes[4] = 2;
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        let error =
            crate::error::Error::from(open::<Checkpoint>(Kind::Checkpoint, "k", bytes.into()).unwrap_err());
        assert!(error.message.contains("format version 2; this release reads version 1"), "{error}");
        assert!(error.advice.unwrap().contains("update"));
        assert_eq!(error.verdict, crate::error::Verdict::Refused);
    }
}
