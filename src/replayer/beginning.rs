//! With what a replay begins: the newest base before its end, else the first commit.

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::log::base::{self, Base};
use crate::log::reader::{Follower, LogReader};
use crate::pb::log as pb;
use crate::position::{LogPosition, Seq};
use crate::tick::Tso;

use super::skip::Skip;

/// Whether nothing can have been sent yet.
pub fn is_new(state: &pb::Checkpoint) -> bool {
    state.intent.map(LogPosition::from).unwrap_or_default().reaches() < Seq(state.base.max(1))
}

/// The base with which a reader begins, until all of it is applied; none: it goes on after its ack. While nothing was sent
/// it is chosen, and the checkpoint says so; after that it stays the same.
pub async fn begin(
    reader: &LogReader,
    state: &mut pb::Checkpoint,
    skip: &Skip,
    until: Tso,
) -> Result<Option<Base>> {
    let begun = Seq(state.base);
    let base = if is_new(state) {
        let base = newest(reader, skip, until, Seq(u64::MAX)).await?;
        let seq = base.as_ref().map_or(0, |base| base.seq().0);
        if state.base != seq {
            let before = LogPosition::after(Seq(seq.saturating_sub(1))).into();
            (state.base, state.ack, state.intent) = (seq, Some(before), Some(before));
            (state.checked, state.checked_tso) = (0, 0);
        }
        base
    } else if begun > Seq(0) {
        let gone =
            || Error::refused(format!("the base of commit {begun}, a part of which was replayed, is gone"));
        let advice =
            "bring it back from a copy of the bucket, or replay into an empty target under another name";
        Some(reader.base(begun).await?.ok_or_else(|| gone().advice(advice))?)
    } else {
        None
    };
    if let Some(base) = &base {
        base::check_stored(reader, base).await?;
    }
    Ok(base)
}

/// With what a replay that has come to a commit could have begun: the base that it did begin with, or the newest one.
pub async fn before(
    reader: &LogReader,
    begun: Option<&Base>,
    skip: &Skip,
    until: Tso,
    ack: Seq,
) -> Result<Option<Base>> {
    match begun {
        Some(base) => Ok(Some(base.clone())),
        None => newest(reader, skip, until, ack).await,
    }
}

/// The newest base up to an instant and a commit after which all changes stand that are left out.
async fn newest(reader: &LogReader, skip: &Skip, until: Tso, last: Seq) -> Result<Option<Base>> {
    for seq in reader.bases().await?.into_iter().rev().filter(|seq| *seq <= last) {
        let Some(base) = reader.base(seq).await? else { continue };
        if base.watermark() <= until && skip.is_after(seq, base.watermark()) {
            return Ok(Some(base));
        }
    }
    Ok(None)
}

/// The first instant that a replay with this beginning can come to.
pub async fn opens_at(reader: &LogReader, base: Option<&Base>) -> Result<Tso> {
    match base {
        Some(base) => Ok(base.watermark()),
        None => Ok(reader.commit(Seq(1)).await?.map(|first| Tso(first.commit.opens_at)).unwrap_or_default()),
    }
}

/// What exists after a commit, and what follows it. A commit that is gone has a base in its place.
pub async fn after(reader: &LogReader, seq: Seq) -> Result<(Catalog, Follower)> {
    let follower = Follower::after(reader.clone(), seq).await?;
    let catalog = match follower.last().and_then(|last| last.commit.catalog.as_ref()) {
        Some(reference) => reader.catalog(reference).await?,
        None => Catalog::default(),
    };
    Ok((catalog, follower))
}
