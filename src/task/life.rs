//! What a task's state, status and speed follow from, between two looks at its halves. No I/O.

use std::time::{Duration, Instant, SystemTime};

use tokio::task::AbortHandle;

use super::rate::{Mark, Rate};
use super::spec::TaskSpec;
use super::state::{State, Step};
use super::status::{self, LastError, RetryingStatus, Status};
use super::store::Document;
use crate::error::Error;
use crate::progress::{RecordProgress, ReplayProgress, Retrying, Tries};

/// A half that was started again is well when it has published something and then not failed for this long...
const WELL_AFTER: Duration = Duration::from_secs(2);
/// ...or, with nothing to do, when it has not failed for this long: longer than a connection may take.
const WELL_SURELY: Duration = Duration::from_secs(20);

/// The recorder or the replayer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The recorder.
    Record,
    /// The replayer.
    Replay,
}

impl Which {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Which::Record => "record",
            Which::Replay => "replay",
        }
    }
}

/// What is tried again at once, of one half, as far as it is shown.
const MOST_SHOWN: usize = 8;

/// What a look found to have changed.
pub enum Turn {
    /// This is being tried again.
    Degraded(RetryingStatus),
    /// Nothing is any more.
    Recovered,
}

/// A task's life.
pub struct Life {
    /// What is stored of it; `degraded` is not.
    pub document: Document,
    rate: Rate,
    recorder: Option<AbortHandle>,
    record: Option<Restart>,
    replay: Option<Restart>,
}

/// Why a half was started again.
struct Restart {
    why: Retrying,
    /// Since when it runs again, and whether it has published something; none while it waits.
    again: Option<(Instant, Box<dyn Fn() -> bool + Send>)>,
}

impl Restart {
    fn is_well(&self) -> bool {
        self.again.as_ref().is_some_and(|(since, published)| {
            since.elapsed() > WELL_SURELY || (since.elapsed() > WELL_AFTER && published())
        })
    }
}

impl Life {
    /// Of a task as it was stored.
    pub fn new(document: Document) -> Life {
        Life { document, rate: Rate::default(), recorder: None, record: None, replay: None }
    }

    /// The halves are started.
    pub fn begins(&mut self) {
        (self.rate, self.record, self.replay) = (Rate::default(), None, None);
    }

    /// What records, from its start to its end: also while it waits to be started again.
    pub fn records(&mut self, recorder: AbortHandle) {
        self.recorder = Some(recorder);
    }

    /// Whether something records, whatever became of the other half.
    pub fn is_recording(&self) -> bool {
        self.recorder.as_ref().is_some_and(|recorder| !recorder.is_finished())
    }

    /// A half ended, and is started again after a wait.
    pub fn fails(&mut self, which: Which, why: Retrying) {
        *self.restart(which) = Some(Restart { why, again: None });
    }

    /// A half is started, perhaps again.
    pub fn tries_again(&mut self, which: Which, published: impl Fn() -> bool + Send + 'static) {
        if let Some(restart) = self.restart(which) {
            restart.again = Some((Instant::now(), Box::new(published)));
        }
    }

    /// A half ended for good.
    pub fn is_over(&mut self, which: Which) {
        *self.restart(which) = None;
    }

    /// The document after a step; none where it is not allowed.
    pub fn after(&self, step: Step, error: Option<&Error>) -> Option<Document> {
        let mut document = self.document.clone();
        let next = document.state.after(step)?;
        if next != document.state {
            document.since = status::rfc3339(SystemTime::now());
        }
        document.state = next;
        // That another process took over is not forgotten over what the other half ends with later: until a person
        // resumes the task, no start of the service may take the log back.
        let fenced = |last: &LastError| last.verdict == "fenced" && self.document.state == State::Failed;
        if let Some(error) = error
            && !document.last_error.as_ref().is_some_and(fenced)
        {
            document.last_error = Some(LastError::after(document.last_error.as_ref(), error));
        }
        Some(document)
    }

    /// Takes note of how fast it is and of what is being tried again.
    pub fn look(
        &mut self,
        spec: &TaskSpec,
        record: &RecordProgress,
        replay: &ReplayProgress,
    ) -> Option<Turn> {
        self.rate.mark(Instant::now(), mark(spec, record, replay));
        for restart in [&mut self.record, &mut self.replay] {
            if restart.as_ref().is_some_and(Restart::is_well) {
                *restart = None;
            }
        }
        let retrying = self.retrying(record, replay).into_iter().next();
        let step = if retrying.is_some() { Step::Struggle } else { Step::Recover };
        let after = self.after(step, None)?;
        let changed = after.state != self.document.state;
        self.document = after;
        let Some(retrying) = retrying else { return changed.then_some(Turn::Recovered) };
        let known = self.document.last_error.as_ref();
        if known.is_none_or(|known| known.message != retrying.message || known.count != retrying.count) {
            self.document.last_error = Some(LastError {
                at: status::rfc3339(SystemTime::now()),
                count: retrying.count,
                message: retrying.message.clone(),
                advice: retrying.advice.clone(),
                verdict: "retry".to_owned(),
            });
        }
        changed.then_some(Turn::Degraded(retrying))
    }

    /// Adds to a status what the halves do not know.
    pub fn complete(&self, mut status: Status, record: &RecordProgress, replay: &ReplayProgress) -> Status {
        status.state = self.document.state;
        status.since = self.document.since.clone();
        status.last_error = self.document.last_error.clone();
        status.verification = self.document.verification.clone();
        status.upkeep = self.document.upkeep.clone();
        let works = !matches!(status.state, State::Paused | State::Done);
        if works {
            status.rows_per_s = self.rate.rows_per_s();
            status.retrying = self.retrying(record, replay);
        }
        if let Some(progress) = &mut status.progress {
            progress.eta_s = self.rate.eta_s().filter(|_| works);
            if status.state == State::Done {
                progress.percent = 100.0;
            }
        }
        status
    }

    fn restart(&mut self, which: Which) -> &mut Option<Restart> {
        match which {
            Which::Record => &mut self.record,
            Which::Replay => &mut self.replay,
        }
    }

    /// The oldest first, of each half.
    fn retrying(&self, record: &RecordProgress, replay: &ReplayProgress) -> Vec<RetryingStatus> {
        let why = |which: Which, restart: &Option<Restart>, inside: &Tries| {
            let restart = restart.iter().map(|restart| &restart.why);
            let all = restart.chain(inside.now.values()).take(MOST_SHOWN);
            all.map(|why| status::retrying(which.as_str(), why)).collect::<Vec<_>>()
        };
        let mut all = why(Which::Record, &self.record, &record.tries);
        all.extend(why(Which::Replay, &self.replay, &replay.tries));
        all
    }
}

fn mark(spec: &TaskSpec, record: &RecordProgress, replay: &ReplayProgress) -> Mark {
    let (rows, at, end) = if spec.kind.replays() {
        (replay.rows, replay.applied_to, status::end_of_replay(spec, replay))
    } else {
        (record.rows, record.recorded_to, record.seen_to)
    };
    Mark {
        rows: rows.inserted.saturating_add(rows.deleted).saturating_add(rows.upserted),
        at_millis: at.millis(),
        end_millis: end.millis(),
    }
}
