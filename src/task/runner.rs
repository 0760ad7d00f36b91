//! One task: its life, and the two halves that do its work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::events::Events;
use super::half;
use super::life::{Life, Turn, Which};
use super::owner::taken_over;
use super::spec::TaskSpec;
use super::state::{State, Step};
use super::status::{self, Status};
use super::store::{Document, TaskStore};
use super::upkeep::Upkeep;
use super::verification::Verification;
use super::work::{Half, Work};
use crate::error::{Error, Result};
use crate::progress::{RecordProgress, ReplayProgress, Retrying};
use crate::tick::Tso;

/// Within this the halves end by themselves; then they are dropped.
const STOP_TIME: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After this a document that could not be stored is stored again.
const KEEP_AGAIN: Duration = Duration::from_secs(60);

/// A task.
pub struct Task {
    spec: Arc<TaskSpec>,
    store: TaskStore,
    work: Work,
    record: Arc<watch::Sender<RecordProgress>>,
    replay: Arc<watch::Sender<ReplayProgress>>,
    life: Mutex<Life>,
    state: watch::Sender<State>,
    /// Held over a change of the stored document, so that what is stored is what is so. Whether it is forgotten:
    /// then nothing is stored any more.
    storing: tokio::sync::Mutex<bool>,
    /// Held over a pause, a resume or an end.
    running: tokio::sync::Mutex<Option<Running>>,
    events: Events,
}

struct Running {
    cancel: CancellationToken,
    halves: JoinHandle<()>,
}

impl Task {
    /// A task as it was stored. It does nothing until it is started.
    pub fn new(document: Document, store: TaskStore, work: Work) -> Arc<Task> {
        let (recorded_to, applied_to) = (Tso(document.recorded_to), Tso(document.applied_to));
        let log_id = document.log_id.clone();
        let recorded = RecordProgress { recorded_to, log_id: log_id.clone(), ..RecordProgress::default() };
        let replayed = ReplayProgress { applied_to, log_id, ..ReplayProgress::default() };
        Arc::new(Task {
            spec: Arc::new(document.spec.clone()),
            store,
            work,
            record: Arc::new(watch::channel(recorded).0),
            replay: Arc::new(watch::channel(replayed).0),
            state: watch::channel(document.state).0,
            life: Mutex::new(Life::new(document)),
            storing: tokio::sync::Mutex::default(),
            running: tokio::sync::Mutex::default(),
            events: Events::default(),
        })
    }

    /// What was asked for.
    pub fn spec(&self) -> &Arc<TaskSpec> {
        &self.spec
    }

    /// What tasks do.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// What happened.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Its state, and every change of it.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// What its recorder says.
    pub fn recorded(&self) -> watch::Receiver<RecordProgress> {
        self.record.subscribe()
    }

    /// What its replayer says.
    pub fn replayed(&self) -> watch::Receiver<ReplayProgress> {
        self.replay.subscribe()
    }

    /// Starts it after a start of the service, unless a person or an end stopped it, or another process took over.
    pub async fn go_on(self: &Arc<Self>) {
        let mut running = self.running.lock().await;
        {
            let mut life = self.life();
            let fenced = life.document.last_error.as_ref().is_some_and(|error| error.verdict == "fenced");
            match life.document.state {
                State::Paused | State::Done => return,
                State::Failed if fenced => return,
                State::Running | State::Degraded | State::Failed => {}
            }
            if let Some(document) = life.after(Step::Resume, None) {
                life.document = document;
            }
            self.state.send_replace(life.document.state);
        }
        self.events.add("started", "the task works", None);
        *running = Some(self.spawn());
    }

    /// Stops it until it is resumed. False where its state does not allow that.
    pub async fn pause(self: &Arc<Self>) -> Result<bool> {
        let mut running = self.running.lock().await;
        if self.is_forgotten().await {
            return Ok(false);
        }
        if self.life().document.state == State::Paused {
            return Ok(true);
        }
        if !self.take(Step::Pause, None).await? {
            return Ok(false);
        }
        self.events.add("paused", "paused by a person", None);
        self.halt(&mut running).await;
        // Once more, with the positions at which the halves ended.
        self.take_surely(Step::Pause, None).await;
        Ok(true)
    }

    /// Starts it again. False where its state does not allow that.
    pub async fn resume(self: &Arc<Self>) -> Result<bool> {
        let mut running = self.running.lock().await;
        if self.is_forgotten().await {
            return Ok(false);
        }
        if matches!(self.life().document.state, State::Running | State::Degraded) {
            return Ok(true);
        }
        if !self.take(Step::Resume, None).await? {
            return Ok(false);
        }
        // The half that had not failed.
        self.halt(&mut running).await;
        self.events.add("resumed", "resumed by a person", None);
        *running = Some(self.spawn());
        Ok(true)
    }

