//! Reading a log: commits one after another, and the objects that they name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::base::{self, Base};
use super::commit::{self, Sealed};
use super::damage::Damage;
use super::envelope::{self, Kind};
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

/// Reads a log. Everything it returns has been checked against its digest.
#[derive(Clone, Debug)]
pub struct LogReader {
    store: Store,
    identity: Identity,
    /// A commit that is known to exist, so that the tail is found from there.
    known: Arc<AtomicU64>,
}

impl LogReader {
    /// Opens the log in `store`.
    pub async fn open(store: Store) -> Result<LogReader> {
        LogReader::find(store.clone()).await?.ok_or_else(|| no_log(&store))
    }

    /// Opens the log in `store`, if there is one.
    pub async fn find(store: Store) -> Result<Option<LogReader>> {
        let identity = Identity::load(&store).await?;
        Ok(identity.map(|identity| LogReader { store, identity, known: Arc::default() }))
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

    /// Number of the last commit; none in an empty log.
    pub async fn tail(&self) -> Result<Option<Seq>> {
        let known = self.known.load(Ordering::Relaxed);
        let last = tail::last_commit(&self.store, Seq(known)).await?;
        self.known.fetch_max(last.0, Ordering::Relaxed);
        Ok((last > Seq(0)).then_some(last))
    }

    /// A commit, whatever stands before it; none while it is not there.
    pub async fn commit(&self, seq: Seq) -> Result<Option<Sealed>> {
        let Some(bytes) = self.store.get(&layout::commit(seq)).await? else {
            return Ok(None);
        };
        let sealed = commit::open(seq, bytes)?;
        self.known.fetch_max(seq.0, Ordering::Relaxed);
        Ok(Some(sealed))
    }

    /// Number of the last commit, 0 in an empty log. Where later commits stand beyond a missing one, an error.
    pub async fn last(&self) -> Result<Seq> {
        let last = self.tail().await?.unwrap_or_default();
        tail::nothing_beyond(&self.store, last).await?;
        Ok(last)
    }

    /// The commits after `previous` up to `last`, in order, read ahead; each follows the one before.
    pub fn commits(
        &self,
        mut previous: Option<Sealed>,
        last: Seq,
    ) -> impl Stream<Item = Result<Sealed>> + use<> {
        let reader = self.clone();
        let first = previous.as_ref().map_or(Seq(1), |previous| previous.seq().next());
        let read = move |seq: u64| {
            let reader = reader.clone();
            async move { reader.commit(Seq(seq)).await?.ok_or_else(|| missing(Seq(seq)).into()) }
        };
        stream::iter(first.0..=last.0).map(read).buffered(COMMITS_AHEAD).map(move |next: Result<Sealed>| {
            let next = next?;
            commit::follows(previous.as_ref(), &next.commit)?;
            previous = Some(next.clone());
            Ok(next)
        })
    }

    /// The commits whose state is stored as a base, in order.
    pub async fn bases(&self) -> Result<Vec<Seq>> {
        let stored = self.store.list(layout::BASES, None).await?;
        let mut bases = stored.iter().filter_map(|(key, _)| layout::parse_base(key)).collect::<Vec<_>>();
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
        let missing = || Damage::new(key, None, format!("is missing; it was written for commit {seq}"));
        Ok(self.store.get(key).await?.ok_or_else(missing)?)
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
}

impl Follower {
    /// Begins after commit `after`, which must be there; 0: with the first.
    pub async fn after(reader: LogReader, after: Seq) -> Result<Follower> {
        let last = match after {
            Seq(0) => None,
            _ => Some(reader.commit(after).await?.ok_or_else(|| missing(after))?),
        };
        Ok(Follower { reader, last, reached_tail: false })
    }

    /// Begins after a commit that was read, wherever it stands.
    pub fn going_on(reader: LogReader, last: Sealed) -> Follower {
        Follower { reader, last: Some(last), reached_tail: false }
    }

    /// Begins with commit `first`, which must be there; 1 may still come.
    pub async fn from(reader: LogReader, first: Seq) -> Result<Follower> {
        if first > Seq(1) && reader.commit(first).await?.is_none() {
            let last = reader.tail().await?.unwrap_or_default();
            tail::nothing_beyond(&reader.store, last).await?;
            return Err(Error::usage(format!("the log ends at commit {last}"))
                .advice("begin at that commit or earlier"));
        }
        Follower::after(reader, Seq(first.0.saturating_sub(1))).await
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

    /// Tells the tail from a lost commit: by a listing when it is reached, then by looking one further.
    async fn nothing_lost(&mut self, absent: Seq) -> Result<()> {
        let store = &self.reader.store;
        if !self.reached_tail || store.exists(&layout::commit(absent.next())).await? {
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
