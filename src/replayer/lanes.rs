//! Lanes: rows of different virtual channels are written side by side, those of one in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::catalog::CollectionId;
use crate::error::{Error, Result};

use super::batch::Rewritten;
use super::lane::{self, Done, Job};
use super::naming::Destination;
use super::shared::Shared;
use super::steps::{LaneKey, RowMessage};

/// Bytes of row messages in all lanes.
const BYTES: usize = 48 << 20;
/// Jobs that wait in one lane.
const JOBS: usize = 64;

struct Lane {
    jobs: mpsc::Sender<Job>,
    worker: AbortOnDropHandle<()>,
}

/// All lanes.
pub struct Lanes {
    shared: Arc<Shared>,
    memory: Arc<Semaphore>,
    lanes: BTreeMap<LaneKey, Lane>,
    rewritten: BTreeMap<LaneKey, Arc<tokio::sync::Mutex<Rewritten>>>,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(shared: Arc<Shared>) -> Lanes {
        Lanes {
            shared,
            memory: Arc::new(Semaphore::new(BYTES)),
            lanes: BTreeMap::new(),
            rewritten: BTreeMap::new(),
        }
    }

    /// Gives rows to a lane; waits while the lanes hold too much. `commit` counts them until they are in the target.
    pub async fn send(
        &mut self,
        key: LaneKey,
        messages: Vec<RowMessage>,
        destination: &Arc<Destination>,
        safe: bool,
        commit: &TaskTracker,
    ) -> Result<()> {
        let size = messages.iter().map(|message| message.payload.len()).sum::<usize>().clamp(1, BYTES);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let stop = self.shared.stop.clone();
        let room = stop.run_until_cancelled(self.memory.clone().acquire_many_owned(size)).await;
        let Some(Ok(memory)) = room else { return Err(self.shared.failure()) };
        let done = Done::new(memory, commit.token(), stop.clone());
        let job = Job { messages, destination: destination.clone(), safe, done };
        let lane = self.lanes.entry(key).or_insert_with_key(|key| {
            let (jobs, received) = mpsc::channel(JOBS);
            let rewritten = self.rewritten.entry(key.clone()).or_default().clone();
            let worker = tokio::spawn(lane::run(self.shared.clone(), received, rewritten));
            Lane { jobs, worker: AbortOnDropHandle::new(worker) }
        });
        match stop.run_until_cancelled(lane.jobs.send(job)).await {
            Some(Ok(())) => Ok(()),
            _ => Err(self.shared.failure()),
        }
    }

    /// Waits until everything that the lanes of a collection (none: all lanes) were given is in the target.
    pub async fn drain(&mut self, collection: Option<CollectionId>) -> Result<()> {
        let concerned = |key: &LaneKey| collection.is_none_or(|id| key.collection == id);
        let closing = self.lanes.extract_if(.., |key, _| concerned(key)).map(|(_, lane)| lane.worker);
        let workers = closing.collect::<Vec<_>>();
        for worker in workers {
            if let Err(died) = worker.await {
                self.shared.fail(Error::operator(format!("a lane died: {died}")));
            }
        }
        if self.shared.stop.is_cancelled() { Err(self.shared.failure()) } else { Ok(()) }
    }

    /// From here on no row can be in the target already.
    pub fn end_safe_mode(&mut self) {
        self.rewritten.clear();
    }
}
