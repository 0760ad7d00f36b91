//! Taking a base: the rows that live after a commit, out of the archive, so that a restore needs nothing before it.

mod segments;

use std::time::{SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;
use serde::Serialize;

use super::archiver::{self, archive_to};
use super::living::History;
use super::manifest::Sealed;
use super::manifests::{Manifests, other_commit};
use crate::error::{Context, Error, Result};
use crate::log::base::{self, Base};
use crate::log::commit;
use crate::log::incomplete::Incomplete;
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::log::seek::first_after;
use crate::position::Seq;
use crate::store::{Created, Store};
use crate::tick::Tso;
use segments::Segments;

/// How much is held in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of what is archived first.
    pub archive: archiver::Limits,
    /// Of keys that are closed for older rows.
    pub closed_bytes: usize,
    /// Of a segment of the base.
    pub segment_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        let archive = archiver::Limits::default();
        Limits { archive, closed_bytes: 64 << 20, segment_bytes: 8 << 20 }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A commit was archived; the last one that will be.
    Archived(Seq, Seq),
    /// So many living rows were found.
    Found(u64),
}

/// A base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The commit whose state it holds.
    pub commit: u64,
    /// The instant of that state, as a TSO.
    pub tso: u64,
    /// The instant, RFC 3339.
    pub time: String,
    /// Whether it was taken now; else it was there.
    pub taken: bool,
    /// Rows in it.
    pub rows: u64,
    /// Its segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Takes the base of the last commit at or before an instant (none: of the log's last) at which a manifest of the archive
/// ends; what is not archived up to there is archived first. Stopped anywhere, it leaves no base. Begins again where
/// a prune has overtaken it. Refused: a state that the log does not hold.
pub async fn take(
    store: Store,
    at: Option<Tso>,
    limits: Limits,
    mut on_progress: impl FnMut(Step),
) -> Result<Report> {
    loop {
        let reader = LogReader::open(store.clone()).await?;
        let floor = reader.floors().seen();
        match take_above(&reader, &store, at, limits, &mut on_progress).await {
            Err(_) if reader.floors().have_risen_from(&floor).await => {}
            ended => return ended,
        }
    }
}

/// As [`take`], while the floor stays where it is.
async fn take_above(
    reader: &LogReader,
    store: &Store,
    at: Option<Tso>,
    limits: Limits,
    on_progress: &mut impl FnMut(Step),
) -> Result<Report> {
    let beginning = reader.beginning().await?;
    let begin = beginning.as_ref().map(Base::seq).unwrap_or_default();
    let last = reader.last().await?;
    let wanted = match at {
        Some(at) => Seq(first_after(store, begin, last, at).await?.0.saturating_sub(1)),
        None => last,
    };
    if let Some(base) = beginning.filter(|_| wanted <= begin) {
        return there(base, at);
    }
    let Some(tail) = reader.commit(last).await? else {
        return Err(
            Error::refused("the log has no commit yet").advice("let its recorder run, then try again")
        );
    };
    if wanted == Seq(0) {
        return Err(Error::refused("the log has no commit up to then").advice("choose a later instant"));
    }
    let archived = |seq, last, _: &archiver::Report| on_progress(Step::Archived(seq, last));
    archive_to(store.clone(), limits.archive, wanted, archived).await.context(|| "archiving")?;
    let manifests = Manifests::open(store.clone(), reader.log_id()).await?;
    let (end, after) = end(reader, &manifests, wanted).await?;
    if after.commit.watermark < tail.commit.opens_at {
        let (at, opens_at) = (Tso(after.commit.watermark).time(), Tso(tail.commit.opens_at).time());
        let seq = after.seq();
        return Err(Error::refused(format!(
            "commit {seq} has the state of {at}, and the log opens at {opens_at}"
        ))
        .advice("choose a later instant: before it opens a log holds no state that its source had"));
    }
    if let Some(there) = reader.base(after.seq()).await? {
        return Ok(report(&there, false));
    }
    let (earlier, incomplete) = earlier(reader, &manifests, end.clone()).await?;
    check_whole(reader, earlier.as_ref(), &after).await?;
    let catalog = archiver::catalog(reader, Some(&after)).await?;
    let mut segments = Segments::new(store, reader.log_id(), &after, limits.segment_bytes);
    let history = History {
        store,
        reader,
        manifests: &manifests,
        end: &end,
        catalog: &catalog,
        base: earlier.as_ref(),
    };
    let add = async |insert| {
        segments.add(insert).await?;
        on_progress(Step::Found(segments.rows()));
        Ok(())
    };
    history.living(limits.closed_bytes, add).await?;
    let segments = segments.finish(&catalog.definitions()).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall_time_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let base = Base { after, segments, wall_time_ms, incomplete };
    let created = store.create(&layout::base(base.seq()), base::seal(reader.log_id(), &base)).await?;
    match created {
        Created::Yes => Ok(report(&base, true)),
        Created::No(other) => Ok(report(&base::open(reader.log_id(), base.seq(), other)?, false)),
    }
}

