//! How far the target is, as the log's checkpoints say it.
//!
//! Before rows of a commit are sent, an intent covers it; once everything up to a place is in the target, the ack
//! follows. After an unclean stop what lies between the two may or may not be in the target. A change that takes a
//! name away (a drop, a rename) has an ack on both sides and nothing beside it: the stretch between ack and intent
//! never holds rows of two collections of one name, so it can be applied again. Within a commit both go segment by
//! segment: what is applied again stays little, however large a commit is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Result;
use crate::log::checkpoint::Checkpoints;
use crate::pb::log as pb;
use crate::position::{LogPosition, Seq};
use crate::progress::ReplayProgress;
use crate::tick::Tso;

use super::lease::Lease;
use super::ownership::Made;

/// Commits that an intent covers ahead, so that not every commit of a backlog costs a checkpoint.
const AHEAD: u64 = 16;
/// Segments of one commit that an intent covers ahead.
const SEGMENTS_AHEAD: u64 = 4;
/// How often the ack is stored while there is work.
const STORE_AT_LEAST: Duration = Duration::from_secs(1);

/// What was sent and need not be in the target yet.
struct Sent {
    /// Up to here...
    to: LogPosition,
    /// ...and where that ends a commit, its watermark.
    watermark: Option<Tso>,
    /// Empty once it is in the target.
    rows: TaskTracker,
}

/// The replayer's checkpoints and the segments in flight.
pub struct Journal {
    lease: Arc<Lease>,
    state: pb::Checkpoint,
    /// Whether the replayer before may still be at work.
    is_contested: bool,
    ack: LogPosition,
    intent: LogPosition,
    /// The intent of earlier runs: what lies between it and their ack may be in the target.
    doubt: LogPosition,
    /// The last commit that is known to exist.
    tail: Seq,
    made: Arc<Made>,
    stored: LogPosition,
    stored_at: Instant,
    in_flight: VecDeque<Sent>,
    progress: watch::Sender<ReplayProgress>,
    stop: CancellationToken,
}

impl Journal {
    /// Continues from a checkpoint. Once `stop` is cancelled, what is no longer in flight may have failed:
    /// the ack does not move any more. `tail`: the last commit of the log.
    pub fn new(
        checkpoints: Checkpoints,
        mut state: pb::Checkpoint,
        tail: Seq,
        progress: &watch::Sender<ReplayProgress>,
        stop: CancellationToken,
    ) -> Journal {
        let incomplete = (Tso(state.incomplete_since), state.incomplete.clone());
        progress.send_modify(|progress| {
            progress.incomplete = Some(incomplete).filter(|(_, what)| !what.is_empty());
            progress.notes = state.notes.clone();
        });
        let ack = state.ack.map(LogPosition::from).unwrap_or_default();
        let intent = state.intent.map(LogPosition::from).unwrap_or_default().max(ack);
        let is_contested = state.n > 0 && !std::mem::take(&mut state.closed);
        Journal {
            lease: Lease::new(checkpoints, state.clone(), progress),
            is_contested,
            ack,
            intent,
            doubt: intent,
            tail,
            made: Arc::new(Made::new(&state)),
            stored: ack,
            stored_at: Instant::now(),
            in_flight: VecDeque::new(),
            state,
            progress: progress.clone(),
            stop,
        }
    }

    /// What allows to write.
    pub fn lease(&self) -> Arc<Lease> {
        self.lease.clone()
    }

    /// Whether the replayer before, which never said that it ended, may still be at work.
    pub fn is_contested(&self) -> bool {
        self.is_contested
    }

    /// Everything before it is in the target.
    pub fn ack(&self) -> LogPosition {
        self.ack
    }

    /// Every change up to it is in the target.
    pub fn applied(&self) -> Tso {
        Tso(self.state.applied_tso)
    }

    /// Whether whole commits are in the target, and no change that takes a name away may have been sent since.
    pub fn is_after_a_commit(&self) -> bool {
        self.ack == LogPosition::after(self.ack.seq)
    }

    /// The collections that were created in the target.
    pub fn made(&self) -> Arc<Made> {
        self.made.clone()
    }

    /// Whether it is yet to be seen that what a commit creates takes nobody else's place.
    pub fn is_unchecked(&self, seq: Seq) -> bool {
        seq.0 > self.state.checked
    }

    /// What is created up to here takes nobody else's place, whatever commit it is in; none: not even what was before the
    /// log, at TSO 0.
    pub fn checked_to(&self) -> Option<Tso> {
        (self.state.checked_tso > 0).then_some(Tso(self.state.checked_tso))
    }

