//! Reading a log: commits one after another, and the objects that they name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::time::{Duration, Instant};

use super::base::{self, Base};
use super::commit::{self, Sealed};
use super::damage::Damage;
use super::envelope::{self, Kind};
use super::floor::{self, Floors};
use super::identity::Identity;
use super::layout;
use super::segment::{self, Segment};
use super::store::Store;
use super::tail;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::pb::log as pb;
use crate::position::Seq;

/// Commits that are read at once: each is small.
const COMMITS_AHEAD: usize = 32;
/// How often one who waits for the next commit looks whether all that he waits for was pruned.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Reads a log. Everything it returns has been checked against its digest.
#[derive(Clone, Debug)]
pub struct LogReader {
    store: Store,
    identity: Identity,
    /// A commit that is known to exist, so that the tail is found from there.
    known: Arc<AtomicU64>,
    floors: Floors,
}

impl LogReader {
    /// Opens the log in `store`.
    pub async fn open(store: Store) -> Result<LogReader> {
        LogReader::find(store.clone()).await?.ok_or_else(|| no_log(&store))
    }

    /// Opens the log in `store`, if there is one.
    pub async fn find(store: Store) -> Result<Option<LogReader>> {
        let Some(identity) = Identity::load(&store).await? else { return Ok(None) };
        let floors = Floors::new(store.clone(), identity.log_id.clone());
        floors.look().await?;
        Ok(Some(LogReader { store, identity, known: Arc::default(), floors }))
    }

    /// The log's uuid.
    pub fn log_id(&self) -> &str {
        &self.identity.log_id
    }

    /// The log's identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Below what the log is gone for good.
    pub fn floors(&self) -> &Floors {
        &self.floors
    }

    /// The base that a pruned log begins with; none: the log has its first commit.
    pub async fn beginning(&self) -> Result<Option<Base>> {
        while let Some(floor) = self.floors.look().await? {
            let seq = floor::base(&floor);
            if let Some(base) = self.base(seq).await? {
                return Ok(Some(base));
            }
            if self.floors.look().await?.is_none_or(|newer| newer.n == floor.n) {
                let why = format!("is missing, though {} begins the log with it", layout::floor(floor.n));
                return Err(Damage::new(&layout::base(seq), None, why).into());
            }
        }
        Ok(None)
    }

    /// Number of the last commit, which may be that of the base that the log begins with; none in an empty log.
    pub async fn tail(&self) -> Result<Option<Seq>> {
        let base = |floor: Option<pb::Floor>| floor.as_ref().map_or(0, |floor| floor::base(floor).0);
        let mut known = self.known.load(Ordering::Relaxed).max(base(self.floors.seen()));
        let last = loop {
            let last = tail::last_commit(&self.store, Seq(known)).await?;
            // Commits that went meanwhile look as if they had not come yet.
            match base(self.floors.look().await?) {
                base if base <= known => break last,
                base => known = base,
            }
        };
        self.known.fetch_max(last.0, Ordering::Relaxed);
        Ok((last > Seq(0)).then_some(last))
    }

    /// A commit, whatever stands before it; none while it is not there. For one that was pruned stands its base, if there is
    /// one; where both are gone it is refused.
    pub async fn commit(&self, seq: Seq) -> Result<Option<Sealed>> {
        // A writer that slept until its slot was pruned may have put another one there.
        let is_pruned = self.floors.seen().is_some_and(|floor| seq.0 < floor.first_seq);
        if is_pruned && let Some(base) = self.base(seq).await? {
            return Ok(Some(base.after));
        }
        let Some(bytes) = self.store.get(&layout::commit(seq)).await? else {
            return self.pruned(seq).await;
        };
        let sealed = commit::open(seq, bytes)?;
        self.known.fetch_max(seq.0, Ordering::Relaxed);
        Ok(Some(sealed))
    }

    async fn pruned(&self, seq: Seq) -> Result<Option<Sealed>> {
        let Some(floor) = self.floors.seen().filter(|floor| seq.0 < floor.first_seq) else { return Ok(None) };
        let base = match self.base(seq).await? {
            Some(base) => Some(base),
            // Also tells a base that is lost from one that was pruned.
            None => self.beginning().await?.filter(|base| base.seq() == seq),
        };
        base.map(|base| Some(base.after)).ok_or_else(|| floor::below(&floor, seq))
    }

