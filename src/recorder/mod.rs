//! The recorder: pull, cut, store, commit.
//!
//! A cut at a watermark W holds exactly the changes with TSO in `(W before, W]`, and it is complete when
//! 1. every channel that matters has ticked >= W, so that all its messages up to W have been read;
//! 2. after that etcd was read linearizably, so that all definitions up to W have been seen (a source holds its ticks
//!    back below a definition change in progress);
//! 3. the channels of every collection that etcd then shows are among those of rule 1.
//!
//! Messages above W wait in memory for a later cut; the commit's positions point at the first of them, and a restart
//! reads from there and leaves out what is at or below W. Nothing is acknowledged to the queue: the log's commits
//! alone say what is recorded.

mod base;
mod channels;
mod committer;
mod compare;
mod content;
mod cut;
mod definitions;
mod opening;
mod origin;
mod reading;
mod requests;
mod session;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::log::store::Store;
use crate::position::Channel;
use crate::progress::RecordProgress;
use crate::selection::Selection;
use crate::source::{CatalogSource, Queue, Storage, milvus::SourceMilvus};
use crate::tick::Tso;
use crate::trouble::Trouble;

pub use base::check_storage;
pub use opening::check_replicate_channel;
pub use origin::{check_origin, newest};

/// etcd tells which TSOs the source has reserved, a few seconds ahead of those it has given out.
const RESERVED_MS: u64 = 5_000;

/// Queues date messages by their producers' clocks: a position sought by time is taken this much earlier.
const CLOCK_SLACK_MS: u64 = 60_000;

/// Where a new log begins. A log that exists is continued from its last commit, whatever is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With all rows of every collection that exists.
    Earliest,
    /// With the rows that come from now on.
    Now,
    /// With the rows after a TSO.
    After(Tso),
}

/// What a recorder works with.
pub struct Recorder {
    /// The source's rows.
    pub queue: Arc<dyn Queue>,
    /// The source's definitions.
    pub catalog: Box<dyn CatalogSource>,
    /// The source itself, for what etcd does not show; none: altered properties are missed on Milvus 2.3.
    pub milvus: Option<SourceMilvus>,
    /// The channel of requests that etcd does not date; none: flushes are not seen.
    pub replicate_channel: Option<Channel>,
    /// Where the log is.
    pub store: Store,
    /// Where rows are that the queue no longer holds; none: where it lost the beginning of a collection, a log that should
    /// hold all its rows is refused.
    pub storage: Option<Storage>,
    /// Where a new log begins.
    pub start: Start,
    /// The collections that are recorded.
    pub selection: Selection,
}

impl Recorder {
    /// Records until cancelled (then everything that a cut can hold is committed: `Ok`) or until a person must act.
    /// What may pass by itself is retried for ever, visibly.
    pub async fn run(
        mut self,
        progress: &watch::Sender<RecordProgress>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let mut trouble = Trouble::new(progress, "opening");
        // Over all tries: a catalog tells each change once.
        let mut newest = Tso::ZERO;
        let session = loop {
            let opened = tokio::select! {
                opened = opening::open(&mut self, &mut newest, progress, &cancel) => opened,
                () = cancel.cancelled() => return Ok(()),
            };
            match opened {
                Ok(session) => break session,
                Err(error) => tokio::select! {
                    waited = trouble.wait(error) => waited?,
                    () = cancel.cancelled() => return Ok(()),
                },
            }
        };
        trouble.over();
        session.run(self).await
    }
}
