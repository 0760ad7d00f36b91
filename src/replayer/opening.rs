//! What a run finds when it opens: the checkpoint, the log's tail, and whether they allow to go where it is to end.

use bytes::Bytes;
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::log::base::Base;
use crate::log::checkpoint::{Checkpoints, pinned};
use crate::log::reader::{Follower, LogReader};
use crate::pb::log as pb;
use crate::position::{LogPosition, Seq};
use crate::progress::ReplayProgress;
use crate::tick::Tso;

use super::beginning::{self, is_new};
use super::journal::Journal;
use super::rehearsal::{Depth, Rehearsal};
use super::skip::Skip;
use super::window::check_opened;
use super::{Replayer, Until};

/// Where a run stands in the log, and where it ends.
pub struct Opening {
    /// The log.
    pub reader: LogReader,
    /// The base with which it begins.
    pub base: Option<Base>,
    /// The last instant to apply.
    pub until: Tso,
    /// The last commit to apply, where the end is known.
    pub last: Option<Seq>,
    /// The log's last commit.
    pub tail: Seq,
    ack: Seq,
    applied: Tso,
    /// With what it is rehearsed, where it is.
    rehearsed: Option<Base>,
    /// Nothing before this commit, or its base, is needed...
    needs: Seq,
    /// ...and a checkpoint says so, which no prune goes beyond.
    is_pinned: bool,
    /// Whether all that it will apply is read first.
    is_checked: bool,
}

impl Opening {
    /// Looks at log, target and checkpoint; what is to be stored next comes with it.
    pub async fn look(replayer: &Replayer) -> Result<(Opening, Checkpoints, pb::Checkpoint)> {
        let reader = LogReader::open(replayer.store.clone()).await?;
        let greeting = replayer.target.hello().await?;
        tracing::info!(greeting, "target answers");
        let (checkpoints, mut state) = checkpoint(replayer, &reader).await?;
        let pin = pinned(&state).filter(|_| state.n > 0);
        let until = match replayer.until {
            Until::Tso(tso) => tso,
            Until::Cancelled | Until::Latest => Tso::MAX,
        };
        let tail = reader.tail().await?;
        let last = (replayer.until == Until::Latest).then(|| tail.unwrap_or_default());
        check_opened(&reader, tail, until).await?;
        let is_checked = is_new(&state) && !replayer.unchecked && matches!(replayer.until, Until::Tso(_));
        let base = beginning::begin(&reader, &mut state, &replayer.skip, until).await?;
        check_not_beyond(&reader, &state, base.as_ref(), tail, until).await?;
        state.intent_tso = until.0;
        let ack = Seq(state.ack.map_or(0, |ack| ack.seq));
        let stands = base.as_ref().map_or(ack, Base::seq);
        let rehearsed = match is_checked || !replayer.skip.is_empty() {
            true => beginning::before(&reader, base.as_ref(), &replayer.skip, until, ack).await?,
            false => None,
        };
        let from = rehearsed.as_ref().map_or(Seq(0), Base::seq);
        state.rehearsed_from = if replayer.skip.is_empty() { 0 } else { from.0 };
        let needs = if replayer.skip.is_empty() { stands } else { stands.min(from) };
        let opening = Opening {
            reader,
            base,
            until,
            last,
            tail: tail.unwrap_or_default(),
            ack,
            applied: Tso(state.applied_tso),
            rehearsed,
            needs,
            is_pinned: pin.is_some_and(|pin| needs >= pin),
            is_checked,
        };
        Ok((opening, checkpoints, state))
    }

