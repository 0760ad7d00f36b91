//! Checking a log: every digest, every link of the chain, every object that a commit names, and that each catalog is
//! what the definitions since the one before make of it.

mod beginning;
mod report;
mod schema;
mod unnamed;

use bytes::Bytes;

use super::base::Base;
use super::commit::{self, Sealed};
use super::damage::Damage;
use super::identity::Identity;
use super::reader::{missing, no_log, open_segment};
use super::segment::{self, Segment};
use super::store::{Store, Unreadable};
use super::{checkpoint, layout, points, seek};
use crate::error::{Error, Result, Verdict};
use crate::pb::log as pb;
use crate::position::Seq;
use crate::tick::Tso;
use schema::Schema;
use unnamed::Unnamed;

pub use report::Report;

/// How much of a log is checked. Floors, restore points and checkpoints are checked always: there are few. What lies below
/// the floor is not looked at: the next prune takes it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Whole,
    /// Commits with a later watermark, and their bases.
    Since(Tso),
    /// Commits after one, which is taken for well, and their bases.
    After(Seq),
}

/// Checks a log and goes on after each damage, and where the log begins after a prune that has overtaken it; an error
/// means that the store itself failed, or that no log is there.
/// After each commit `on_progress` gets its number and the bytes of segments so far, and is waited for. In memory are a
/// segment, a catalog and the names of a stretch of commits.
pub async fn verify<F: Future<Output = ()>>(
    store: Store,
    scope: Scope,
    mut on_progress: impl FnMut(Seq, u64) -> F,
) -> Result<Report> {
    let mut this = Verifier::new(&store);
    let (first, last) = this.begin(scope).await?;
    this.unnamed.list(&store, first, last, scope == Scope::Whole).await?;
    // A prune may have overtaken it already.
    let mut seq = if first > this.pruned { first } else { this.after(first).await? };
    while seq <= last {
        if this.unnamed.begins_at(seq) {
            this.tell_orphans(last).await?;
            this.unnamed.list(&store, seq, last, false).await?;
        }
        this.commit(seq).await?;
        on_progress(seq, this.report.bytes).await;
        seq = this.after(seq).await?;
    }
    this.tell_orphans(last).await?;
    this.bases(if scope == Scope::Whole { Seq(0) } else { first }, on_progress).await?;
    this.points().await?;
    this.checkpoints().await?;
    Ok(this.report)
}

struct Verifier<'a> {
    store: &'a Store,
    log_id: Option<String>,
    /// The newest floor that was looked at; 0: none.
    floors: u64,
    /// The one that counts; none: there is none, or the newest is damaged.
    floor: Option<pb::Floor>,
    /// The commit before the first one that was not pruned.
    pruned: Seq,
    /// The base that stands for it; none: nothing was pruned, or it is damaged.
    beginning: Option<Base>,
    previous: Option<Sealed>,
    schema: Schema,
    unnamed: Unnamed,
    report: Report,
}

