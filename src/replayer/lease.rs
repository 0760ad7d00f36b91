//! The right to write into the target. A replayer has it for a while after each checkpoint that it stores; one that takes
//! over waits longer than that. So a replayer that slept finds that it was taken over before it writes anything, unless
//! neither clock of its machine went on meanwhile.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, Result};
use crate::log::checkpoint::Checkpoints;
use crate::pb::log as pb;
use crate::progress::ReplayProgress;
use crate::trouble::Trouble;

/// How long after a checkpoint was begun to be stored writes may begin.
const LEASE: Duration = Duration::from_secs(2);
/// After what time one that is at work stores a checkpoint although its place has not changed.
const RENEWED_AFTER: Duration = Duration::from_millis(1250);
/// How long one that takes over waits: what the other one has begun within its lease is over by then.
pub const TAKEN_OVER_AFTER: Duration = Duration::from_secs(3);

/// The lease of one replayer, and the checkpoints that renew it.
pub struct Lease {
    saves: Mutex<Saves>,
    held_since: watch::Sender<Option<Moment>>,
    progress: watch::Sender<ReplayProgress>,
}

/// By the clock that never jumps, and by the one that goes on while a machine is suspended.
#[derive(Clone, Copy)]
struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    fn now() -> Moment {
        Moment { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// A clock that was set back says nothing: then it is not.
    fn is_younger_than(self, age: Duration) -> bool {
        self.steady.elapsed() < age && self.wall.elapsed().is_ok_and(|elapsed| elapsed < age)
    }
}

struct Saves {
    checkpoints: Checkpoints,
    last: pb::Checkpoint,
}

impl Lease {
    /// Not held yet.
    pub fn new(
        checkpoints: Checkpoints,
        last: pb::Checkpoint,
        progress: &watch::Sender<ReplayProgress>,
    ) -> Arc<Lease> {
        let saves = Mutex::new(Saves { checkpoints, last });
        Arc::new(Lease { saves, held_since: watch::Sender::new(None), progress: progress.clone() })
    }

    /// Stores a checkpoint, which renews the lease. Cancel safe.
    pub async fn store(&self, checkpoint: pb::Checkpoint) -> Result<()> {
        let mut saves = self.saves.lock().await;
        saves.last = checkpoint;
        self.renew(&mut saves).await
    }

    /// Does a call that writes. None of its steps begins without the lease: it is waited for. `Fenced` when another
    /// replayer has taken over.
    pub async fn guard<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let mut call = pin!(call);
        loop {
            self.hold().await?;
            let step = poll_fn(|context| match self.is_younger_than(LEASE) {
                true => call.as_mut().poll(context).map(Some),
                false => Poll::Ready(None),
            });
            if let Some(done) = step.await {
                return done;
            }
        }
    }

    /// Comes back when a write may begin.
    async fn hold(&self) -> Result<()> {
        if self.is_younger_than(LEASE) {
            return Ok(());
        }
        let mut saves = self.saves.lock().await;
        let mut trouble = Trouble::new(&self.progress, "storing a checkpoint");
        while !self.is_younger_than(LEASE) {
            self.renew(&mut saves).await?;
            if !self.is_younger_than(LEASE) {
                let slow =
                    Error::retry(format!("it took longer than {LEASE:?}: nothing is written meanwhile"));
                trouble.wait(slow.advice("see why the log's store is so slow")).await?;
            }
        }
        Ok(())
    }

    /// Does work that writes, and keeps the lease meanwhile, so that no write has to wait for it.
    pub async fn kept_during<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            lost = self.keep() => Err(lost),
        }
    }

    async fn keep(&self) -> Error {
        loop {
            let held_since = *self.held_since.borrow();
            sleep_until(held_since.unwrap_or_else(Moment::now).steady + RENEWED_AFTER).await;
            let mut saves = self.saves.lock().await;
            if !self.is_younger_than(RENEWED_AFTER)
                && let Err(error) = self.renew(&mut saves).await
            {
                return error;
            }
        }
    }

    fn is_younger_than(&self, age: Duration) -> bool {
        self.held_since.borrow().is_some_and(|since| since.is_younger_than(age))
    }

    async fn renew(&self, saves: &mut Saves) -> Result<()> {
        let mut trouble = Trouble::new(&self.progress, "storing a checkpoint");
        loop {
            let began = Moment::now();
            let now = began.wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            saves.last.wall_time_ms = u64::try_from(now).unwrap_or_default();
            match saves.checkpoints.save(saves.last.clone()).await {
                Ok(()) => {
                    self.held_since.send_replace(Some(began));
                    return Ok(());
                }
                Err(error) => trouble.wait(error).await?,
            }
        }
    }
}
