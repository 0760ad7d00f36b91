//! What a log can do, told in the order of the source's time: what changed in its definitions, what was deleted, how
//! many rows came and went, where it has holes; at the end which instants can be restored.
//!
//! Entries are shown as they are read. What is in memory is the catalog, one commit with a few segments, and totals.

mod commit;
mod entry;
mod periods;
mod picture;
mod subject;

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use super::commit::Sealed;
use super::coverage::Coverage;
use super::points;
use super::reader::LogReader;
use super::seek;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::pb::log::ObjectRef;
use crate::position::Seq;
use crate::tick::Tso;
use commit::Told;
use periods::Periods;

pub use entry::{At, Entry, LogTotal, RowTotal, Span};
pub use picture::Picture;

/// Segments that are read at once.
const SEGMENTS_AHEAD: usize = 2;

/// What of a log is told.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Changes from this instant on...
    pub from: Tso,
    /// ...up to this one, included.
    pub to: Tso,
    /// The time over which rows are counted together.
    pub period: Duration,
}

/// Tells the part of a log to `show`, each entry in the order of the source's time as far as commits have it (within a
/// commit by TSO). Restore points, windows, holes and the last entry, the totals, are of the whole log, rows of the part.
/// What `show` returns is waited for.
pub async fn timeline<F: Future<Output = Result<()>>>(
    reader: &LogReader,
    part: Part,
    mut show: impl FnMut(Entry) -> F,
    mut on_progress: impl FnMut(Seq, Seq),
) -> Result<()> {
    if part.from > part.to {
        return Err(Error::usage(format!("{} lies after {}", part.from.time(), part.to.time()))
            .advice("give --from an earlier instant than --to"));
    }
    let mut periods = Periods::new(part.period)?;
    let last = reader.last().await?;
    let beginning = reader.beginning().await?;
    let mut coverage = beginning.as_ref().map(Coverage::after).unwrap_or_default();
    let mut before: Option<Sealed> = beginning.map(|base| base.after);
    let pruned = before.as_ref().map(Sealed::seq).unwrap_or_default();
    let first = match part.from {
        Tso::ZERO => pruned.next(),
        from => seek::first_after(reader.store(), pruned, last, Tso(from.0 - 1)).await?,
    };
    let earliest = match &before {
        Some(base) => Some(base.clone()),
        None => reader.commit(Seq(1)).await?,
    };
    let source = earliest.and_then(|sealed| sealed.commit.source);
    show(Entry::log(reader.identity(), source.unwrap_or_default())).await?;
    let mut catalog = Catalog::default();
    let mut commits = Box::pin(reader.commits(before.clone(), last));
    while let Some(sealed) = commits.try_next().await? {
        let seq = sealed.seq();
        let (holes, after) = (coverage.holes.len(), coverage.watermark);
        coverage.add(&sealed.commit);
        let holes = coverage.holes.get(holes..).unwrap_or_default();
        if seq >= first && after <= part.to {
            if seq == first {
                catalog = catalog_of(reader, before.as_ref()).await?;
            }
            let mut told = Told::new(seq.0, part, holes, &coverage);
            let named = stream::iter(sealed.commit.segments.clone());
            let read = |named: ObjectRef| async move { reader.segment(&named).await };
            let mut segments = named.map(read).buffered(SEGMENTS_AHEAD);
            while let Some(segment) = segments.try_next().await? {
                told.read(segment, &mut periods)?;
            }
            for entry in told.entries(&mut catalog)?.into_iter().chain(periods.before(after)) {
                show(entry).await?;
            }
        } else {
            for hole in holes {
                show(Entry::hole(hole, &coverage)).await?;
            }
        }
        before = Some(sealed);
        on_progress(seq, last);
    }
    for rows in periods.before(Tso::MAX) {
        show(rows).await?;
    }
    for point in points::all(reader).await? {
        show(Entry::Point { name: point.name, at: Tso(point.tso).into() }).await?;
    }
    for window in &coverage.windows {
        show(Entry::window(*window)).await?;
    }
    show(Entry::Total(LogTotal::new(&coverage, periods.total()))).await
}

async fn catalog_of(reader: &LogReader, before: Option<&Sealed>) -> Result<Catalog> {
    match before.and_then(|before| before.commit.catalog.as_ref()) {
        Some(named) => reader.catalog(named).await,
        None => Ok(Catalog::default()),
    }
}
