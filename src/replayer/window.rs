//! The instants that a log can be replayed to.

use crate::error::{Error, Result};
use crate::log::reader::{Follower, LogReader};
use crate::position::Seq;
use crate::tick::Tso;

/// A log that begins in the middle of a source's life can be replayed to an instant only once it holds all of it.
pub async fn check_opened(reader: &LogReader, tail: Option<Seq>, until: Tso) -> Result<()> {
    let opens_at = tip(reader, tail).await?.map(|(opens_at, _)| opens_at);
    match opens_at.filter(|opens_at| until < *opens_at) {
        Some(opens_at) => Err(outside(reader, until, format!("the log opens at {}", opens_at.time())).await?),
        None => Ok(()),
    }
}

/// Refuses an instant that the log does not hold yet. A hole before it shows on the way there.
pub async fn check_held(reader: &LogReader, tail: Option<Seq>, until: Tso) -> Result<()> {
    check_opened(reader, tail, until).await?;
    let (opens_at, watermark) = tip(reader, tail).await?.unwrap_or_default();
    if until <= watermark {
        return Ok(());
    }
    let ends = match watermark < opens_at {
        true => "the log holds no instant in full yet".to_owned(),
        false => format!("the log ends at {}", watermark.time()),
    };
    Err(outside(reader, until, ends).await?)
}

/// The error for an instant that the log cannot be replayed to, with the window that there is.
pub async fn outside(reader: &LogReader, until: Tso, why: String) -> Result<Error> {
    let advice = match window(reader).await? {
        Some((from, to)) => {
            format!("choose an instant from {} ({from}) to {} ({to})", from.time(), to.time())
        }
        None => "it can be replayed to no instant yet".to_owned(),
    };
    let error = Error::refused(format!("{why}: it cannot be replayed to {} ({until})", until.time()));
    Ok(error.advice(advice))
}

/// Where the log opens, and the watermark of its tail.
async fn tip(reader: &LogReader, tail: Option<Seq>) -> Result<Option<(Tso, Tso)>> {
    let Some(tail) = tail else { return Ok(None) };
    let commit = reader.commit(tail).await?.map(|sealed| sealed.commit);
    Ok(commit.map(|commit| (Tso(commit.opens_at), Tso(commit.watermark))))
}

/// From where the log opens, or the base that it begins with, up to its tail, or to the first hole: nothing is whole beyond one.
async fn window(reader: &LogReader) -> Result<Option<(Tso, Tso)>> {
    let mut follower = Follower::beginning(reader.clone()).await?;
    let base = follower.last().map(|base| Tso(base.commit.watermark)).unwrap_or_default();
    let (mut opens_at, mut watermark) = (base, base);
    while let Some(sealed) = follower.next().await?
        && sealed.commit.holes.is_empty()
    {
        (opens_at, watermark) = (base.max(Tso(sealed.commit.opens_at)), Tso(sealed.commit.watermark));
    }
    Ok((Tso::ZERO < opens_at && opens_at <= watermark).then_some((opens_at, watermark)))
}