impl Verifier<'_> {
    fn new(store: &Store) -> Verifier<'_> {
        let (schema, report) = (Schema::beginning(), Report::default());
        Verifier {
            store,
            log_id: None,
            floors: 0,
            floor: None,
            pruned: Seq(0),
            beginning: None,
            previous: None,
            schema,
            unnamed: Unnamed::default(),
            report,
        }
    }

    /// Checks the identity and finds the commits of a scope: the first, which need not be there, and the last.
    async fn begin(&mut self, scope: Scope) -> Result<(Seq, Seq)> {
        let after = match scope {
            Scope::After(after) => after,
            Scope::Whole | Scope::Since(_) => Seq(0),
        };
        let (mut any, mut lowest, mut last) = (false, Seq(u64::MAX), after);
        let after = (after > Seq(0)).then(|| layout::commit(after));
        let (unnamed, whole) = (&mut self.unnamed, scope == Scope::Whole);
        let see = |key: &str, _| {
            any = true;
            match layout::parse_commit(key) {
                Some(seq) => (lowest, last) = (lowest.min(seq), last.max(seq)),
                None if whole => unnamed.add(key),
                None => {}
            }
        };
        self.store.scan(layout::COMMITS, after.as_deref(), see).await?;
        let identity = match self.store.read(layout::IDENTITY).await? {
            // Nothing of the log could be told from damage.
            Some(Err(why)) if why.is_of_keys() => return Err(why.error(self.store, layout::IDENTITY)),
            Some(bytes) => {
                let bytes = bytes.map_err(|why| Damage::unreadable(layout::IDENTITY, &why));
                self.report.note(bytes.and_then(|bytes| Identity::from_bytes(&bytes)))
            }
            None if !any => return Err(no_log(self.store)),
            None => self.report.note(Err(Damage::new(layout::IDENTITY, None, "is missing"))),
        };
        self.log_id = identity.map(|identity| identity.log_id);
        let whole = self.floors().await?;
        let first = match scope {
            Scope::Since(since) => seek::first_after(self.store, self.pruned, last, since).await?,
            Scope::After(after) => after.next().max(self.pruned.next()),
            // What lies below a damaged floor is not known.
            Scope::Whole if !whole => lowest.min(last.next()),
            Scope::Whole => self.pruned.next(),
        };
        let last = last.max(self.pruned);
        if first > Seq(1) && whole {
            self.go_on_after(Seq(first.0 - 1)).await?;
        } else if !whole {
            self.schema = Schema::unknown();
        }
        (self.report.log_id, self.report.from, self.report.to) = (self.log_id.clone(), first.0, last.0);
        Ok((first, last))
    }

    /// The links to a commit before the scope.
    async fn go_on_after(&mut self, seq: Seq) -> Result<()> {
        let sealed = if seq == self.pruned {
            self.beginning.as_ref().map(|base| base.after.clone())
        } else {
            match self.read(&layout::commit(seq)).await? {
                Some(bytes) => self.report.note(bytes.and_then(|bytes| commit::open(seq, bytes))),
                None if self.has_gone(seq, &layout::commit(seq)).await? => {
                    self.beginning.as_ref().map(|base| base.after.clone())
                }
                None => self.report.note(Err(missing(seq))),
            }
        };
        self.schema = Schema::unknown();
        if let Some(sealed) = &sealed {
            self.catalog(&sealed.commit).await?;
        }
        self.previous = sealed;
        Ok(())
    }

    /// After a damaged commit the chain is taken up again at the next one.
    async fn commit(&mut self, seq: Seq) -> Result<()> {
        let key = layout::commit(seq);
        let previous = self.previous.take();
        let sealed = match self.read(&key).await? {
            Some(bytes) => self.report.note(bytes.and_then(|bytes| commit::open(seq, bytes))),
            None if self.has_gone(seq, &key).await? => None,
            None => {
                let damage = Damage::new(&key, None, "is missing, though later commits are there");
                self.report.note(Err(damage))
            }
        };
        let Some(sealed) = sealed else {
            self.schema = Schema::unknown();
            return Ok(());
        };
        let follows = match &previous {
            None if seq > Seq(1) => Ok(()),
            previous => commit::follows(previous.as_ref(), &sealed.commit),
        };
        match follows {
            Ok(()) => self.report.commits += 1,
            Err(error) => {
                let damage = Damage::new(&key, None, format!("is out of place: {error}"));
                self.report.note::<()>(Err(damage));
            }
        }
        for named in &sealed.commit.segments {
            self.unnamed.is_named(&named.key);
            match self.segment(seq, named).await? {
                Some(segment) => drop(self.report.note(self.schema.read(&named.key, seq, &segment))),
                None => self.schema.lose(),
            }
        }
        self.catalog(&sealed.commit).await?;
        self.previous = Some(sealed);
        Ok(())
    }

    async fn segment(&mut self, seq: Seq, named: &pb::ObjectRef) -> Result<Option<Segment>> {
        let Some(bytes) = self.object(seq, &named.key).await? else {
            return Ok(None);
        };
        let length = bytes.len() as u64;
        let checked = match &self.log_id {
            Some(log_id) => open_segment(log_id, named, bytes),
            None => segment::read(&named.key, named, bytes),
        };
        let segment = self.report.note(checked);
        if segment.is_some() {
            self.report.segments += 1;
            self.report.bytes = self.report.bytes.saturating_add(length);
        }
        Ok(segment)
    }

    /// The catalog that a commit names. Commits without a definition name that of the commit before.
    async fn catalog(&mut self, commit: &pb::Commit) -> Result<()> {
        let seq = Seq(commit.seq);
        let Some(named) = commit.catalog.as_ref().filter(|named| !self.schema.is(named)) else {
            self.report.note(self.schema.stays(seq));
            return Ok(());
        };
        self.unnamed.is_named(&named.key);
        let bytes = self.object(seq, &named.key).await?;
        self.report.note(self.schema.moves(seq, named, bytes));
        Ok(())
    }

    async fn object(&mut self, seq: Seq, key: &str) -> Result<Option<Bytes>> {
        let found = match self.read(key).await {
            // A key that no store takes can only stand in a commit that was made by hand.
            Err(Error { verdict: Verdict::Refused, message, .. }) => {
                Err(Damage::new(key, None, format!("cannot be: {message}")))
            }
            found => match found? {
                Some(found) => found,
                None if self.has_gone(seq, key).await? => return Ok(None),
                None => Err(Damage::new(key, None, format!("is missing; it was written for commit {seq}"))),
            },
        };
        Ok(self.report.note(found))
    }

    /// The bytes of an object, or why they cannot be read; none where it is missing.
    async fn read(&self, key: &str) -> Result<Option<Result<Bytes, Damage>>> {
        let found = self.store.read(key).await?;
        Ok(found.map(|found| found.map_err(|why| Damage::unreadable(key, &why))))
    }

    async fn tell_orphans(&mut self, last: Seq) -> Result<()> {
        let orphans = self.unnamed.take(self.store, self.pruned, last).await?;
        orphans.into_iter().for_each(|key| self.report.orphan(key));
        Ok(())
    }

    async fn points(&mut self) -> Result<()> {
        let Some(log_id) = self.log_id.clone() else { return Ok(()) };
        for (key, _) in self.store.list(layout::POINTS, None).await? {
            let Some(name) = layout::parse_point(&key) else { continue };
            match self.store.read(&key).await? {
                // A person may release one at any time.
                None => {}
                Some(Err(Unreadable::NoKeyFits)) => self.report.unopened(key),
                Some(found) => {
                    let found = found.map_err(|why| Damage::unreadable(&key, &why));
                    self.report.note(found.and_then(|bytes| points::open(&log_id, &key, name, bytes)));
                }
            }
        }
        Ok(())
    }

    async fn checkpoints(&mut self) -> Result<()> {
        let Some(log_id) = self.log_id.clone() else { return Ok(()) };
        for (key, _) in self.store.list(layout::READERS, None).await? {
            let Some((folder, n)) = key
                .rsplit_once('/')
                .and_then(|(folder, _)| Some((folder, layout::parse_checkpoint(folder, &key)?)))
            else {
                continue;
            };
            match self.store.read(&key).await? {
                // A replayer at work deletes old ones.
                None => {}
                Some(Err(Unreadable::NoKeyFits)) => self.report.unopened(key),
                Some(found) => {
                    let found = found.map_err(|why| Damage::unreadable(&key, &why));
                    self.report.note(found.and_then(|bytes| checkpoint::open_in(&log_id, folder, n, bytes)));
                }
            }
        }
        Ok(())
    }
}
