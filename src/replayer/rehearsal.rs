//! A replay without a target: what it would do, commit by commit.
//!
//! It begins with a base, which is rehearsed like a commit, or with nothing, before the first commit.

use std::collections::BTreeMap;

use crate::catalog::Catalog;
use crate::change::DefinitionChange;
use crate::error::{Error, Result};
use crate::log::base::Base;
use crate::log::reader::{Follower, LogReader};
use crate::pb::log::{Commit, Definition, ObjectRef, Record};
use crate::position::Seq;
use crate::progress::RowCounts;
use crate::tick::Tso;

use super::naming::Naming;
use super::place::Place;
use super::skip::Skip;
use super::steps::{LaneKey, RowMessage, Step, steps};
use super::{Replayer, fetch, window};

/// What is read of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The segments with definitions, and those with deletes that are left out.
    Definitions,
    /// All segments: rows are counted.
    Rows,
}

/// A replay without a target.
pub struct Rehearsal {
    base: Option<Base>,
    follower: Follower,
    naming: Naming,
    skip: Skip,
    until: Tso,
    tail: Seq,
    depth: Depth,
    at: Tso,
}

/// One commit.
#[derive(Default)]
pub struct Rehearsed {
    /// Its number.
    pub seq: Seq,
    /// Its segments.
    pub segments: Vec<ObjectRef>,
    /// Definitions that change something at the target, and what.
    pub changes: Vec<(Box<Definition>, Vec<DefinitionChange>)>,
    /// Rows inserted and deleted, as far as they were read.
    pub rows: RowCounts,
    /// What no target can be told.
    pub untold: Vec<String>,
}

impl Rehearsal {
    /// Of a replay that begins with a base, and ends at an instant or with the commit `tail`.
    pub async fn new(
        replayer: &Replayer,
        reader: LogReader,
        base: Option<Base>,
        until: Tso,
        tail: Seq,
        depth: Depth,
    ) -> Result<Rehearsal> {
        let naming = Naming::new(Catalog::default(), replayer.selection.clone(), replayer.renames.clone());
        let follower = match base.clone() {
            Some(base) => Follower::going_on(reader, base.after),
            None => Follower::after(reader, Seq(0)).await?,
        };
        let (skip, at) = (replayer.skip.clone(), Tso::ZERO);
        Ok(Rehearsal { base, follower, naming, skip, until, tail, depth, at })
    }

    /// The names so far.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// What has been left out so far.
    pub fn skip(&self) -> &Skip {
        &self.skip
    }

    /// The next commit; none at the end. There every change that is left out must have been met.
    pub async fn next(&mut self) -> Result<Option<Rehearsed>> {
        let Some(commit) = self.next_commit().await? else {
            self.skip.check_met()?;
            return Ok(None);
        };
        if let Err(hole) = fetch::check_whole(&commit) {
            return Err(window::outside(self.follower.reader(), self.until, hole.message).await?);
        }
        self.at = Tso(commit.watermark);
        let needed = commit.segments.iter().filter(|reference| self.is_needed(reference));
        let needed = needed.cloned().collect::<Vec<_>>();
        let mut rehearsed =
            Rehearsed { seq: Seq(commit.seq), segments: commit.segments, ..Rehearsed::default() };
        let mut definitions = 0u64;
        for reference in needed {
            let records = self.follower.reader().segment(&reference).await?.records;
            self.rehearse(records, &mut definitions, &mut rehearsed)?;
        }
        Ok(Some(rehearsed))
    }

    async fn next_commit(&mut self) -> Result<Option<Commit>> {
        if let Some(base) = self.base.take() {
            return Ok(Some(base.as_commit()));
        }
        let seq = self.follower.last().map_or(Seq(0), |last| last.seq());
        if seq >= self.tail || (self.at >= self.until && seq > Seq(0)) {
            return Ok(None);
        }
        Ok(self.follower.next().await?.map(|sealed| sealed.commit))
    }

    fn is_needed(&self, segment: &ObjectRef) -> bool {
        self.depth == Depth::Rows
            || segment.definitions > 0
            || self.skip.has_deletes_in(Tso(segment.first_tso), Tso(segment.last_tso))
    }

    /// A segment of a commit, after so many definitions of it.
    fn rehearse(
        &mut self,
        records: Vec<Record>,
        definitions: &mut u64,
        rehearsed: &mut Rehearsed,
    ) -> Result<()> {
        for step in steps(records, self.until)? {
            match step {
                Step::Rows(lanes) => self.count(lanes, &mut rehearsed.rows)?,
                Step::Define(definition) => {
                    *definitions = definitions.saturating_add(1);
                    let place = Place::Definition(rehearsed.seq, *definitions);
                    let left = self.skip.definition(&self.naming, place, definition)?;
                    let Some(definition) = left else { continue };
                    let changes = self.naming.apply(&definition)?;
                    rehearsed.untold.extend(self.naming.untold(&definition)?.map(str::to_owned));
                    if !changes.is_empty() {
                        rehearsed.changes.push((definition, changes));
                    }
                }
                Step::Unknown(_, name) => rehearsed.untold.push(name),
            }
        }
        Ok(())
    }

    fn count(&mut self, lanes: BTreeMap<LaneKey, Vec<RowMessage>>, rows: &mut RowCounts) -> Result<()> {
        for (key, messages) in lanes {
            let messages = self.skip.rows(&self.naming, key.collection, messages)?;
            if messages.is_empty() || self.naming.destination(key.collection)?.is_none() {
                continue;
            }
            for message in messages {
                let count = if message.delete { &mut rows.deleted } else { &mut rows.inserted };
                *count = count.saturating_add(message.rows);
            }
        }
        Ok(())
    }
}

/// The catalog and the skip as of a commit, which is none before the base, once the whole way to the end has been rehearsed.
pub async fn rehearse(
    replayer: &Replayer,
    reader: LogReader,
    base: Option<Base>,
    until: Tso,
    tail: Seq,
    seq: Seq,
) -> Result<(Catalog, Skip)> {
    let first = base.as_ref().map_or(Seq(1), Base::seq);
    let mut rehearsal = Rehearsal::new(replayer, reader, base, until, tail, Depth::Definitions).await?;
    let mut found = (seq < first).then(|| (Catalog::default(), replayer.skip.clone()));
    while let Some(rehearsed) = rehearsal.next().await? {
        if rehearsed.seq == seq {
            found = Some((rehearsal.naming.catalog().clone(), rehearsal.skip.clone()));
        }
    }
    found.ok_or_else(|| Error::refused(format!("the log ends before commit {seq}, which was replayed")))
}
