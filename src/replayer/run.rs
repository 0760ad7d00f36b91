//! One run of a replayer.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::catalog::CollectionId;
use crate::error::{Error, Result};
use crate::log::base::Base;
use crate::log::reader::{Follower, LogReader};
use crate::pb::log::{self as pb, definition::Change, record::Body};
use crate::position::{LogPosition, Seq};
use crate::progress::ReplayProgress;
use crate::tick::Tso;

use super::Replayer;
use super::definer::{Changes, Definer, Scope, scope};
use super::fetch;
use super::journal::Journal;
use super::lanes::Lanes;
use super::lease;
use super::naming::Naming;
use super::opening::Opening;
use super::ownership;
use super::place::Place;
use super::segments::{Fetched, Segments};
use super::shared::Shared;
use super::skip::Skip;
use super::steps::{Step, steps};

/// Segments in flight: beyond that the target sets the pace.
const IN_FLIGHT: usize = 64;
/// How long a graceful stop may take: shorter than whoever waits for it does.
const STOP: Duration = Duration::from_secs(3);

/// Where a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was reached by an earlier run.
    Already,
    /// With whole commits.
    AfterCommit,
    /// In the middle of one: the ack stays before it.
    WithinCommit,
}

/// A replayer at work.
pub struct Run {
    reader: LogReader,
    /// The base with which it begins.
    base: Option<Base>,
    follower: Option<Follower>,
    naming: Naming,
    skip: Skip,
    journal: Journal,
    lanes: Lanes,
    definer: Definer,
    until: Tso,
    /// The last commit to apply, where the end is known.
    last: Option<Seq>,
    /// Where the run began.
    began: LogPosition,
    /// The end of the segment before, in a commit of which further ones follow.
    within: Option<LogPosition>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    progress: watch::Sender<ReplayProgress>,
}

impl Run {
    /// Opens the log and the target and goes to the place that the last checkpoint names.
    pub async fn open(replayer: &Replayer, progress: &watch::Sender<ReplayProgress>) -> Result<Run> {
        let (opening, checkpoints, state) = Opening::look(replayer).await?;
        let stop = CancellationToken::new();
        let mut journal = Journal::new(checkpoints, state, opening.tail, progress, stop.clone());
        let shared = Shared::new(replayer.target.clone(), progress, &journal, stop.clone());
        let (catalog, skip, follower) = opening.walk(replayer, progress).await?;
        if let Some(base) = &opening.base {
            let incomplete = &base.incomplete;
            incomplete.what.iter().for_each(|what| journal.incomplete(incomplete.since, what));
        }
        opening.take_over(&mut journal).await?;
        if journal.is_contested() {
            tokio::time::sleep(lease::TAKEN_OVER_AFTER).await;
        }
        let naming = Naming::new(catalog, replayer.selection.clone(), replayer.renames.clone());
        if journal.is_after_a_commit() {
            ownership::check_there(&*replayer.target, naming.collections(), &shared.made).await?;
        }
        let began = journal.ack();
        let definer = Definer::new(shared.clone());
        let extra = Changes { tso: Tso::ZERO, all: naming.extra_databases(), in_doubt: true };
        definer.apply(None, &extra).await?;
        let lanes = Lanes::new(shared.clone());
        let Opening { reader, base, until, last, .. } = opening;
        Ok(Run {
            reader,
            base,
            follower: Some(follower),
            naming,
            skip,
            journal,
            lanes,
            definer,
            until,
            last,
            began,
            within: None,
            shared,
            stop,
            progress: progress.clone(),
        })
    }

