//! Reads the log ahead of the replayer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::error::{Error, Result};
use crate::log::reader::Follower;
use crate::pb::log::{Commit, Record};
use crate::progress::ReplayProgress;
use crate::tick::Tso;
use crate::trouble::Trouble;

/// Segments read ahead: they take memory.
pub const AHEAD: usize = 2;
/// How often the log is asked for its next commit.
const POLL: Duration = Duration::from_millis(100);

/// A segment of a commit, or a commit without one.
pub struct Fetched {
    /// The commit.
    pub commit: Arc<Commit>,
    /// Whether it is the commit's last segment.
    pub last: bool,
    /// The records of the segment, in order.
    pub records: Vec<Record>,
    /// Bytes of the segment.
    pub bytes: u64,
}

/// Reads commit after commit, segment by segment, until nobody listens or the log cannot be read any further. `first` stands
/// for the commit after which the follower begins.
pub async fn follow(
    first: Option<Commit>,
    mut follower: Follower,
    fetched: mpsc::Sender<Result<Fetched>>,
    progress: watch::Sender<ReplayProgress>,
) {
    let mut trouble = Trouble::new(&progress, "reading the log");
    let mut reading = first.map(Reading::of);
    loop {
        let next = match fetch(&mut follower, &mut reading).await {
            Ok(next) => next,
            Err(error) => match trouble.wait(error).await {
                Ok(()) => continue,
                Err(error) => return drop(fetched.send(Err(error)).await),
            },
        };
        trouble.over();
        match next {
            Some(next) => {
                let watermark = Tso(next.commit.watermark);
                progress.send_modify(|progress| progress.log_to = progress.log_to.max(watermark));
                if fetched.send(Ok(next)).await.is_err() {
                    return;
                }
            }
            None => tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = fetched.closed() => return,
            },
        }
    }
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

/// The next segment; `reading` keeps its commit until all have been read.
async fn fetch(follower: &mut Follower, reading: &mut Option<Reading>) -> Result<Option<Fetched>> {
    if reading.is_none() {
        let next = follower.next().await?;
        *reading = next.map(|sealed| Reading::of(sealed.commit));
    }
    let Some(Reading { commit, next }) = reading else { return Ok(None) };
    check_whole(commit)?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    if let Some(reference) = commit.segments.get(*next) {
        records = follower.reader().segment(reference).await?.records;
        bytes = reference.length;
    }
    *next += 1;
    let (commit, last) = (commit.clone(), *next >= commit.segments.len());
    if last {
        *reading = None;
    }
    Ok(Some(Fetched { commit, last, records, bytes }))
}

/// Nothing goes on beyond a hole.
pub fn check_whole(commit: &Commit) -> Result<()> {
    let Some(hole) = commit.holes.first() else { return Ok(()) };
    let (seq, channel, reason) = (commit.seq, &hole.channel, &hole.reason);
    Err(Error::refused(format!("commit {seq} records a hole on channel {channel}: {reason}")))
}
