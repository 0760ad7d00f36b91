//! The replayer: tail, plan, apply, checkpoint.
//!
//! Rows run in lanes, one for each virtual channel; definitions run in order for each collection. A definition waits for
//! the rows before it, and the rows after it wait for it where they need it. A change that takes a name away waits for
//! everything. [`journal`] says how far the target is, and what a start after a crash applies again: there, inserts go
//! out as upserts ("safe mode"), so that rows which are in the target already stay single.
//!
//! Two replayers on one task cannot both write: writes need a [`lease`], which checkpoints renew. Nor does a replay touch what
//! it has not created: [`ownership`].
//!
//! Named changes can be left out ([`Skip`]). What they clash with, and what a replay to an instant would do ([`Plan`]), a
//! [`rehearsal`] finds: the same walk over the log without a target.
//!
//! A reader that is new begins with the newest base before its end ([`beginning`]): it is applied like a commit, and nothing
//! follows before all of it is in the target.
//!
//! What safe mode cannot know: a key that the source holds twice, once from before the stretch that is applied again
//! and once from within it, is left with the latter row only. Of commits that a recorder cut that is the newer one; the rows
//! of a base have no order of time.

mod batch;
mod beginning;
mod conflicts;
mod definer;
mod expiry;
mod fetch;
mod journal;
mod lane;
mod lanes;
mod lease;
mod naming;
mod opening;
mod ownership;
mod place;
mod plan;
mod rehearsal;
mod rows;
mod run;
mod segments;
mod shared;
mod skip;
mod steps;
mod window;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::log::store::Store;
use crate::position::Seq;
use crate::progress::ReplayProgress;
use crate::selection::{Renames, Selection};
use crate::target::Target;
use crate::tick::Tso;
use crate::trouble::Trouble;

pub use conflicts::Conflict;
pub use place::Place;
pub use plan::{AliasLeftOut, Estimate, Omitted, Plan, Planned, PlannedBase};
pub use rehearsal::Depth;
pub use skip::Skip;

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
    /// Where the log is.
    pub store: Store,
    /// Where changes go.
    pub target: Arc<dyn Target>,
    /// Name under which positions are kept: that of the task.
    pub reader: String,
    /// Where it ends.
    pub until: Until,
    /// The collections that are replayed.
    pub selection: Selection,
    /// What they are called at the target.
    pub renames: Renames,
    /// What is left out of it.
    pub skip: Skip,
    /// Whether a replay to an instant begins without reading first all that it will apply: damage is found where it stands.
    pub unchecked: bool,
}

impl Replayer {
    /// What a replay to an instant would do now, found without changing anything. Refused: an instant that the log does
    /// not hold, changes left out that clash with others or that are not there. `show` gets each commit and the last.
    pub async fn plan(&self, to: Tso, depth: Depth, show: impl FnMut(Seq, Seq)) -> Result<Plan> {
        plan::plan(self, to, depth, show).await
    }

    /// Replays until its end, until cancelled (`Ok`, with nothing in flight if the target answers in time) or until a
    /// person must act. What may pass by itself is retried for ever, visibly.
    pub async fn run(
        self,
        progress: &watch::Sender<ReplayProgress>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let mut trouble = Trouble::new(progress, "opening");
        let run = loop {
            let opened = tokio::select! {
                opened = run::Run::open(&self, progress) => opened,
                () = cancel.cancelled() => return Ok(()),
            };
            match opened {
                Ok(run) => break run,
                Err(error) => tokio::select! {
                    waited = trouble.wait(error) => waited?,
                    () = cancel.cancelled() => return Ok(()),
                },
            }
        };
        trouble.over();
        run.run(cancel).await
    }
}
