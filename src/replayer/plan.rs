//! What a replay to an instant would do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Replayer;
use super::beginning;
use super::conflicts::{Conflict, Conflicts};
use super::expiry;
use super::opening::{check_not_beyond, checkpoint};
use super::ownership::{self, Made};
use super::place::Place;
use super::rehearsal::{Depth, Rehearsal, Rehearsed};
use super::skip::Skip;
use super::window::check_held;
use crate::error::{Context, Result};
use crate::log::base::Base;
use crate::log::describe;
use crate::log::reader::LogReader;
use crate::pb::log::ObjectRef;
use crate::position::{LogPosition, Seq};
use crate::target::Target;
use crate::tick::Tso;

/// What a target is taken to bear, in bytes of row messages a second.
const TARGET_BYTES_PER_S: u64 = 10 << 20;

/// What a replay to an instant would do. Counts are of what is still to be done, of the selected collections; bytes are
/// those of whole segments.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// The log's uuid.
    pub log_id: String,
    /// Name under which positions are kept.
    pub name: String,
    /// The instant as a TSO.
    pub to: u64,
    /// The instant, RFC 3339.
    pub to_time: String,
    /// Whether an earlier run has come to the end.
    pub done: bool,
    /// Commits that earlier runs have brought into the target.
    pub commits_done: u64,
    /// With what it begins.
    pub base: Option<PlannedBase>,
    /// Commits to be replayed, after the base.
    pub commits: u64,
    /// Segments of base and commits.
    pub segments: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Rows to be inserted, those of upserts among them.
    pub inserted: u64,
    /// Keys to be deleted, those of upserts among them.
    pub deleted: u64,
    /// Definitions to be applied, by kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// What cannot be applied: the target will lack it.
    pub incomplete: Vec<String>,
    /// What a person should know of the collections at the target.
    pub notes: Vec<String>,
    /// The collections that exist at the instant.
    pub collections: Vec<Planned>,
    /// Aliases that stay out, because their collection gets another name.
    pub aliases_left_out: Vec<AliasLeftOut>,
    /// What is left out.
    pub left_out: Vec<Omitted>,
    /// What the target has in the way.
    pub conflicts: Vec<Conflict>,
    /// How long it may take; none where rows were not counted.
    pub estimate: Option<Estimate>,
    /// Whether the log has anything that is selected.
    #[serde(skip)]
    pub matches: bool,
}

/// A base with which a replay begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedBase {
    /// The commit whose state it holds; those after it follow.
    pub commit: u64,
    /// The instant of that state, RFC 3339.
    pub time: String,
    /// Rows of all its collections.
    pub rows: u64,
    /// Bytes of its segments.
    pub bytes: u64,
}

impl PlannedBase {
    fn of(base: &Base) -> PlannedBase {
        let sum = |count: fn(&ObjectRef) -> u64| base.segments.iter().map(count).fold(0, u64::saturating_add);
        PlannedBase {
            commit: base.seq().0,
            time: base.watermark().time(),
            rows: sum(|segment| segment.rows),
            bytes: sum(|segment| segment.length),
        }
    }
}

/// A collection that exists at the instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Its name at the source.
    pub source: String,
    /// Its name at the target.
    pub target: String,
}

/// An alias that stays out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AliasLeftOut {
    /// The alias.
    pub alias: String,
    /// Its collection, by the source's name.
    pub of: String,
}

/// A change that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Omitted {
    /// Its place in the log.
    pub place: String,
    /// When it was, RFC 3339.
    pub time: String,
    /// What it was.
    pub change: &'static str,
    /// What it was of, by the source's name.
    pub of: String,
    /// Rows inserted and keys deleted that are left out with it; 0 where rows were not counted.
    pub rows: u64,
    /// Definitions that depend on it and are left out with it, by kind.
    pub with_it: BTreeMap<&'static str, u64>,
}

/// How long it may take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Seconds.
    pub seconds: u64,
    /// What that is based on.
    pub based_on: String,
}

