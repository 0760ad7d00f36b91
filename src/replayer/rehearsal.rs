//! A replay without a target: what it would do, segment by segment.
//!
//! It begins with a base, which is rehearsed like a commit, or with nothing, before the first commit.

use std::collections::BTreeMap;

use crate::catalog::Catalog;
use crate::change::DefinitionChange;
use crate::error::{Error, Result};
use crate::log::base::Base;
use crate::log::reader::{Follower, LogReader};
use crate::pb::log::{Definition, ObjectRef};
use crate::position::{LogPosition, Seq};
use crate::progress::RowCounts;
use crate::tick::Tso;

use super::naming::Naming;
use super::place::Place;
use super::segments::{Fetched, Segments, check_whole};
use super::skip::Skip;
use super::steps::{LaneKey, RowMessage, Step, steps};
use super::{Replayer, window};

/// What is read of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The segments with definitions and, from the first delete that is left out, all that may have its keys.
    Definitions,
    /// All segments: rows are counted.
    Rows,
}

/// A replay without a target.
pub struct Rehearsal {
    segments: Segments,
    naming: Naming,
    skip: Skip,
    until: Tso,
    tail: Seq,
    depth: Depth,
    at: LogPosition,
    /// The watermark of the last whole commit.
    watermark: Tso,
}

/// A segment of a commit, or a commit without one.
#[derive(Default)]
pub struct Rehearsed {
    /// Where it ends.
    pub end: LogPosition,
    /// What names it.
    pub segment: Option<ObjectRef>,
    /// Definitions that change something at the target, and what.
    pub changes: Vec<(Box<Definition>, Vec<DefinitionChange>)>,
    /// Rows inserted and deleted, as far as they were read.
    pub rows: RowCounts,
    /// What no target can be told.
    pub untold: Vec<String>,
}

impl Rehearsed {
    /// The number of its commit.
    pub fn seq(&self) -> Seq {
        self.end.reaches()
    }

    /// Whether its commit ends with it.
    pub fn is_whole(&self) -> bool {
        self.end == LogPosition::after(self.end.seq)
    }
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
        let (first, follower) = match base {
            Some(base) => (Some(base.as_commit()), Follower::going_on(reader, base.after)),
            None => (None, Follower::after(reader, Seq(0)).await?),
        };
        let before = first.as_ref().map_or(0, |first| first.seq.saturating_sub(1));
        let segments = Segments::new(first, follower);
        let (skip, at) = (replayer.skip.clone(), LogPosition::after(Seq(before)));
        Ok(Rehearsal { segments, naming, skip, until, tail, depth, at, watermark: Tso::ZERO })
    }

    /// The names so far.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// What has been left out so far.
    pub fn skip(&self) -> &Skip {
        &self.skip
    }

    /// The next segment; none at the end. There every change that is left out must have been met.
    pub async fn next(&mut self) -> Result<Option<Rehearsed>> {
        let seq = self.at.seq;
        let over = seq >= self.tail || (self.watermark >= self.until && seq > Seq(0));
        let Some(commit) = (if over { None } else { self.segments.commit().await? }) else {
            self.skip.check_met()?;
            return Ok(None);
        };
        if let Err(hole) = check_whole(&commit) {
            return Err(window::outside(self.segments.reader(), self.until, hole.message).await?);
        }
        let (depth, skip) = (self.depth, &self.skip);
        let is_needed = |_, segment: &ObjectRef| {
            depth == Depth::Rows
                || segment.definitions > 0
                || skip.concerns_rows_in(Tso(segment.first_tso), Tso(segment.last_tso))
        };
        let next = self.segments.next(is_needed).await?;
        next.map(|fetched| self.rehearse(fetched)).transpose()
    }

    fn rehearse(&mut self, fetched: Fetched) -> Result<Rehearsed> {
        let Fetched { commit, last, segment, records, .. } = fetched;
        let seq = Seq(commit.seq);
        let mut rehearsed = Rehearsed { segment, ..Rehearsed::default() };
        for step in steps(records, self.until)? {
            match step {
                Step::Rows(lanes) => self.count(lanes, Tso(commit.opens_at), &mut rehearsed.rows)?,
                Step::Define(definition) => {
                    self.at.definitions = self.at.definitions.saturating_add(1);
                    let place = Place::Definition(seq, self.at.definitions);
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
        self.at.segments = self.at.segments.saturating_add(1);
        if last {
            (self.at, self.watermark) = (LogPosition::after(seq), Tso(commit.watermark));
        }
        rehearsed.end = self.at;
        Ok(rehearsed)
    }

    fn count(
        &mut self,
        lanes: BTreeMap<LaneKey, Vec<RowMessage>>,
        opens_at: Tso,
        rows: &mut RowCounts,
    ) -> Result<()> {
        for (key, messages) in lanes {
            self.skip.check_not_in_base(&self.naming, key.collection, &messages, opens_at)?;
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

    /// Goes the whole way, and gives the catalog and the skip as of a commit, which is none before the beginning. `show`
    /// gets each commit.
    pub async fn finish(mut self, seq: Seq, mut show: impl FnMut(Seq)) -> Result<(Catalog, Skip)> {
        let mut found = (seq <= self.at.seq).then(|| (Catalog::default(), self.skip.clone()));
        while let Some(rehearsed) = self.next().await? {
            show(rehearsed.seq());
            if rehearsed.end == LogPosition::after(seq) {
                found = Some((self.naming.catalog().clone(), self.skip.clone()));
            }
        }
        found.ok_or_else(|| Error::refused(format!("the log ends before commit {seq}, which was replayed")))
    }
}