    /// What exists where it goes on, what is left out from there, and what follows. What clashes or is damaged shows here.
    pub async fn walk(
        &self,
        replayer: &Replayer,
        progress: &watch::Sender<ReplayProgress>,
    ) -> Result<(Catalog, Skip, Follower)> {
        let (reader, base) = (&self.reader, self.base.as_ref());
        let (mut catalog, follower) = match self.base.clone() {
            Some(base) => (Catalog::default(), Follower::going_on(reader.clone(), base.after)),
            None => beginning::after(reader, self.ack).await?,
        };
        let mut skip = replayer.skip.clone();
        if self.is_checked || !skip.is_empty() {
            // The catalog of the log is the source's: what is left out of it is not.
            let base = self.rehearsed.clone();
            let depth = if self.is_checked { Depth::Rows } else { Depth::Definitions };
            let rehearsal =
                Rehearsal::new(replayer, reader.clone(), base, self.until, self.tail, depth).await?;
            let show = |seq| progress.send_modify(|progress| progress.checked = Some((seq, self.tail)));
            (catalog, skip) = rehearsal.finish(self.ack, show).await?;
        }
        let started_from = match self.applied {
            Tso::ZERO | Tso::BASE => beginning::opens_at(reader, base).await?,
            applied => applied,
        };
        let last = reader.commit(self.tail).await?;
        progress.send_modify(|progress| {
            progress.log_id = Some(reader.log_id().to_owned());
            progress.applied_to = self.applied;
            progress.started_from = started_from;
            progress.log_to = last.map(|last| Tso(last.commit.watermark)).unwrap_or_default();
            progress.checked = None;
        });
        Ok((catalog, skip, follower))
    }

    /// Ends any other replayer of this task. Refused: what is needed was pruned.
    pub async fn take_over(&self, journal: &mut Journal) -> Result<()> {
        if self.is_pinned {
            return journal.take_over().await;
        }
        self.reader.floors().check_after(self.needs).await?;
        journal.take_over().await?;
        // A prune that did not see the checkpoint has put its floor before this look.
        self.reader.floors().check_after(self.needs).await
    }
}

/// The checkpoint of this reader, under a new name of its replayer.
pub async fn checkpoint(replayer: &Replayer, log: &LogReader) -> Result<(Checkpoints, pb::Checkpoint)> {
    let (checkpoints, saved) = Checkpoints::open(replayer.store.clone(), &replayer.reader).await?;
    let mut state =
        saved.unwrap_or_else(|| pb::Checkpoint { log_id: log.log_id().to_owned(), ..Default::default() });
    if state.log_id != log.log_id() {
        return Err(Error::refused(format!(
            "the checkpoint of {} belongs to log {}, but {} holds log {}",
            replayer.reader,
            state.log_id,
            replayer.store,
            log.log_id()
        ))
        .advice("give the task another name, or delete the readers folder of the old log"));
    }
    let skip = replayer.skip.places();
    if state.n > 0 && state.skip != skip {
        return Err(Error::refused(format!(
            "what {} has replayed so far left out {:?}, not {skip:?}",
            replayer.reader, state.skip
        ))
        .advice("leave out the same changes, or replay into an empty target under another name"));
    }
    state.skip = skip;
    state.replayer = Bytes::copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    Ok((checkpoints, state))
}

/// A target cannot go back: neither behind what is applied nor behind what may have been sent. `base`: with which it
/// begins.
pub async fn check_not_beyond(
    reader: &LogReader,
    state: &pb::Checkpoint,
    base: Option<&Base>,
    tail: Option<Seq>,
    until: Tso,
) -> Result<()> {
    let (applied, sent) = (Tso(state.applied_tso), newest_sent(reader, state, base, tail).await?);
    let beyond = if applied > until {
        format!("the target is at {} already", applied.time())
    } else if sent > until {
        format!("an earlier run may have brought changes up to {} into the target", sent.time())
    } else {
        return Ok(());
    };
    Err(Error::usage(format!("{beyond}, beyond {}", until.time()))
        .advice("choose a later instant, or replay into an empty target by a task of another name"))
}

/// The newest change that may have been sent without an ack: of the commits between ack and intent, as far as the log
/// goes, and of the run that wrote the intent.
async fn newest_sent(
    reader: &LogReader,
    state: &pb::Checkpoint,
    base: Option<&Base>,
    tail: Option<Seq>,
) -> Result<Tso> {
    let [ack, intent] =
        [state.ack, state.intent].map(|place| place.map(LogPosition::from).unwrap_or_default());
    let last = intent.reaches().min(tail.unwrap_or_default());
    let (mut newest, mut next) = match base.filter(|base| base.seq() <= last) {
        Some(base) => (base.watermark(), base.seq().next()),
        None => (Tso::ZERO, ack.seq.next()),
    };
    while next <= last {
        let segments = reader.commit(next).await?.map(|sealed| sealed.commit.segments).unwrap_or_default();
        newest = segments.iter().map(|segment| Tso(segment.last_tso)).fold(newest, Tso::max);
        next = next.next();
    }
    Ok(if state.intent_tso == 0 { newest } else { newest.min(Tso(state.intent_tso)) })
}