/// Plans a replay. Nothing is changed anywhere; a target may persist rows that it has, to count them.
pub async fn plan(
    replayer: &Replayer,
    to: Tso,
    depth: Depth,
    mut show: impl FnMut(Seq, Seq),
) -> Result<Plan> {
    let reader = LogReader::open(replayer.store.clone()).await?;
    let tail = reader.tail().await?;
    check_held(&reader, tail, to).await?;
    let last = tail.unwrap_or_default();
    let (_, mut state) = checkpoint(replayer, &reader).await?;
    let base = beginning::begin(&reader, &mut state, &replayer.skip, to).await?;
    check_not_beyond(&reader, &state, base.as_ref(), tail, to).await?;
    let target = &*replayer.target;
    target.hello().await.context(|| "asking the target")?;

    let [ack, intent] =
        [state.ack, state.intent].map(|place| place.map(LogPosition::from).unwrap_or_default());
    let touched = intent.max(ack).reaches();
    let made = Made::new(&state);
    let mut plan = Plan {
        log_id: reader.log_id().to_owned(),
        name: replayer.reader.clone(),
        to: to.0,
        to_time: to.time(),
        done: state.applied_tso == to.0,
        base: base.as_ref().map(PlannedBase::of),
        commits_done: if base.is_some() { 0 } else { ack.seq.0 },
        incomplete: base.as_ref().map(|base| base.incomplete.what.clone()).unwrap_or_default(),
        ..Plan::default()
    };
    let (started, mut conflicts) = (Instant::now(), Conflicts::default());
    let base = beginning::before(&reader, base.as_ref(), &replayer.skip, to, ack.seq).await?;
    let mut rehearsal = Rehearsal::new(replayer, reader, base, to, last, depth).await?;
    while let Some(rehearsed) = rehearsal.next().await? {
        let seq = rehearsed.seq();
        show(seq, last);
        if !plan.done && rehearsed.end > ack {
            plan.add(&rehearsed);
        }
        let look_at = (seq > touched).then_some(target as &dyn Target);
        for (definition, changes) in &rehearsed.changes {
            plan.matches |= ownership::created(definition).is_some();
            conflicts.take(look_at, definition, changes).await?;
        }
    }
    for (id, name) in rehearsal.naming().collections() {
        let source = rehearsal.naming().title(id);
        let known = rehearsal.naming().catalog().collections.get(&id);
        plan.notes.extend(known.and_then(|known| expiry::note(&name, &known.properties)));
        plan.collections.push(Planned { source, target: name.to_string() });
        if plan.done {
            conflicts.check_there(target, (id, name), &made).await?;
        }
    }
    let aliases = rehearsal.naming().aliases_left_out().into_iter();
    plan.aliases_left_out = aliases.map(|(alias, of)| AliasLeftOut { alias, of: of.to_string() }).collect();
    plan.left_out = omitted(rehearsal.skip(), depth);
    plan.matches |= !plan.left_out.is_empty();
    plan.conflicts = conflicts.found();
    plan.estimate = (depth == Depth::Rows).then(|| estimate(plan.bytes, started.elapsed()));
    Ok(plan)
}

impl Plan {
    fn add(&mut self, rehearsed: &Rehearsed) {
        let is_base = self.base.as_ref().is_some_and(|base| Seq(base.commit) == rehearsed.seq());
        self.commits = self.commits.saturating_add(u64::from(rehearsed.is_whole() && !is_base));
        if let Some(segment) = &rehearsed.segment {
            self.segments = self.segments.saturating_add(1);
            self.bytes = self.bytes.saturating_add(segment.length);
        }
        self.inserted = self.inserted.saturating_add(rehearsed.rows.inserted);
        self.deleted = self.deleted.saturating_add(rehearsed.rows.deleted);
        for (definition, _) in &rehearsed.changes {
            let count = self.operations.entry(describe::change(definition.change.as_ref()).0).or_default();
            *count = count.saturating_add(1);
        }
        for what in &rehearsed.untold {
            if !self.incomplete.contains(what) {
                self.incomplete.push(what.clone());
            }
        }
    }
}

fn omitted(skip: &Skip, depth: Depth) -> Vec<Omitted> {
    // Deletes that are left out are read at any depth; of the rows of a definition only some are.
    let counted = |place: Place| depth == Depth::Rows || matches!(place, Place::Deletes(_));
    let all = skip.omissions().map(|(place, omission)| Omitted {
        place: place.to_string(),
        time: omission.tso.time(),
        change: omission.change,
        of: omission.of.clone(),
        rows: if counted(place) { omission.rows } else { 0 },
        with_it: omission.definitions.clone(),
    });
    all.collect()
}

fn estimate(bytes: u64, reading: Duration) -> Estimate {
    let sending = bytes / TARGET_BYTES_PER_S;
    let (rate, read) = (TARGET_BYTES_PER_S >> 20, reading.as_secs_f64());
    Estimate {
        seconds: sending.max(reading.as_secs()).max(1),
        based_on: format!(
            "a target that takes {rate} MiB/s, indexes and loads not counted; reading the log took {read:.1} s"
        ),
    }
}
