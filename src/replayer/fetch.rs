//! Reads the log ahead of the replayer.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::error::{Error, Result};
use crate::log::reader::Follower;
use crate::pb::log::{Commit, Record};
use crate::progress::ReplayProgress;
use crate::tick::Tso;
use crate::trouble::Trouble;

/// Commits read ahead: with their segments they take memory.
pub const AHEAD: usize = 2;
/// How often the log is asked for its next commit.
const POLL: Duration = Duration::from_millis(100);

/// A commit with what it names.
pub struct Fetched {
    /// The commit.
    pub commit: Commit,
    /// The records of its segments, in order.
    pub records: Vec<Record>,
    /// Bytes of its segments.
    pub bytes: u64,
}

/// Reads commit after commit until nobody listens or the log cannot be read any further.
pub async fn follow(
    mut follower: Follower,
    fetched: mpsc::Sender<Result<Fetched>>,
    progress: watch::Sender<ReplayProgress>,
) {
    let mut trouble = Trouble::new(&progress, "reading the log");
    let mut commit = None;
    loop {
        let next = match fetch(&mut follower, &mut commit).await {
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

/// The next commit with its records; `commit` keeps it until its segments have been read.
async fn fetch(follower: &mut Follower, commit: &mut Option<Commit>) -> Result<Option<Fetched>> {
    if commit.is_none() {
        *commit = follower.next().await?.map(|sealed| sealed.commit);
    }
    let Some(next) = commit.as_ref() else { return Ok(None) };
    check_whole(next)?;
    let mut records = Vec::new();
    let mut bytes = 0u64;
    for reference in &next.segments {
        records.extend(follower.reader().segment(reference).await?.records);
        bytes = bytes.saturating_add(reference.length);
    }
    Ok(commit.take().map(|commit| Fetched { commit, records, bytes }))
}

/// Nothing goes on beyond a hole.
pub fn check_whole(commit: &Commit) -> Result<()> {
    let Some(hole) = commit.holes.first() else { return Ok(()) };
    let (seq, channel, reason) = (commit.seq, &hole.channel, &hole.reason);
    Err(Error::refused(format!("commit {seq} records a hole on channel {channel}: {reason}")))
}