    /// Stops its halves; nothing is stored. A service that is started again goes on.
    pub async fn stop(&self) {
        let mut running = self.running.lock().await;
        self.halt(&mut running).await;
    }

    /// Stops its halves, whose work another service does now; nothing is stored.
    pub async fn give_up(&self) {
        let mut running = self.running.lock().await;
        self.halt(&mut running).await;
        let error = taken_over();
        if let Some(document) = self.document_after(Step::Fail, Some(&error)) {
            self.set(document);
            self.events.add("failed", error.message, error.advice);
        }
    }

    /// Forgets it, then stops it: a service that is started again does not know it.
    pub async fn close(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        {
            let mut forgotten = self.storing.lock().await;
            self.store.delete(&self.spec.name).await?;
            *forgotten = true;
        }
        self.events.add("deleted", "deleted by a person", None);
        self.halt(&mut running).await;
        Ok(())
    }

    /// Whether it was deleted.
    pub async fn is_forgotten(&self) -> bool {
        *self.storing.lock().await
    }

    /// Whether its recorder works, or is about to be started again.
    pub fn is_recording(&self) -> bool {
        self.life().is_recording()
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.look();
        let (record, replay) = (self.record.borrow().clone(), self.replay.borrow().clone());
        let status = status::status(&self.spec, &record, &replay, SystemTime::now());
        self.life().complete(status, &record, &replay)
    }

    /// What checks of its log have found.
    pub fn verification(&self) -> Option<Verification> {
        self.life().document.verification.clone()
    }

    /// Keeps what a check of its log has found, also over a restart of the service if that can be stored.
    pub async fn keep_verification(&self, found: Verification) {
        self.keep(|document| document.verification = Some(found)).await;
    }

    /// What was done for its log beside recording.
    pub fn upkeep(&self) -> Option<Upkeep> {
        self.life().document.upkeep.clone()
    }

    /// Keeps what was done for its log, as what a check has found.
    pub async fn keep_upkeep(&self, done: Upkeep) {
        self.keep(|document| document.upkeep = Some(done)).await;
    }

    /// Keeps which log it is, as soon as that is known: `stored` is what a restart of the service would know. Where it
    /// cannot be stored it is tried again after a while.
    async fn keep_log_id(&self, stored: &mut Option<String>, again: &mut Instant) {
        let known = self.up_to_now(self.life().document.clone()).log_id;
        if known == *stored || Instant::now() < *again {
            return;
        }
        if self.keep(|document| document.log_id.clone_from(&known)).await {
            *stored = known;
        } else {
            *again = Instant::now() + KEEP_AGAIN;
        }
    }

    /// Whether it could be stored.
    async fn keep(&self, change: impl FnOnce(&mut Document)) -> bool {
        let forgotten = self.storing.lock().await;
        change(&mut self.life().document);
        let document = self.up_to_now(self.life().document.clone());
        if *forgotten {
            return false;
        }
        let stored = self.store.put_known(&document).await;
        if let Err(unstored) = &stored {
            warn!(task = %self.spec.name, error = %unstored, "what is known of its log is not stored");
        }
        stored.is_ok()
    }

    /// When it was created (RFC 3339).
    pub fn created(&self) -> String {
        self.life().document.created.clone()
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(self: &Arc<Self>) -> Running {
        self.life().begins();
        let cancel = CancellationToken::new();
        let halves = tokio::spawn(self.clone().supervise(cancel.clone()));
        Running { cancel, halves }
    }

    async fn halt(&self, running: &mut Option<Running>) {
        let Some(Running { cancel, mut halves }) = running.take() else { return };
        cancel.cancel();
        if tokio::time::timeout(STOP_TIME, &mut halves).await.is_err() {
            warn!(task = %self.spec.name, "did not stop in time and was dropped");
            halves.abort();
            // The error says what was just done.
            let _ = halves.await;
        }
    }

    /// Runs the halves until both have ended.
    async fn supervise(self: Arc<Self>, cancel: CancellationToken) {
        let mut halves = JoinSet::new();
        if self.spec.kind.records() {
            let recorder = halves.spawn(self.clone().keep_half(
                Which::Record,
                self.work.record.clone(),
                self.record.clone(),
                cancel.clone(),
            ));
            self.life().records(recorder);
        }
        if self.spec.kind.replays() {
            halves.spawn(self.clone().keep_half(
                Which::Replay,
                self.work.replay.clone(),
                self.replay.clone(),
                cancel.clone(),
            ));
        }
        let mut look = tokio::time::interval(LOOK_EVERY);
        let (mut log_id, mut again) = (self.life().document.log_id.clone(), Instant::now());
        loop {
            tokio::select! {
                _ = look.tick() => {
                    self.look();
                    self.keep_log_id(&mut log_id, &mut again).await;
                }
                ended = halves.join_next() => match ended {
                    None => break,
                    Some(Ok((which, outcome))) => self.ended(which, outcome, &cancel).await,
                    Some(Err(broken)) => {
                        let broken = Error::operator(format!("a half of the task broke off: {broken}"));
                        self.fail(broken.advice("this is a bug: please report it with the log of the service")).await;
                    }
                },
            }
        }
        self.keep_log_id(&mut log_id, &mut Instant::now()).await;
    }

    async fn keep_half<P: Send + Sync + 'static>(
        self: Arc<Self>,
        which: Which,
        half: Half<P>,
        progress: Arc<watch::Sender<P>>,
        cancel: CancellationToken,
    ) -> (Which, Result<()>) {
        let run = || {
            let mut published = progress.subscribe();
            published.mark_unchanged();
            self.life().tries_again(which, move || published.has_changed().unwrap_or(true));
            let work = half(self.spec.clone(), progress.clone(), cancel.child_token());
            let owner = self.store.owner().clone();
            async move {
                // It would take its log, or its target, from who works there now.
                if owner.is_lost().await { Err(taken_over()) } else { work.await }
            }
        };
        let failed = |why: Retrying| {
            warn!(task = %self.spec.name, half = which.as_str(), count = why.count, error = %why.message, "is started again");
            self.life().fails(which, why);
            self.look();
        };
        (which, half::keep_running(run, failed, half::backoff(), &cancel).await)
    }