    /// A commit that must be there.
    pub async fn existing(&self, seq: Seq) -> Result<Sealed> {
        if let Some(sealed) = self.commit(seq).await? {
            return Ok(sealed);
        }
        self.floors.look().await?;
        Ok(self.commit(seq).await?.ok_or_else(|| missing(seq))?)
    }

    /// Number of the last commit, 0 in an empty log. Where later commits stand beyond a missing one, an error.
    pub async fn last(&self) -> Result<Seq> {
        let last = self.tail().await?.unwrap_or_default();
        tail::nothing_beyond(&self.store, last).await?;
        Ok(last)
    }

    /// The commits after `previous` (none: from commit 1 on) up to `last`, in order, read ahead; each follows the one
    /// before.
    pub fn commits(
        &self,
        mut previous: Option<Sealed>,
        last: Seq,
    ) -> impl Stream<Item = Result<Sealed>> + use<> {
        let reader = self.clone();
        let first = previous.as_ref().map_or(Seq(1), |previous| previous.seq().next());
        let read = move |seq: u64| {
            let reader = reader.clone();
            async move { reader.existing(Seq(seq)).await }
        };
        stream::iter(first.0..=last.0).map(read).buffered(COMMITS_AHEAD).map(move |next: Result<Sealed>| {
            let next = next?;
            commit::follows(previous.as_ref(), &next.commit)?;
            previous = Some(next.clone());
            Ok(next)
        })
    }

    /// The commits whose state is stored as a base, in order, from the one on that the log begins with.
    pub async fn bases(&self) -> Result<Vec<Seq>> {
        let first = self.floors.look().await?.as_ref().map(floor::base).unwrap_or_default();
        let mut bases = Vec::new();
        let see = |key: &str, _| bases.extend(layout::parse_base(key).filter(|seq| *seq >= first));
        self.store.scan(layout::BASES, None, see).await?;
        bases.sort_unstable();
        Ok(bases)
    }

    /// The base of a commit; none: there is none.
    pub async fn base(&self, seq: Seq) -> Result<Option<Base>> {
        let Some(bytes) = self.store.get(&layout::base(seq)).await? else { return Ok(None) };
        Ok(Some(base::open(self.log_id(), seq, bytes)?))
    }

    /// A segment that a commit or a base names.
    pub async fn segment(&self, reference: &pb::ObjectRef) -> Result<Segment> {
        let bytes = self.object(reference).await?;
        Ok(open_segment(self.log_id(), reference, bytes)?)
    }

    /// A catalog that a commit names.
    pub async fn catalog(&self, reference: &pb::ObjectRef) -> Result<Catalog> {
        let bytes = self.object(reference).await?;
        Ok(open_catalog(reference, bytes)?)
    }

    async fn object(&self, reference: &pb::ObjectRef) -> Result<Bytes> {
        let key = &reference.key;
        let named = layout::parse_segment(key).or_else(|| layout::parse_catalog(key)).map(|named| named.seq);
        let Some(seq) = named.or_else(|| layout::parse_base_segment(key)) else {
            return Err(Error::refused(format!("\"{}\" is no object of a log", key.escape_debug())));
        };
        if let Some(bytes) = self.store.get(key).await? {
            return Ok(bytes);
        }
        self.check_kept(key, seq).await?;
        Err(Damage::new(key, None, format!("is missing; it was written for commit {seq}")).into())
    }

    /// Refuses an object that went with the commit that it was written for. The catalog of the base that the log begins
    /// with stays.
    async fn check_kept(&self, key: &str, seq: Seq) -> Result<()> {
        let Some(base) = self.beginning().await? else { return Ok(()) };
        let Some(floor) = self.floors.seen() else { return Ok(()) };
        let stays = match layout::parse_base_segment(key) {
            Some(seq) => seq >= base.seq(),
            None => seq > base.seq() || base.after.commit.catalog.is_some_and(|catalog| catalog.key == key),
        };
        if stays { Ok(()) } else { Err(floor::below(&floor, seq)) }
    }
}

/// A commit that must be there and is not.
pub(super) fn missing(seq: Seq) -> Damage {
    Damage::new(&layout::commit(seq), None, "is missing, but reading should go on after it")
}

/// The error where no log is.
pub fn no_log(place: impl std::fmt::Display) -> Error {
    Error::operator(format!("there is no log at {place}"))
        .advice("correct the URL, or start the recorder that writes this log")
}

