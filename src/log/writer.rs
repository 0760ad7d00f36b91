//! Writing a log: segments and catalogs first, in any order and in parallel; then, one after another, the commits that
//! name them.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use uuid::Uuid;

use super::commit::{self, Sealed};
use super::envelope::{self, Kind};
use super::floor::Floors;
use super::identity::Identity;
use super::layout::{self, Named};
use super::reader::LogReader;
use super::store::{Created, Store};
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::pb::log as pb;
use crate::position::Seq;

/// How often a takeover may lose its slot to a recorder that is still at work.
const TAKEOVERS: u32 = 100;

/// The right to write a log, until another writer takes it.
pub struct LogWriter {
    store: Store,
    log_id: String,
    floors: Floors,
    source: pb::SourceIdentity,
    writer: Bytes,
    epoch: u64,
    last: Option<Sealed>,
    pending: Option<Pending>,
}

/// A commit that was sent and whose outcome is not known: only the very same bytes may be sent again.
struct Pending {
    draft: pb::Commit,
    bytes: Bytes,
    sealed: Sealed,
}

/// What a log holds at its end: the state to continue from.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The last commit: this writer's fence.
    pub commit: pb::Commit,
    /// The catalog as of its watermark.
    pub catalog: Catalog,
}

impl LogWriter {
    /// Begins a log, or takes one over: a fence is committed, and the writer before loses at its next commit. A log of
    /// another source is refused. Of an empty log there is no tail, and nothing is committed yet.
    pub async fn open(store: Store, source: &pb::SourceIdentity) -> Result<(LogWriter, Option<Tail>)> {
        let log_id = Identity::load_or_create(&store).await?.log_id;
        let reader = LogReader::open(store.clone()).await?;
        let writer = Bytes::copy_from_slice(Uuid::new_v4().as_bytes());
        let (floors, source) = (reader.floors().clone(), source.clone());
        let mut this =
            LogWriter { store, log_id, floors, source, writer, epoch: 1, last: None, pending: None };
        let found = reader.last().await?;
        if found == Seq(0) {
            return Ok((this, None));
        }
        let Some(mut last) = reader.commit(found).await? else {
            return Err(Error::retry(format!("commit {found} was there and is not now, in {}", this.store)));
        };
        let (mut named, mut catalog) = (None, Catalog::default());
        for _ in 0..TAKEOVERS {
            // Read first: a log that cannot be continued is not taken from whoever writes it.
            if let Some(reference) =
                last.commit.catalog.as_ref().filter(|reference| named.as_ref() != Some(*reference))
            {
                catalog = reader.catalog(reference).await?;
                named = Some(reference.clone());
            }
            match this.take_over(last).await? {
                Ok(fence) => return Ok((this, Some(Tail { commit: fence, catalog }))),
                Err(other) => last = other,
            }
        }
        Err(Error::retry(format!(
            "another recorder writes the log {} faster than it can be taken over",
            this.store
        ))
        .advice("stop the other recorder"))
    }

    /// Puts a fence after `last`. The inner error is what another writer has put there.
    async fn take_over(&mut self, last: Sealed) -> Result<Result<pb::Commit, Sealed>> {
        if last.commit.source.as_ref() != Some(&self.source) {
            return Err(Error::refused(format!(
                "the log {} holds another source: {}, not {}",
                self.store,
                name(last.commit.source.as_ref()),
                name(Some(&self.source))
            ))
            .advice("give this source a log of its own: another prefix"));
        }
        self.epoch = last.commit.epoch.saturating_add(1);
        let (bytes, fence) = commit::seal(self.complete(commit::fence(&last.commit), Some(&last)));
        let seq = fence.seq();
        match self.store.create(&layout::commit(seq), bytes).await? {
            Created::Yes => {
                self.floors.check_made(seq).await?;
                self.last = Some(fence.clone());
                Ok(Ok(fence.commit))
            }
            Created::No(existing) => {
                let other = commit::open(seq, existing)?;
                commit::follows(Some(&last), &other.commit)?;
                Ok(Err(other))
            }
        }
    }

    /// The log's uuid, for segment headers.
    pub fn log_id(&self) -> &str {
        &self.log_id
    }

    /// This writer's number.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The commit to be made next.
    pub fn next_seq(&self) -> Seq {
        self.last.as_ref().map_or(Seq(1), |last| last.seq().next())
    }

