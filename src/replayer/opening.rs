//! What a run finds when it opens: the checkpoint, the log's tail, and whether they allow to go where it is to end.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::log::base::Base;
use crate::log::checkpoint::{Checkpoints, pinned};
use crate::log::reader::LogReader;
use crate::pb::log as pb;
use crate::position::{LogPosition, Seq};
use crate::tick::Tso;

use super::Replayer;

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

/// Where an earlier run has stored that it stands: no prune goes beyond.
pub fn pin(state: &pb::Checkpoint) -> Option<Seq> {
    pinned(state).filter(|_| state.n > 0)
}

/// The watermark of the log's tail.
pub async fn watermark(reader: &LogReader, tail: Option<Seq>) -> Result<Tso> {
    let Some(tail) = tail else { return Ok(Tso::ZERO) };
    let last = reader.commit(tail).await?;
    Ok(last.map(|sealed| Tso(sealed.commit.watermark)).unwrap_or_default())
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