    /// What commits up to this one create takes nobody else's place.
    pub async fn checked(&mut self, seq: Seq) -> Result<()> {
        self.state.checked = seq.0;
        self.store().await
    }

    /// What is created up to here takes nobody else's place; the commit goes on beyond.
    pub async fn checked_within(&mut self, to: Tso) -> Result<()> {
        // 0 stands for none, and nothing is created at 1
        self.state.checked_tso = to.0.max(1);
        self.store().await
    }

    /// Whether what follows a place may have been sent by an earlier run.
    pub fn may_have_been_sent(&self, after: LogPosition) -> bool {
        after < self.doubt
    }

    /// Whether a segment of a commit needs a further intent before anything of it is sent.
    pub fn is_beyond_intent(&self, seq: Seq, number: u64) -> bool {
        LogPosition::before_segment(seq, number.saturating_add(1)) > self.intent
    }

    /// Called before anything of segment `number` of the `of` of a commit is sent; `tail`: the last commit that is known to
    /// exist. What does not exist yet is never covered: after a crash it has not been sent for certain.
    pub async fn intend(&mut self, seq: Seq, (number, of): (u64, u64), tail: Seq) -> Result<()> {
        self.tail = self.tail.max(seq).max(tail);
        if self.is_beyond_intent(seq, number) {
            let next = number.saturating_add(1).saturating_add(SEGMENTS_AHEAD);
            self.intent = match next < of {
                true => LogPosition::before_segment(seq, next),
                false => LogPosition::after(Seq(seq.0.saturating_add(AHEAD)).min(self.tail)),
            };
            self.store().await?;
        }
        Ok(())
    }

    /// Counts what lies before a place as sent; `rows` closes when it is in the target. `watermark`: of the commit that
    /// ends there.
    pub fn sent(&mut self, to: LogPosition, watermark: Option<Tso>, rows: TaskTracker) {
        rows.close();
        self.in_flight.push_back(Sent { to, watermark, rows });
    }

    /// The last commit that has been sent.
    pub fn newest_sent(&self) -> Seq {
        self.in_flight.back().map_or(self.ack.seq, |sent| sent.to.seq)
    }

    /// How many segments are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Waits until the oldest segment in flight is in the target. Cancel safe.
    pub async fn oldest_applied(&self) {
        match self.in_flight.front() {
            Some(sent) => sent.rows.wait().await,
            None => std::future::pending().await,
        }
    }

    /// Moves the ack over what is in the target.
    pub fn collect(&mut self) {
        // In this order: whoever fails cancels first and lets go after.
        let applied = |sent: &mut Sent| sent.rows.is_empty() && !self.stop.is_cancelled();
        while let Some(Sent { to, watermark, .. }) = self.in_flight.pop_front_if(applied) {
            self.ack = self.ack.max(to);
            let Some(watermark) = watermark else { continue };
            self.state.applied_tso = watermark.0;
            self.progress.send_modify(|progress| {
                progress.applied_to = watermark;
                progress.commits += 1;
            });
        }
    }

    /// Stores the ack when it is time; `underway`: a part of a commit has been sent.
    pub async fn keep_up(&mut self, underway: bool) -> Result<()> {
        let at_work = underway || self.ack != self.stored || !self.in_flight.is_empty();
        if at_work && self.stored_at.elapsed() >= STORE_AT_LEAST { self.store().await } else { Ok(()) }
    }

    /// Acks within a commit.
    pub async fn ack_within(&mut self, position: LogPosition) -> Result<()> {
        self.collect();
        self.ack = self.ack.max(position);
        self.store().await
    }

    /// Notes a change that could not be applied.
    pub fn incomplete(&self, tso: Tso, what: &str) {
        tracing::warn!(tso = tso.0, what, "cannot be applied: the target is incomplete from here on");
        self.progress.send_modify(|progress| progress.lacks(tso, what.to_owned()));
    }

    /// Ends without anything in flight: a start after this applies nothing twice, but for what an earlier run may have
    /// sent beyond the ack, and what this one has sent up to `sent` without counting it.
    pub async fn close(&mut self, sent: LogPosition) -> Result<()> {
        self.collect();
        self.intent = self.ack.max(self.doubt).max(sent);
        self.end().await
    }

    /// Ends within the commit after the ack, applied up to a TSO: a start after this applies that part again, safely.
    pub async fn close_within(&mut self, tso: Tso) -> Result<()> {
        self.collect();
        self.intent = LogPosition::after(self.ack.seq.next()).max(self.doubt);
        self.state.applied_tso = tso.0;
        self.progress.send_modify(|progress| progress.applied_to = tso);
        self.end().await
    }

