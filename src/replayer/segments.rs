//! The log as a replay takes it: commit after commit, one segment at a time. A commit may have more than memory holds.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::log::reader::{Follower, LogReader};
use crate::pb::log::{Commit, ObjectRef, Record};

/// A segment of a commit, or a commit without one.
pub struct Fetched {
    /// The commit.
    pub commit: Arc<Commit>,
    /// The segment's number in it, from 0.
    pub number: u64,
    /// Whether it is the commit's last segment.
    pub last: bool,
    /// What names the segment.
    pub segment: Option<ObjectRef>,
    /// Its records, in order; none of one that was passed over.
    pub records: Vec<Record>,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Reads segment after segment.
pub struct Segments {
    follower: Follower,
    reading: Option<Reading>,
}

/// A commit whose segments are being read.
struct Reading {
    commit: Arc<Commit>,
    next: usize,
}

impl Reading {
    fn of(commit: Commit) -> Reading {
        Reading { commit: Arc::new(commit), next: 0 }
    }
}

impl Segments {
    /// Those of the commits that a follower will find. `first` stands for the commit after which it begins.
    pub fn new(first: Option<Commit>, follower: Follower) -> Segments {
        Segments { follower, reading: first.map(Reading::of) }
    }

    /// For the objects that commits name.
    pub fn reader(&self) -> &LogReader {
        self.follower.reader()
    }

    /// The commit of the next segment; none while it is not there.
    pub async fn commit(&mut self) -> Result<Option<Arc<Commit>>> {
        if self.reading.is_none() {
            let next = self.follower.next().await?;
            self.reading = next.map(|sealed| Reading::of(sealed.commit));
        }
        Ok(self.reading.as_ref().map(|reading| reading.commit.clone()))
    }

    /// The next segment. One that is not wanted is passed over without its object. After an error the same one is next.
    pub async fn next(&mut self, wanted: impl Fn(u64, &ObjectRef) -> bool) -> Result<Option<Fetched>> {
        self.commit().await?;
        let Some(Reading { commit, next }) = &mut self.reading else { return Ok(None) };
        let number = u64::try_from(*next).unwrap_or(u64::MAX);
        let segment = commit.segments.get(*next).cloned();
        let (mut records, mut bytes) = (Vec::new(), 0);
        if let Some(segment) = segment.as_ref().filter(|segment| wanted(number, segment)) {
            records = self.follower.reader().segment(segment).await?.records;
            bytes = segment.length;
        }
        *next += 1;
        let (commit, last) = (commit.clone(), *next >= commit.segments.len());
        if last {
            self.reading = None;
        }
        Ok(Some(Fetched { commit, number, last, segment, records, bytes }))
    }
}

/// Nothing goes on beyond a hole.
pub fn check_whole(commit: &Commit) -> Result<()> {
    let Some(hole) = commit.holes.first() else { return Ok(()) };
    let (seq, channel, reason) = (commit.seq, &hole.channel, &hole.reason);
    Err(Error::refused(format!("commit {seq} records a hole on channel {channel}: {reason}")))
}
