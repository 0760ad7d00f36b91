//! Commits and how one follows another.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::damage::Damage;
use super::envelope::{self, Kind};
use super::layout;
use crate::error::{Error, Result};
use crate::pb::log::{ChannelRange, Commit};
use crate::position::{Position, Seq};

/// A BLAKE3 digest.
pub type Digest = [u8; blake3::OUT_LEN];

/// The digest of a whole object.
pub fn digest(bytes: &[u8]) -> Digest {
    blake3::hash(bytes).into()
}

/// A commit with the digest of its object, which the next commit must name.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// What it says.
    pub commit: Commit,
    /// Of the whole object.
    pub digest: Digest,
}

impl Sealed {
    /// Its number.
    pub fn seq(&self) -> Seq {
        Seq(self.commit.seq)
    }
}

/// The object of a commit.
pub fn seal(commit: Commit) -> (Bytes, Sealed) {
    let bytes = envelope::seal(Kind::Commit, &commit);
    let digest = digest(&bytes);
    (bytes, Sealed { commit, digest })
}

/// The commit in slot `seq`.
pub fn open(seq: Seq, bytes: Bytes) -> Result<Sealed, Damage> {
    let key = layout::commit(seq);
    let digest = digest(&bytes);
    let commit: Commit = envelope::open(Kind::Commit, &key, bytes)?;
    if commit.seq != seq.0 {
        return Err(Damage::new(&key, None, format!("is commit {}", commit.seq)));
    }
    Ok(Sealed { commit, digest })
}

/// Whether `next` may stand after `previous` (none: at the beginning of a log). Writers check it before they write,
/// readers before they believe.
pub fn follows(previous: Option<&Sealed>, next: &Commit) -> Result<()> {
    check(previous, next).map_err(|why| {
        let after = previous.map_or("the beginning".into(), |previous| format!("commit {}", previous.seq()));
        Error::refused(format!("commit {} does not follow {after}: {why}", next.seq)).advice(
            "these are not the objects of one log: bring the right ones back from a copy of the bucket",
        )
    })
}

fn check(previous: Option<&Sealed>, next: &Commit) -> Result<(), String> {
    ranges_are_sound(next)?;
    objects_are_named(previous.map(|previous| &previous.commit), next)?;
    let Some(Sealed { commit: last, digest }) = previous else {
        return begins(next);
    };
    expect("number", &next.seq, &last.seq.saturating_add(1))?;
    if next.previous_digest != digest[..] {
        return Err("it names another commit before it".into());
    }
    match next.epoch.cmp(&last.epoch) {
        std::cmp::Ordering::Less => Err(format!("its epoch {} is lower than {}", next.epoch, last.epoch))?,
        std::cmp::Ordering::Equal if next.writer != last.writer => Err("another writer has the same epoch")?,
        std::cmp::Ordering::Equal if next.fence => Err("a fence needs an epoch of its own")?,
        std::cmp::Ordering::Greater if !next.fence => Err("its epoch does not begin with a fence")?,
        _ => {}
    }
    for (what, next, last) in [
        ("watermark", next.watermark, last.watermark),
        ("beginning of restores", next.opens_at, last.opens_at),
        ("etcd revision", next.etcd_revision.max(0) as u64, last.etcd_revision.max(0) as u64),
    ] {
        if next < last {
            return Err(format!("its {what} {next} lies before {last}"));
        }
    }
    if next.source != last.source {
        return Err(format!("it comes from {:?}, not from {:?}", next.source, last.source));
    }
    if next.catalog.is_none() && last.catalog.is_some() {
        return Err("it names no catalog".into());
    }
    next.channels.iter().try_for_each(|range| continues(last, next, range))?;
    if next.fence { is_only_a_fence(last, next) } else { Ok(()) }
}

fn begins(first: &Commit) -> Result<(), String> {
    expect("number", &first.seq, &1)?;
    if !first.previous_digest.is_empty() || first.fence {
        return Err("it speaks of a commit before it".into());
    }
    match first.channels.iter().find(|range| !range.opened) {
        Some(range) => Err(format!("channel {} goes on from nothing", range.channel)),
        None => Ok(()),
    }
}

fn expect(what: &str, found: &u64, right: &u64) -> Result<(), String> {
    if found == right { Ok(()) } else { Err(format!("its {what} is {found} instead of {right}")) }
}