/// The base that a pruned log begins with, where no later one is wanted.
fn there(base: Base, at: Option<Tso>) -> Result<Report> {
    if at.is_some_and(|at| at < base.watermark()) {
        return Err(Error::refused(format!("the log was pruned: it begins at {}", base.watermark().time()))
            .advice("choose a later instant"));
    }
    Ok(report(&base, false))
}

fn report(base: &Base, taken: bool) -> Report {
    let sum = |count: fn(&crate::pb::log::ObjectRef) -> u64| {
        base.segments.iter().map(count).fold(0, u64::saturating_add)
    };
    Report {
        commit: base.seq().0,
        tso: base.watermark().0,
        time: base.watermark().time(),
        taken,
        rows: sum(|segment| segment.rows),
        segments: base.segments.len() as u64,
        bytes: sum(|segment| segment.length),
    }
}

/// The last manifest that ends at or before a commit, and the commit at which it ends.
async fn end(reader: &LogReader, manifests: &Manifests, wanted: Seq) -> Result<(Sealed, commit::Sealed)> {
    let mut next = manifests.last().cloned();
    while let Some(sealed) = next.take_if(|sealed| sealed.last() > wanted) {
        next = manifests.before(&sealed).await?;
    }
    let Some(sealed) = next else {
        return Err(Error::refused(format!("no manifest of the archive ends at or before commit {wanted}"))
            .advice("choose a later instant"));
    };
    let commit = reader.commit(sealed.last()).await?;
    let commit = commit.filter(|commit| commit.digest[..] == sealed.manifest.commit_digest[..]);
    let commit = commit.ok_or_else(|| other_commit(&sealed.manifest))?;
    Ok((sealed, commit))
}

/// The newest base right after which this manifest, or one before it, begins; and what up to this one's end no
/// replayer can apply.
async fn earlier(
    reader: &LogReader,
    manifests: &Manifests,
    mut first: Sealed,
) -> Result<(Option<Base>, Incomplete)> {
    let bases = reader.bases().await?;
    let mut since = Incomplete::default();
    loop {
        let mut incomplete = first.incomplete();
        incomplete.join(&since);
        since = incomplete;
        let seq = Seq(first.manifest.first_seq.saturating_sub(1));
        if bases.binary_search(&seq).is_ok() {
            let gone = || Error::retry(format!("{} went while the log was read", layout::base(seq)));
            let base = reader.base(seq).await?.ok_or_else(gone)?;
            let mut incomplete = base.incomplete.clone();
            incomplete.join(&since);
            return Ok((Some(base), incomplete));
        }
        match manifests.before(&first).await? {
            Some(before) => first = before,
            None => break,
        }
    }
    match reader.beginning().await? {
        Some(base) => Err(Error::refused(format!(
            "no manifest of the archive begins right after commit {}, whose base the log begins with",
            base.seq()
        ))
        .advice("the archive was made anew since: bring it back from a copy of the bucket")),
        None => Ok((None, since)),
    }
}

/// Beyond a hole no state is known.
async fn check_whole(reader: &LogReader, earlier: Option<&Base>, last: &commit::Sealed) -> Result<()> {
    let commits = reader.commits(earlier.map(|base| base.after.clone()), last.seq());
    commits
        .try_for_each(async |sealed| {
            let Some(hole) = sealed.commit.holes.first() else { return Ok(()) };
            let (seq, channel, reason) = (sealed.seq(), &hole.channel, &hole.reason);
            Err(Error::refused(format!("commit {seq} records a hole on channel {channel}: {reason}"))
                .advice("choose an instant before it, or record into a new log"))
        })
        .await
}