    /// Applies commit after commit.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<()> {
        let (sender, mut fetched) = mpsc::channel(fetch::AHEAD);
        let follow = self.follower.take().map(|follower| {
            let segments = Segments::new(self.base.as_ref().map(Base::as_commit), follower);
            let follow = fetch::follow(segments, self.began, sender, self.progress.clone());
            AbortOnDropHandle::new(tokio::spawn(follow))
        });
        let deadline = self.stop.clone();
        let stopping = cancel.clone();
        let _deadline = AbortOnDropHandle::new(tokio::spawn(async move {
            stopping.cancelled().await;
            tokio::time::sleep(STOP).await;
            deadline.cancel();
        }));
        let ended = self.apply_all(&mut fetched, &cancel).await;
        drop(follow);
        let closed = match ended {
            Ok(end) => self.shared.lease.clone().kept_during(self.close(end)).await,
            Err(error) => Err(error),
        };
        match closed {
            // Stopped by the deadline: what may have been sent stays written down as such.
            Err(error) if error.is_retry() && cancel.is_cancelled() => Ok(()),
            ended => ended,
        }
    }

    async fn close(&mut self, end: End) -> Result<()> {
        self.drain().await?;
        match end {
            End::Already => self.journal.end().await,
            End::AfterCommit => self.journal.close(self.within.unwrap_or_default()).await,
            End::WithinCommit => self.journal.close_within(self.until).await,
        }
    }

    async fn apply_all(
        &mut self,
        fetched: &mut mpsc::Receiver<Result<Fetched>>,
        cancel: &CancellationToken,
    ) -> Result<End> {
        if self.journal.applied() == self.until {
            return Ok(End::Already);
        }
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let (stop, lease) = (self.stop.clone(), self.shared.lease.clone());
        loop {
            if self.last.is_some_and(|last| self.journal.newest_sent() >= last) {
                return Ok(End::AfterCommit);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(self.shared.failure()),
                () = cancel.cancelled() => return Ok(End::AfterCommit),
                _ = second.tick() => {}
                () = self.journal.oldest_applied() => {}
                next = fetched.recv(), if self.journal.in_flight() < IN_FLIGHT => match next {
                    Some(Ok(next)) => {
                        let behind = !fetched.is_empty();
                        if let Some(end) = lease.kept_during(self.apply(next, behind)).await? {
                            return Ok(end);
                        }
                    }
                    Some(Err(error)) => {
                        // The log ends here, but what came before is whole.
                        lease.kept_during(self.close(End::AfterCommit)).await?;
                        return Err(error);
                    }
                    None => return Err(Error::operator("the reader of the log has stopped")),
                }
            }
            self.journal.collect();
            self.journal.keep_up(self.within.is_some()).await?;
        }
    }

    /// Applies a segment of a commit, and says so when it holds the end; `behind`: further ones are there already.
    async fn apply(&mut self, fetched: Fetched, behind: bool) -> Result<Option<End>> {
        let Fetched { commit, number, last, records, bytes, .. } = fetched;
        let (seq, watermark) = (Seq(commit.seq), Tso(commit.watermark));
        let mut at = self.within.unwrap_or_else(|| LogPosition::before_segment(seq, 0));
        if number > 0 && at == self.began {
            // With the definitions of the segments before, which an earlier run has applied.
            let there = self.naming.collections();
            ownership::check_there(&*self.shared.target, there, &self.shared.made).await?;
        }
        let done = self.journal.ack();
        let safe = self.journal.may_have_been_sent(at);
        if !safe {
            self.lanes.end_safe_mode();
        }
        self.check_free(at, &records, last && watermark <= self.until).await?;
        let steps = steps(records, self.until)?;
        if !steps.is_empty() {
            let further = behind && self.journal.is_beyond_intent(seq, number);
            let tail = if further { self.reader.tail().await? } else { None };
            let of = u64::try_from(commit.segments.len()).unwrap_or(u64::MAX);
            self.journal.intend(seq, (number, of), tail.unwrap_or_default()).await?;
        }
        let in_target = TaskTracker::new();
        for step in steps {
            match step {
                Step::Rows(_) if LogPosition { rows: true, ..at } <= done => {}
                Step::Rows(lanes) => {
                    for (key, messages) in lanes {
                        let messages = self.skip.rows(&self.naming, key.collection, messages)?;
                        if messages.is_empty() {
                            continue;
                        }
                        let Some(destination) = self.naming.destination(key.collection)? else { continue };
                        self.definer.ready_for_rows(key.collection).await?;
                        self.lanes.send(key, messages, &destination, safe, &in_target).await?;
                    }
                }
                Step::Define(definition) => {
                    let next = LogPosition { definitions: at.definitions + 1, ..at };
                    let place = Place::Definition(seq, next.definitions);
                    if let Some(definition) = self.skip.definition(&self.naming, place, definition)? {
                        self.define(&definition, at..next, next <= done, &in_target).await?;
                    }
                    at = next;
                }
                Step::Unknown(tso, name) => self.journal.incomplete(tso, &name),
            }
        }
        self.progress.send_modify(|progress| progress.bytes += bytes);
        let ends_within = watermark > self.until;
        if !last {
            let end = LogPosition { segments: number.saturating_add(1), rows: false, ..at };
            self.within = Some(end);
            if !ends_within {
                self.journal.sent(end, None, in_target);
            }
            return Ok(None);
        }
        self.within = None;
        if ends_within {
            return Ok(Some(End::WithinCommit));
        }
        if self.base.take_if(|base| base.seq() == seq).is_some() {
            self.drain().await?;
        }
        self.journal.sent(LogPosition::after(seq), Some(watermark), in_target);
        Ok((watermark == self.until).then_some(End::AfterCommit))
    }

    /// Before anything of a segment is sent for the first time: what it names up to the end of this run takes nobody else's
    /// place. `ends`: nothing of its commit follows, else that is still to be looked at.
    async fn check_free(&mut self, at: LogPosition, records: &[pb::Record], ends: bool) -> Result<()> {
        let seq = at.seq.next();
        let definitions = records.iter().filter_map(|record| match &record.body {
            Some(Body::Definition(definition)) if definition.tso <= self.until.0 => Some(definition),
            _ => None,
        });
        let checked = self.journal.checked_to();
        let unchecked =
            |definition: &pb::Definition| Some(Tso(definition.tso)) > checked && ownership::names(definition);
        if !self.journal.is_unchecked(seq) || !definitions.clone().any(unchecked) {
            return Ok(());
        }
        let newest = definitions.clone().map(|definition| Tso(definition.tso)).max().unwrap_or_default();
        let new = ownership::newly_named(self.naming.clone(), self.skip.clone(), at, checked, definitions)?;
        if let Err(error) = self.definer.check_free(&new).await {
            self.close(End::AfterCommit).await?;
            return Err(error);
        }
        match ends {
            true => self.journal.checked(seq).await,
            false => self.journal.checked_within(newest).await,
        }
    }

    async fn define(
        &mut self,
        definition: &pb::Definition,
        place: Range<LogPosition>,
        done: bool,
        in_target: &TaskTracker,
    ) -> Result<()> {
        let changes = self.naming.apply(definition)?;
        if done {
            return Ok(());
        }
        let tso = Tso(definition.tso);
        if let Some(what) = self.naming.untold(definition)? {
            self.journal.incomplete(tso, what);
        }
        if changes.is_empty() {
            return Ok(());
        }
        let changes = Changes { tso, all: changes, in_doubt: self.journal.may_have_been_sent(place.start) };
        match scope(definition) {
            Scope::Everything => {
                self.drain().await?;
                self.definer.claim(&changes.all).await?;
                self.journal.ack_within(LogPosition { rows: true, ..place.start }).await?;
                self.definer.apply(taken_from(definition), &changes).await?;
                self.journal.ack_within(place.end).await
            }
            scope @ (Scope::Collection(id) | Scope::Serving(id)) => {
                self.lanes.drain(Some(id)).await?;
                self.definer.start(scope, changes, in_target);
                Ok(())
            }
        }
    }

    /// Waits until nothing is in flight.
    async fn drain(&mut self) -> Result<()> {
        self.definer.drain().await?;
        self.lanes.drain(None).await?;
        self.journal.collect();
        Ok(())
    }
}

/// The collection that a definition drops or renames, or of which it drops something.
fn taken_from(definition: &pb::Definition) -> Option<CollectionId> {
    match &definition.change {
        Some(Change::DropCollection(dropped)) => Some(dropped.id),
        Some(Change::RenameCollection(renamed)) => Some(renamed.id),
        Some(Change::DropPartition(dropped)) => Some(dropped.collection_id),
        Some(Change::DropIndex(dropped)) => Some(dropped.collection_id),
        _ => None,
    }
}
