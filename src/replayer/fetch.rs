//! Reads the log ahead of the replayer.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::error::Result;
use crate::pb::log::ObjectRef;
use crate::position::{LogPosition, Seq};
use crate::progress::ReplayProgress;
use crate::tick::Tso;
use crate::trouble::Trouble;

use super::segments::{Fetched, Segments, check_whole};

/// Segments read ahead: they take memory.
pub const AHEAD: usize = 2;
/// How often the log is asked for its next commit.
const POLL: Duration = Duration::from_millis(100);

/// Reads segment after segment, until nobody listens or the log cannot be read any further. Of those before `applied`
/// only the ones with definitions are read: names follow from them.
pub async fn follow(
    mut segments: Segments,
    applied: LogPosition,
    fetched: mpsc::Sender<Result<Fetched>>,
    progress: watch::Sender<ReplayProgress>,
) {
    let mut trouble = Trouble::new(&progress, "reading the log");
    loop {
        let next = match fetch(&mut segments, applied).await {
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

async fn fetch(segments: &mut Segments, applied: LogPosition) -> Result<Option<Fetched>> {
    let Some(commit) = segments.commit().await? else { return Ok(None) };
    check_whole(&commit)?;
    let is_applied =
        |number: u64| LogPosition::before_segment(Seq(commit.seq), number.saturating_add(1)) <= applied;
    segments.next(|number, segment: &ObjectRef| segment.definitions > 0 || !is_applied(number)).await
}
