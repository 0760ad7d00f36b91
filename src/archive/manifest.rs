//! Manifests: what they say and how one follows another.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::log::commit::{Digest, digest};
use crate::log::damage::Damage;
use crate::log::envelope::{self, Kind};
use crate::log::incomplete::Incomplete;
use crate::log::layout;
use crate::pb::log::{ArchiveFile, ArchiveKey, ArchiveManifest, Floor, ObjectRef, archive_key};
use crate::position::Seq;
use crate::rows::Key;
use crate::tick::Tso;

/// A manifest with the digest of its object, which the next one must name.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// What it says.
    pub manifest: ArchiveManifest,
    /// Of the whole object.
    pub digest: Digest,
}

impl Sealed {
    /// The last commit whose rows are archived.
    pub fn last(&self) -> Seq {
        Seq(self.manifest.last_seq)
    }

    /// What of its commits no replayer can apply.
    pub fn incomplete(&self) -> Incomplete {
        let ArchiveManifest { incomplete_since, incomplete, .. } = &self.manifest;
        Incomplete { since: Tso(*incomplete_since), what: incomplete.clone() }
    }
}

/// The object of a manifest.
pub fn seal(manifest: ArchiveManifest) -> (Bytes, Sealed) {
    let bytes = envelope::seal(Kind::ArchiveManifest, &manifest);
    let digest = digest(&bytes);
    (bytes, Sealed { manifest, digest })
}

/// The manifest in slot `n` of a log's archive.
pub fn open(log_id: &str, n: u64, bytes: Bytes) -> Result<Sealed, Damage> {
    let key = layout::manifest(n);
    let digest = digest(&bytes);
    let manifest: ArchiveManifest = envelope::open(Kind::ArchiveManifest, &key, bytes)?;
    if manifest.n != n {
        return Err(Damage::new(&key, None, format!("is manifest {}", manifest.n)));
    }
    if manifest.log_id != log_id {
        return Err(Damage::new(
            &key,
            None,
            format!("belongs to the log {}, not to {log_id}", manifest.log_id),
        ));
    }
    Ok(Sealed { manifest, digest })
}

/// Whether `next` may stand after `previous` (none: at the beginning, or at the floor where there is one). Writers check it
/// before they write, readers before they believe.
pub fn follows(previous: Option<&Sealed>, floor: Option<&Floor>, next: &ArchiveManifest) -> Result<()> {
    check(previous, floor, next).map_err(|why| {
        Error::refused(format!("manifest {} of the archive does not follow the one before: {why}", next.n))
            .advice("these are not the objects of one archive: bring the right ones back from a copy of the bucket")
    })
}

fn check(previous: Option<&Sealed>, floor: Option<&Floor>, next: &ArchiveManifest) -> Result<(), String> {
    let (n, first) = match (previous, floor) {
        (Some(Sealed { manifest, .. }), _) => {
            (manifest.n.saturating_add(1), manifest.last_seq.saturating_add(1))
        }
        // The first one that stays may also hold rows of commits that were pruned.
        (None, Some(floor)) => (floor.first_manifest, next.first_seq.clamp(1, floor.first_seq)),
        (None, None) => (1, 1),
    };
    for (what, found, right) in [("number", next.n, n), ("first commit", next.first_seq, first)] {
        if found != right {
            return Err(format!("its {what} is {found} instead of {right}"));
        }
    }
    let digest = previous.map_or(&[][..], |previous| &previous.digest[..]);
    let went = previous.is_none() && floor.is_some();
    if next.previous_digest != digest && !went {
        return Err("it names another manifest before it".into());
    }
    if next.last_seq < next.first_seq || next.commit_digest.len() != blake3::OUT_LEN {
        return Err("it names no commits".into());
    }
    next.files.iter().try_for_each(file_is_named)
}

/// A manifest can name nothing but files of its archive.
fn file_is_named(file: &ArchiveFile) -> Result<(), String> {
    let named = |object: &ObjectRef| {
        layout::is_archive_file(&object.key)
            && object.digest.len() == blake3::OUT_LEN
            && object.first_tso <= object.last_tso
    };
    match &file.object {
        Some(object) if named(object) && file.schema.is_some() => Ok(()),
        object => {
            let key = object.as_ref().map_or("", |object| &object.key);
            Err(format!("it names no file with \"{}\"", key.escape_debug()))
        }
    }
}

impl From<Key> for ArchiveKey {
    fn from(key: Key) -> ArchiveKey {
        ArchiveKey {
            key: Some(match key {
                Key::Int(key) => archive_key::Key::Int(key),
                Key::Text(key) => archive_key::Key::Text(key),
            }),
        }
    }
}