    /// For writing what commits name.
    pub fn uploader(&self) -> Uploader {
        Uploader { store: self.store.clone(), epoch: self.epoch }
    }

    /// Commits: from here on `draft` is in the log. Number, epoch, writer, chain, time and source are filled in here.
    ///
    /// After a `Retry` error the outcome is unknown: the same draft must be given again, and is in the log once.
    /// `Fenced` says that another writer has the log: this one must not be used again.
    pub async fn commit(&mut self, draft: pb::Commit) -> Result<pb::Commit> {
        if let Some(pending) = &self.pending
            && pending.draft != draft
        {
            return Err(Error::refused(format!(
                "the outcome of commit {} is unknown, and now it should be another",
                pending.sealed.seq()
            ))
            .advice("start the task again: it continues from what the log holds"));
        }
        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => {
                let complete = self.complete(draft.clone(), self.last.as_ref());
                commit::follows(self.last.as_ref(), &complete)?;
                let (bytes, sealed) = commit::seal(complete);
                Pending { draft, bytes, sealed }
            }
        };
        // In place before the first await: a commit that is cancelled has an unknown outcome too.
        let pending = self.pending.insert(pending);
        let seq = pending.sealed.seq();
        match self.store.create(&layout::commit(seq), pending.bytes.clone()).await? {
            Created::Yes => {
                let sealed = pending.sealed.clone();
                self.floors.check_made(seq).await?;
                self.pending = None;
                self.last = Some(sealed.clone());
                Ok(sealed.commit)
            }
            Created::No(existing) => Err(fenced(seq, existing)),
        }
    }

    fn complete(&self, draft: pb::Commit, last: Option<&Sealed>) -> pb::Commit {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        pb::Commit {
            seq: last.map_or(Seq(1), |last| last.seq().next()).0,
            epoch: self.epoch,
            writer: self.writer.clone(),
            previous_digest: last.map_or_else(Bytes::new, |last| Bytes::copy_from_slice(&last.digest)),
            wall_time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            source: Some(self.source.clone()),
            ..draft
        }
    }
}

fn fenced(seq: Seq, existing: Bytes) -> Error {
    let other = match commit::open(seq, existing) {
        Ok(other) => other.commit,
        Err(damage) => return damage.into(),
    };
    let writer = Uuid::from_slice(&other.writer).unwrap_or_default();
    Error::fenced(format!(
        "writer {writer} has taken the log over with epoch {}, at commit {seq}",
        other.epoch
    ))
    .advice("another recorder runs on this log: stop one of the two")
}

fn name(source: Option<&pb::SourceIdentity>) -> String {
    source.map_or_else(|| "none".into(), |source| format!("{} with etcd {}", source.queue, source.etcd))
}

/// Writes the objects that a commit will name. An object that no commit names does not exist for any reader, so any
/// number of tries may fail.
#[derive(Clone, Debug)]
pub struct Uploader {
    store: Store,
    epoch: u64,
}

impl Uploader {
    /// Stores a segment for commit `seq`; `reference` is what [`super::segment::SegmentWriter::finish`] returned.
    pub async fn put_segment(
        &self,
        seq: Seq,
        bytes: Bytes,
        reference: pb::ObjectRef,
    ) -> Result<pb::ObjectRef> {
        let digest = reference.digest.first_chunk().copied().unwrap_or_else(|| commit::digest(&bytes));
        let key = layout::segment(Named::new(self.epoch, seq, &digest));
        self.store.put(&key, bytes).await?;
        Ok(pb::ObjectRef { key, ..reference })
    }

    /// Stores the catalog for commit `seq`.
    pub async fn put_catalog(&self, seq: Seq, catalog: &Catalog) -> Result<pb::ObjectRef> {
        let bytes = envelope::seal(Kind::Catalog, &pb::Catalog::from(catalog));
        let digest = commit::digest(&bytes);
        let key = layout::catalog(Named::new(self.epoch, seq, &digest));
        let reference = pb::ObjectRef {
            key: key.clone(),
            length: bytes.len() as u64,
            digest: Bytes::copy_from_slice(&digest),
            ..Default::default()
        };
        self.store.put(&key, bytes).await?;
        Ok(reference)
    }
}

#[cfg(test)]
impl LogWriter {
    /// The same writer behind another store.
    pub(super) fn with_store(self, store: Store) -> LogWriter {
        let floors = Floors::new(store.clone(), self.log_id.clone());
        LogWriter { store, floors, ..self }
    }
}
