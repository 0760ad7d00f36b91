//! The replayer: tail, plan, apply, checkpoint.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::progress::ReplayProgress;
use crate::target::Target;
use crate::tick::Tso;

/// Where a replay ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never: it tails the log.
    Cancelled,
    /// With the last commit that the log has when the replay starts.
    Latest,
    /// With the last change whose TSO is at most this.
    Tso(Tso),
}

/// What a replayer works with.
pub struct Replayer {
    /// Where changes go.
    pub target: Arc<dyn Target>,
    /// Name under which positions are kept: that of the task.
    pub reader: String,
    /// Where it ends.
    pub until: Until,
}

impl Replayer {
    /// Replays until its end, until cancelled (`Ok`, at a clean checkpoint) or until a person must act.
    pub async fn run(self, progress: &watch::Sender<ReplayProgress>, cancel: CancellationToken) -> Result<()> {
        let _ = (progress, cancel);
        Ok(())
    }
}