    async fn ended(&self, which: Which, outcome: Result<()>, cancel: &CancellationToken) {
        match which {
            Which::Record => self.record.send_modify(|progress| progress.tries.now.clear()),
            Which::Replay => self.replay.send_modify(|progress| progress.tries.now.clear()),
        }
        self.life().is_over(which);
        match outcome {
            Ok(()) if cancel.is_cancelled() => {}
            Ok(()) if self.spec.until.is_some() => {
                if self.take_surely(Step::Finish, None).await {
                    self.events.add("done", "the replay has reached its end", None);
                }
            }
            Ok(()) => {
                let ended = Error::operator(format!("the {}er ended without being asked", which.as_str()));
                self.fail(ended.advice("this is a bug: please report it with the log of the service")).await;
            }
            Err(error) => self.fail(error).await,
        }
    }

    async fn fail(&self, error: Error) {
        error!(task = %self.spec.name, %error, "a person must act");
        self.events.add("failed", error.message.clone(), error.advice.clone());
        self.take_surely(Step::Fail, Some(&error)).await;
    }

    /// A step that happens whether it can be stored or not.
    async fn take_surely(&self, step: Step, error: Option<&Error>) -> bool {
        match self.take(step, error).await {
            Ok(taken) => taken,
            Err(unstored) => {
                warn!(task = %self.spec.name, error = %unstored, "its new state is not stored");
                self.document_after(step, error).map(|document| self.set(document)).is_some()
            }
        }
    }

    /// A step that a restart of the service must know of: stored, then so. False where it is not allowed.
    async fn take(&self, step: Step, error: Option<&Error>) -> Result<bool> {
        let forgotten = self.storing.lock().await;
        let Some(document) = self.document_after(step, error) else { return Ok(false) };
        if !*forgotten {
            self.store.put(&document).await?;
        }
        self.set(document);
        Ok(true)
    }

    fn document_after(&self, step: Step, error: Option<&Error>) -> Option<Document> {
        let document = self.life().after(step, error)?;
        Some(self.up_to_now(document))
    }

    fn up_to_now(&self, document: Document) -> Document {
        let (record, replay) = (self.record.borrow(), self.replay.borrow());
        let log_id = record.log_id.as_ref().or(replay.log_id.as_ref()).cloned().or(document.log_id);
        Document { recorded_to: record.recorded_to.0, applied_to: replay.applied_to.0, log_id, ..document }
    }

    fn set(&self, document: Document) {
        let state = document.state;
        let mut life = self.life();
        if life.document.state != state {
            info!(task = %self.spec.name, state = state.as_str(), "state");
        }
        life.document = document;
        self.state.send_replace(state);
    }

    /// Takes note of how fast it is and of what is being tried again.
    fn look(&self) {
        let (record, replay) = (self.record.borrow().clone(), self.replay.borrow().clone());
        let mut life = self.life();
        let before = life.document.state;
        let turn = life.look(&self.spec, &record, &replay);
        if life.document.state != before {
            self.state.send_replace(life.document.state);
        }
        match turn {
            Some(Turn::Degraded(retrying)) => self.events.add("degraded", retrying.message, retrying.advice),
            Some(Turn::Recovered) => self.events.add("recovered", "nothing fails any more", None),
            None => {}
        }
    }
}
