//! Bases: the state after a commit, so that nothing before it is needed.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::commit::{self, Sealed};
use super::damage::Damage;
use super::envelope::{self, Kind};
use super::incomplete::Incomplete;
use super::layout;
use super::reader::LogReader;
use crate::error::Result;
use crate::pb::log as pb;
use crate::position::Seq;
use crate::tick::Tso;

/// A base.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// The commit whose state it holds: the next one follows it.
    pub after: Sealed,
    /// What makes that state out of nothing: definitions, then rows.
    pub segments: Vec<pb::ObjectRef>,
    /// The clock of whoever took it; for people.
    pub wall_time_ms: u64,
    /// What up to its commit no replayer can apply, so that it is not in it.
    pub incomplete: Incomplete,
}

impl Base {
    /// The commit whose state it holds.
    pub fn seq(&self) -> Seq {
        self.after.seq()
    }

    /// The instant whose state it holds.
    pub fn watermark(&self) -> Tso {
        Tso(self.after.commit.watermark)
    }

    /// It, as a commit that needs no other before it: what a replay begins with.
    pub fn as_commit(&self) -> pb::Commit {
        pb::Commit { segments: self.segments.clone(), ..self.after.commit.clone() }
    }
}

/// Refuses a base of which a listing shows that segments are missing, or not of their length. Their contents are checked when
/// they are read.
pub async fn check_stored(reader: &LogReader, base: &Base) -> Result<()> {
    let segments = base.segments.iter();
    let mut missing =
        segments.map(|segment| (segment.key.as_str(), segment.length)).collect::<BTreeMap<_, _>>();
    let (store, mut damage) = (reader.store(), None);
    let mut see = |key: &str, stored| {
        if let Some(length) = missing.remove(key)
            && !store.is_length_of(stored, length)
        {
            let why = format!("has {stored} bytes in the store where its base says {length}");
            damage.get_or_insert_with(|| Damage::new(key, None, why));
        }
    };
    store.scan(&layout::base_folder(base.seq()), None, &mut see).await?;
    let lost = missing.pop_first().map(|(key, _)| {
        Damage::new(key, None, format!("is missing; the base of commit {} names it", base.seq()))
    });
    match damage.or(lost) {
        Some(damage) => Err(damage.into()),
        None => Ok(()),
    }
}

/// The object of a base.
pub fn seal(log_id: &str, base: &Base) -> Bytes {
    let Base { after: Sealed { commit, digest }, segments, wall_time_ms, incomplete } = base.clone();
    let message = pb::BaseManifest {
        log_id: log_id.to_owned(),
        commit: Some(commit),
        commit_digest: Bytes::copy_from_slice(&digest),
        segments,
        wall_time_ms,
        incomplete_since: incomplete.since.0,
        incomplete: incomplete.what,
    };
    envelope::seal(Kind::Base, &message)
}

/// The base of commit `seq` of a log.
pub fn open(log_id: &str, seq: Seq, bytes: Bytes) -> Result<Base, Damage> {
    let key = layout::base(seq);
    let stored: pb::BaseManifest = envelope::open(Kind::Base, &key, bytes)?;
    let damage = |why: String| Damage::new(&key, None, why);
    if stored.log_id != log_id {
        return Err(damage(format!("belongs to the log {}, not to {log_id}", stored.log_id)));
    }
    let commit = stored.commit.unwrap_or_default();
    if commit.seq != seq.0 {
        return Err(damage(format!("is the base of commit {}", commit.seq)));
    }
    let digest = stored.commit_digest.first_chunk().copied();
    let digest: commit::Digest = digest.ok_or_else(|| damage("names no commit".into()))?;
    let foreign =
        stored.segments.iter().find(|segment| layout::parse_base_segment(&segment.key) != Some(seq));
    if let Some(foreign) = foreign {
        return Err(damage(format!(
            "names \"{}\", which is none of its segments",
            foreign.key.escape_debug()
        )));
    }
    let after = Sealed { commit, digest };
    let incomplete = Incomplete { since: Tso(stored.incomplete_since), what: stored.incomplete };
    Ok(Base { after, segments: stored.segments, wall_time_ms: stored.wall_time_ms, incomplete })
}