    /// Ends where it began: nothing was sent.
    pub async fn end(&mut self) -> Result<()> {
        self.state.closed = true;
        self.store().await
    }

    /// Takes the place over from any other replayer of this task, leaving what may have been sent as it is.
    pub async fn take_over(&mut self) -> Result<()> {
        self.store().await
    }

    async fn store(&mut self) -> Result<()> {
        if self.ack.seq.0 >= self.state.base {
            self.state.base = 0;
        }
        self.state.ack = Some(self.ack.into());
        self.made.store(&mut self.state);
        let (incomplete, notes) = {
            let progress = self.progress.borrow();
            (progress.incomplete.clone(), progress.notes.clone())
        };
        let (since, what) = incomplete.unwrap_or_default();
        (self.state.incomplete_since, self.state.incomplete, self.state.notes) = (since.0, what, notes);
        self.state.intent = Some(self.intent.max(self.ack).into());
        self.lease.store(self.state.clone()).await?;
        (self.stored, self.stored_at) = (self.ack, Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::store::Store;

    async fn journal(store: &Store) -> Journal {
        let (checkpoints, saved) = Checkpoints::open(store.clone(), "r").await.unwrap();
        let (progress, _) = watch::channel(ReplayProgress::default());
        Journal::new(checkpoints, saved.unwrap_or_default(), Seq(9), &progress, CancellationToken::new())
    }

    #[tokio::test]
    async fn a_stop_forgets_nothing_that_an_earlier_run_may_have_sent() {
        let store = Store::memory();
        let mut killed = journal(&store).await;
        killed.intend(Seq(1), (0, 1), Seq(9)).await.unwrap();
        for within in [false, true] {
            let mut stopped = journal(&store).await;
            stopped.take_over().await.unwrap();
            if within {
                stopped.close_within(Tso(1)).await.unwrap();
            } else {
                stopped.close(LogPosition::default()).await.unwrap();
            }
            let next = journal(&store).await;
            let may_be_there = |seq| next.may_have_been_sent(LogPosition::before_segment(Seq(seq), 0));
            assert!(may_be_there(9) && !may_be_there(10), "{within}");
        }
    }

    #[tokio::test]
    async fn an_intent_covers_a_backlog_ahead_and_nothing_that_does_not_exist() {
        let mut journal = journal(&Store::memory()).await;
        journal.intend(Seq(1), (0, 1), Seq(5)).await.unwrap();
        assert!(!journal.is_beyond_intent(Seq(9), 0) && journal.is_beyond_intent(Seq(10), 0));
        journal.intend(Seq(10), (0, 1), Seq(40)).await.unwrap();
        assert!(!journal.is_beyond_intent(Seq(26), 7) && journal.is_beyond_intent(Seq(27), 0));
    }

    #[tokio::test]
    async fn of_a_large_commit_an_intent_covers_few_segments_and_after_its_last_ones_what_follows() {
        let store = Store::memory();
        let mut journal = journal(&store).await;
        let mut covered = Vec::new();
        for number in 0..12 {
            let beyond = journal.is_beyond_intent(Seq(3), number);
            journal.intend(Seq(3), (number, 12), Seq(9)).await.unwrap();
            covered.extend(beyond.then_some((number, journal.intent)));
        }
        let within = |number| LogPosition::before_segment(Seq(3), number);
        assert_eq!(covered, [(0, within(5)), (5, within(10)), (10, LogPosition::after(Seq(9)))]);
    }

    #[tokio::test]
    async fn a_start_within_a_commit_doubts_the_segments_between_ack_and_intent_and_no_others() {
        let store = Store::memory();
        let mut killed = journal(&store).await;
        killed.intend(Seq(1), (0, 12), Seq(9)).await.unwrap();
        let after = |segments| LogPosition { segments, definitions: 7, ..LogPosition::default() };
        killed.sent(after(1), None, TaskTracker::new());
        killed.sent(after(2), None, TaskTracker::new());
        killed.collect();
        killed.take_over().await.unwrap();
        let mut next = journal(&store).await;
        assert_eq!((next.ack(), next.applied(), next.is_contested()), (after(2), Tso::ZERO, true));
        let in_doubt = |journal: &Journal| {
            (0..8).filter(|number| journal.may_have_been_sent(after(*number))).collect::<Vec<_>>()
        };
        assert_eq!(in_doubt(&next), [0, 1, 2, 3, 4]);
        next.sent(after(5), None, TaskTracker::new());
        next.close(after(5)).await.unwrap();
        let stopped = journal(&store).await;
        assert!(!stopped.is_contested() && !stopped.may_have_been_sent(after(5)));
    }
}