fn ranges_are_sound(commit: &Commit) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for range in &commit.channels {
        let name = &range.channel;
        match (range.start, range.end) {
            (Some(start), Some(end)) if Position::from(start) <= Position::from(end) => {}
            _ => return Err(format!("channel {name} has no range")),
        }
        if !seen.insert(name) {
            return Err(format!("channel {name} stands in it twice"));
        }
    }
    Ok(())
}

/// A commit can name nothing but segments and catalogs of this log: those that were written for it, and the catalog of the
/// commit before. So what a pruned commit named, no later one needs, but for a catalog.
fn objects_are_named(previous: Option<&Commit>, commit: &Commit) -> Result<(), String> {
    let inherited = previous.and_then(|previous| previous.catalog.as_ref());
    let segments = commit.segments.iter().map(|object| (object, layout::parse_segment(&object.key)));
    let catalog = commit.catalog.iter().map(|object| (object, layout::parse_catalog(&object.key)));
    for (object, named) in segments.chain(catalog) {
        let Some(named) = named.filter(|_| object.digest.len() == blake3::OUT_LEN) else {
            return Err(format!("it names no object with \"{}\"", object.key.escape_debug()));
        };
        if named.seq.0 != commit.seq && Some(object) != inherited {
            return Err(format!("it names \"{}\", which was written for another", object.key));
        }
    }
    Ok(())
}

/// A channel goes on where it ended, or says that it does not: it was opened anew, or a hole is recorded.
fn continues(last: &Commit, next: &Commit, range: &ChannelRange) -> Result<(), String> {
    if range.opened {
        return Ok(());
    }
    let name = &range.channel;
    let Some(before) = last.channels.iter().find(|before| before.channel == *name) else {
        return Err(format!("channel {name} goes on from nothing"));
    };
    let is_hole = next
        .holes
        .iter()
        .any(|hole| hole.channel == *name && hole.start == before.end && hole.end == range.start);
    if before.end == range.start || is_hole {
        return Ok(());
    }
    let [found, right] = [range.start, before.end].map(|place| Position::from(place.unwrap_or_default()));
    Err(format!("channel {name} goes on at {found} instead of {right}"))
}

fn is_only_a_fence(last: &Commit, next: &Commit) -> Result<(), String> {
    let expected = fence(last);
    let found = Commit {
        seq: expected.seq,
        epoch: expected.epoch,
        writer: expected.writer.clone(),
        previous_digest: expected.previous_digest.clone(),
        wall_time_ms: expected.wall_time_ms,
        ..next.clone()
    };
    if found == expected { Ok(()) } else { Err("it is a fence that changes something".into()) }
}