/// The segment in an object's bytes. It must be one of this log, written for the commit in its name.
pub(super) fn open_segment(log_id: &str, reference: &pb::ObjectRef, bytes: Bytes) -> Result<Segment, Damage> {
    let key = &reference.key;
    let segment = segment::read(key, reference, bytes)?;
    let header = &segment.header;
    if header.log_id != log_id {
        return Err(Damage::new(key, None, format!("belongs to the log {}, not to {log_id}", header.log_id)));
    }
    let of_commit = layout::parse_segment(key).map(|named| (named.epoch, named.seq.0));
    let of_base = layout::parse_base_segment(key).map(|seq| (header.epoch, seq.0));
    if of_commit.or(of_base) != Some((header.epoch, header.seq)) {
        let message = format!("was written for commit {} in epoch {}", header.seq, header.epoch);
        return Err(Damage::new(key, None, message));
    }
    Ok(segment)
}

/// The catalog in an object's bytes.
pub(super) fn open_catalog(reference: &pb::ObjectRef, bytes: Bytes) -> Result<Catalog, Damage> {
    let found = commit::digest(&bytes);
    let catalog: pb::Catalog = envelope::open(Kind::Catalog, &reference.key, bytes)?;
    if found != *reference.digest {
        return Err(Damage::new(
            &reference.key,
            None,
            "is not the object that its commit names: another digest",
        ));
    }
    Ok(catalog.into())
}

/// Reads commits in order and checks that each follows the one before.
#[derive(Debug)]
pub struct Follower {
    reader: LogReader,
    last: Option<Sealed>,
    reached_tail: bool,
    looked: Instant,
}

impl Follower {
    /// Begins after commit `after`, which must be there; 0: with the first.
    pub async fn after(reader: LogReader, after: Seq) -> Result<Follower> {
        let last = match after {
            Seq(0) => None,
            _ => Some(reader.existing(after).await?),
        };
        Ok(Follower::new(reader, last))
    }

    /// Begins where the log does: with its first commit, or after the base that stands for those that were pruned.
    pub async fn beginning(reader: LogReader) -> Result<Follower> {
        let last = reader.beginning().await?.map(|base| base.after);
        Ok(Follower::new(reader, last))
    }

    /// Begins after a commit that was read, wherever it stands.
    pub fn going_on(reader: LogReader, last: Sealed) -> Follower {
        Follower::new(reader, Some(last))
    }

    /// Begins with commit `first`, which must be there; 1 may still come.
    pub async fn from(reader: LogReader, first: Seq) -> Result<Follower> {
        if let Some(floor) = reader.floors.look().await?.filter(|floor| first.0 < floor.first_seq) {
            return Err(floor::below(&floor, first));
        }
        if first > Seq(1) && reader.commit(first).await?.is_none() {
            let last = reader.last().await?;
            return Err(Error::usage(format!("the log ends at commit {last}"))
                .advice("begin at that commit or earlier"));
        }
        Follower::after(reader, Seq(first.0.saturating_sub(1))).await
    }

    fn new(reader: LogReader, last: Option<Sealed>) -> Follower {
        Follower { reader, last, reached_tail: false, looked: Instant::now() }
    }

    /// The next commit; none while it is not there. A commit that is missing while later ones are there is an error.
    pub async fn next(&mut self) -> Result<Option<Sealed>> {
        let seq = self.last.as_ref().map_or(Seq(1), |last| last.seq().next());
        let Some(next) = self.reader.commit(seq).await? else {
            self.nothing_lost(seq).await?;
            return Ok(None);
        };
        commit::follows(self.last.as_ref(), &next.commit)?;
        self.last = Some(next.clone());
        Ok(Some(next))
    }

    /// Tells the tail from a lost commit, by a listing when it is reached, then by looking one further; and from commits
    /// that were pruned: so many may be gone that nothing is one further.
    async fn nothing_lost(&mut self, absent: Seq) -> Result<()> {
        let store = &self.reader.store;
        let beyond = !self.reached_tail || store.exists(&layout::commit(absent.next())).await?;
        if beyond || self.looked.elapsed() >= LOOK_EVERY {
            let floor = self.reader.floors.look().await?;
            if let Some(floor) = floor.filter(|floor| absent.0 < floor.first_seq) {
                return Err(floor::below(&floor, absent));
            }
            self.looked = Instant::now();
        }
        if beyond {
            tail::nothing_beyond(store, Seq(absent.0.saturating_sub(1))).await?;
        }
        self.reached_tail = true;
        Ok(())
    }

    /// The last commit that was read.
    pub fn last(&self) -> Option<&Sealed> {
        self.last.as_ref()
    }

    /// For the objects that commits name.
    pub fn reader(&self) -> &LogReader {
        &self.reader
    }
}
