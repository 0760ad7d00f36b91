//! The worker of one lane: decodes, gathers, writes, tries again.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::change::RowChange;
use crate::error::{Error, Result};
use crate::target::Mode;
use crate::trouble::Trouble;

use super::batch::{Batch, Rewritten};
use super::naming::Destination;
use super::rows;
use super::shared::Shared;
use super::steps::RowMessage;

/// Rows for one lane.
pub struct Job {
    /// Messages, in order.
    pub messages: Vec<RowMessage>,
    /// Where they go.
    pub destination: Arc<Destination>,
    /// Whether they may be there already.
    pub safe: bool,
    /// Held until they are in the target.
    pub done: Done,
}

/// The memory that a job takes, and its commit's count of it. Whoever fails cancels `stop` before letting go of it.
pub struct Done {
    _memory: OwnedSemaphorePermit,
    _commit: TaskTrackerToken,
    stop: CancellationToken,
}

impl Done {
    /// Of a job that takes this memory and belongs to this commit.
    pub fn new(memory: OwnedSemaphorePermit, commit: TaskTrackerToken, stop: CancellationToken) -> Done {
        Done { _memory: memory, _commit: commit, stop }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stop.cancel();
        }
    }
}

/// Writes jobs in order until there are no more, or until a person must act.
pub async fn run(shared: Arc<Shared>, mut jobs: mpsc::Receiver<Job>, rewritten: Arc<Mutex<Rewritten>>) {
    let mut rewritten = rewritten.lock().await;
    while let Some(first) = jobs.recv().await {
        let mut worker = Worker {
            shared: &shared,
            batch: Batch::new(&first.destination.key_field),
            destination: first.destination.clone(),
            done: Vec::new(),
        };
        if let Err(error) = worker.take_all(first, &mut jobs, &mut rewritten).await {
            shared.fail(error);
            return;
        }
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    batch: Batch,
    destination: Arc<Destination>,
    done: Vec<Done>,
}

impl Worker<'_> {
    /// Takes a job and those that wait behind it, and writes them.
    async fn take_all(
        &mut self,
        first: Job,
        jobs: &mut mpsc::Receiver<Job>,
        rewritten: &mut Rewritten,
    ) -> Result<()> {
        self.take(first, rewritten).await?;
        while let Ok(next) = jobs.try_recv() {
            self.take(next, rewritten).await?;
        }
        self.flush().await
    }

    async fn take(&mut self, job: Job, rewritten: &mut Rewritten) -> Result<()> {
        let Job { messages, destination, safe, done } = job;
        self.done.push(done);
        self.destination = destination;
        for same_tso in messages.chunk_by(|one, other| one.tso == other.tso) {
            for change in rows::changes(same_tso, &self.destination)? {
                if safe {
                    for change in rewritten.safe(change, &self.destination.key_field)? {
                        self.push(change).await?;
                    }
                } else {
                    self.push(change).await?;
                }
            }
        }
        if self.batch.is_full() { self.flush().await } else { Ok(()) }
    }

    async fn push(&mut self, change: RowChange) -> Result<()> {
        if self.batch.conflicts(&change)? {
            self.write().await?;
        }
        self.batch.push(change)
    }

    /// Writes what has been gathered; the jobs that it came from are done.
    async fn flush(&mut self) -> Result<()> {
        self.write().await?;
        self.done.clear();
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        let (changes, counts) = self.batch.take();
        for change in changes {
            self.write_change(&change).await?;
        }
        self.shared.progress.send_modify(|progress| {
            progress.rows.inserted += counts.inserted;
            progress.rows.upserted += counts.upserted;
            progress.rows.deleted += counts.deleted;
        });
        Ok(())
    }

    async fn write_change(&self, change: &RowChange) -> Result<()> {
        let name = &self.destination.name;
        let mut trouble = Trouble::new(&self.shared.progress, format!("writing to {name}"));
        let mut mode = Mode::Plain;
        loop {
            let written = self.shared.stop.run_until_cancelled(async {
                let _room = self.shared.requests.acquire().await;
                self.shared.lease.guard(self.shared.target.write(name, change, mode)).await
            });
            match written.await.unwrap_or_else(|| Err(Error::retry("stopped"))) {
                Ok(()) => break,
                Err(error) => {
                    if !error.untouched {
                        mode = Mode::Safe;
                    }
                    self.shared.wait(&mut trouble, error).await?;
                }
            }
        }
        trouble.over();
        Ok(())
    }
}