/// The fence after `last`, as far as `last` says: everything stays as it is.
pub(super) fn fence(last: &Commit) -> Commit {
    Commit {
        fence: true,
        segments: Vec::new(),
        holes: Vec::new(),
        channels: last
            .channels
            .iter()
            .map(|range| ChannelRange { start: range.end, opened: false, ..range.clone() })
            .collect(),
        ..last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Verdict;
    use crate::pb::log::{Hole, ObjectRef, SourceIdentity};

    fn range(channel: &str, start: i64, end: i64, opened: bool) -> ChannelRange {
        let position = |offset| Some(Position::offset(offset).into());
        ChannelRange {
            channel: channel.into(),
            start: position(start),
            end: position(end),
            opened,
            ..Default::default()
        }
    }

    fn first() -> Sealed {
        let commit = Commit {
            seq: 1,
            epoch: 1,
            writer: Bytes::from_static(b"one"),
            channels: vec![range("a", 0, 5, true), range("b", 3, 3, true)],
            watermark: 10,
            opens_at: 10,
            etcd_revision: 4,
            source: Some(SourceIdentity::default()),
            ..Default::default()
        };
        seal(commit).1
    }

    fn second() -> Commit {
        Commit {
            seq: 2,
            previous_digest: Bytes::copy_from_slice(&first().digest),
            channels: vec![range("a", 5, 9, false), range("b", 3, 3, false)],
            watermark: 12,
            ..first().commit
        }
    }

    fn the_fence() -> Commit {
        Commit {
            seq: 2,
            epoch: 2,
            writer: Bytes::from_static(b"two"),
            previous_digest: Bytes::copy_from_slice(&first().digest),
            ..fence(&first().commit)
        }
    }

    #[test]
    fn what_goes_on_follows() {
        follows(None, &first().commit).unwrap();
        follows(Some(&first()), &second()).unwrap();
        follows(Some(&first()), &the_fence()).unwrap();
        let fewer = Commit { channels: vec![range("a", 5, 5, false)], ..second() };
        follows(Some(&first()), &fewer).unwrap();
        let opened = Commit { channels: vec![range("c", 0, 2, true), range("a", 7, 8, true)], ..second() };
        follows(Some(&first()), &opened).unwrap();
        let hole = Hole {
            channel: "a".into(),
            start: Some(Position::offset(5).into()),
            end: Some(Position::offset(7).into()),
            reason: String::new(),
        };
        let known_gap = Commit { channels: vec![range("a", 7, 9, false)], holes: vec![hole], ..second() };
        follows(Some(&first()), &known_gap).unwrap();
    }

    #[test]
    fn what_does_not_go_on_is_refused_with_the_reason() {
        let named = |key: &str| ObjectRef {
            key: key.into(),
            digest: Bytes::from_static(&[0; 32]),
            ..Default::default()
        };
        let catalog_of_first = named(&layout::catalog(layout::Named::new(1, Seq(1), &[0; 32])));
        let of_first = named(&layout::segment(layout::Named::new(1, Seq(1), &[0; 32])));
        for (commit, reason) in [
            (Commit { seq: 3, ..second() }, "its number is 3 instead of 2"),
            (Commit { previous_digest: Bytes::new(), ..second() }, "another commit before it"),
            (Commit { epoch: 0, ..second() }, "epoch 0 is lower"),
            (Commit { epoch: 2, ..second() }, "does not begin with a fence"),
            (Commit { writer: Bytes::from_static(b"two"), ..second() }, "another writer"),
            (Commit { fence: true, ..second() }, "a fence needs an epoch"),
            (Commit { watermark: 9, ..second() }, "watermark 9 lies before 10"),
            (Commit { opens_at: 9, ..second() }, "beginning of restores 9 lies before 10"),
            (Commit { etcd_revision: 3, ..second() }, "etcd revision 3 lies before 4"),
            (Commit { source: None, ..second() }, "comes from None"),
            (
                Commit { channels: vec![range("a", 6, 9, false)], ..second() },
                "channel a goes on at 6 instead of 5",
            ),
            (
                Commit { channels: vec![range("a", 4, 9, false)], ..second() },
                "channel a goes on at 4 instead of 5",
            ),
            (
                Commit { channels: vec![range("c", 0, 9, false)], ..second() },
                "channel c goes on from nothing",
            ),
            (Commit { channels: vec![range("a", 5, 4, false)], ..second() }, "channel a has no range"),
            (
                Commit { channels: vec![range("a", 5, 5, false); 2], ..second() },
                "channel a stands in it twice",
            ),
            (Commit { segments: vec![named("../x")], ..second() }, "names no object with \"../x\""),
            (Commit { segments: vec![of_first.clone()], ..second() }, "which was written for another"),
            (Commit { catalog: Some(catalog_of_first), ..second() }, "which was written for another"),
            (Commit { watermark: 11, ..the_fence() }, "a fence that changes something"),
            (Commit { channels: second().channels, ..the_fence() }, "a fence that changes something"),
        ] {
            let error = follows(Some(&first()), &commit).unwrap_err();
            assert!(error.message.contains(reason), "{error} instead of {reason}");
            assert_eq!(error.verdict, Verdict::Refused);
        }
        for (commit, reason) in [
            (second(), "its number is 2 instead of 1"),
            (Commit { fence: true, ..first().commit }, "speaks of a commit before it"),
            (
                Commit { channels: vec![range("a", 0, 9, false)], ..first().commit },
                "channel a goes on from nothing",
            ),
        ] {
            let error = follows(None, &commit).unwrap_err();
            assert!(error.message.contains(reason), "{error} instead of {reason}");
        }
    }

    #[test]
    fn a_commit_in_the_slot_of_another_is_named() {
        let (bytes, _) = seal(first().commit);
        let damage = open(Seq(2), bytes).unwrap_err();
        assert_eq!(damage.to_string(), "object commits/00000000000000000002.pb is commit 1");
    }
}
