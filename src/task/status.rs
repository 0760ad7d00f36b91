//! The status of a task, as it is shown. Made from what the halves publish and from the clock: a lag grows while
//! nothing arrives.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::spec::{Kind, TaskSpec, UntilSpec};
use super::state::State;
use super::upkeep::Upkeep;
use super::verification::Verification;
use crate::error::{Error, Verdict};
use crate::progress::{BaseProgress, RecordProgress, ReplayProgress, Retrying, RowCounts};
use crate::tick::Tso;

/// How a task is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Its state...
    pub state: State,
    /// ...and since when (RFC 3339).
    pub since: String,
    /// The log (a uuid) that it has recorded into or replayed; null: none yet. It goes on with no other.
    #[serde(default)]
    pub log_id: Option<String>,
    /// How far the source's own time, as its queue tells it, was read: the rest of the lag to now is the source's.
    pub seen_to: Option<Moment>,
    /// Everything up to here is in the log; null while that is nothing, or a base alone.
    pub recorded_to: Option<Moment>,
    /// Everything up to here is in the target; null while that is nothing, or a base alone.
    pub applied_to: Option<Moment>,
    /// Restores are possible from here on.
    pub opens_at: Option<Moment>,
    /// Seconds from `recorded_to` to now.
    pub record_lag_s: Option<f64>,
    /// Seconds from `applied_to` to now. A replay with an end has none.
    pub apply_lag_s: Option<f64>,
    /// Rows since the task was started: applied ones where it has a replayer, else recorded ones.
    pub rows: Rows,
    /// Their number in a second, over the last ten.
    pub rows_per_s: f64,
    /// Bytes of segments, likewise.
    pub bytes: u64,
    /// Commits, likewise.
    pub commits: u64,
    /// Failed tries since the task was started.
    pub retries: u64,
    /// How much of what there is to do is done; none while that is not known.
    pub progress: Option<Progress>,
    /// What is being tried again now.
    pub retrying: Vec<RetryingStatus>,
    /// Messages that were recorded but that no replayer can apply.
    pub unknown: Vec<Unknown>,
    /// Collections (`database.collection`) that are selected and not recorded: they came into the selection after they
    /// were created, by a rename for example, so that their earlier rows are not in the log. Record them into a new log.
    pub left_out: Vec<String>,
    /// How far the log was read before a replay to an instant applies anything; null before and after.
    #[serde(default)]
    pub checked: Option<Checked>,
    /// How far the base is copied with which a log begins; null before and after.
    #[serde(default)]
    pub base: Option<Base>,
    /// Collections (`database.collection`) into which a bulk import was under way when their base was taken: its rows are
    /// not in the log. Record them into a new log when the import is finished.
    #[serde(default)]
    pub importing: Vec<String>,
    /// Since when the target lacks something, and what.
    pub incomplete: Option<Incomplete>,
    /// What a person should know: between which positions the source's requests may be missing; which of the target's
    /// collections have fewer replicas than at the source, and of which rows expire by themselves.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The last failure.
    pub last_error: Option<LastError>,
    /// What the checks of its log have found, where the service makes them.
    #[serde(default)]
    pub verification: Option<Verification>,
    /// What was done for its log beside recording, where the task asks for it.
    #[serde(default)]
    pub upkeep: Option<Upkeep>,
}

/// A point in the source's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    /// As TSO.
    pub tso: u64,
    /// In RFC 3339.
    pub time: String,
}

/// Rows by what was done with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rows {
    /// Inserted.
    pub inserted: u64,
    /// Keys named by deletes.
    pub deleted: u64,
    /// Upserted.
    pub upserted: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// 0 to 100.
    pub percent: f64,
    /// Seconds that are left at the present speed.
    pub eta_s: Option<f64>,
}

/// A log that is read before anything is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    /// Up to this commit...
    pub commit: u64,
    /// ...of so many.
    pub of: u64,
}

/// A base that is being copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Base {
    /// The source's segments of rows that are copied...
    pub segments: u64,
    /// ...of so many.
    pub of: u64,
    /// Rows copied: those that live.
    pub rows: u64,
}

/// What is being tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetryingStatus {
    /// `record` or `replay`.
    pub half: String,
    /// What fails and why.
    pub message: String,
    /// What a person can do.
    pub advice: Option<String>,
    /// Since when (RFC 3339).
    pub since: String,
    /// How often it has failed.
    pub count: u64,
}

/// Messages of a type that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unknown {
    /// Name of the type.
    pub message_type: String,
    /// How many.
    pub count: u64,
}

/// What a target lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Incomplete {
    /// Since when; null: since before the log.
    pub since: Option<Moment>,
    /// What could not be applied.
    pub what: Vec<String>,
}

impl Incomplete {
    /// Since when, for people.
    pub fn since(&self) -> &str {
        self.since.as_ref().map_or("the beginning", |since| &since.time)
    }
}

/// The last failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastError {
    /// When it came last (RFC 3339).
    pub at: String,
    /// How often it came in a row.
    pub count: u64,
    /// What happened.
    pub message: String,
    /// What a person can do.
    pub advice: Option<String>,
    /// Who acts: `retry` (nobody), `operator`, `usage`, `refused` or `fenced`.
    pub verdict: String,
}

impl LastError {
    /// This error after another one: the same one again counts on.
    pub fn after(before: Option<&LastError>, error: &Error) -> LastError {
        let again = before.filter(|before| before.message == error.message).map_or(0, |before| before.count);
        LastError {
            at: rfc3339(SystemTime::now()),
            count: again.saturating_add(1),
            message: error.message.clone(),
            advice: error.advice.clone(),
            verdict: verdict(error.verdict).to_owned(),
        }
    }
}

impl From<LastError> for Error {
    fn from(last: LastError) -> Error {
        let verdict = match last.verdict.as_str() {
            "retry" => Verdict::Retry,
            "fenced" => Verdict::Fenced,
            "refused" => Verdict::Refused,
            "usage" => Verdict::Usage,
            _ => Verdict::Operator,
        };
        Error { verdict, message: last.message, advice: last.advice, untouched: false }
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Retry => "retry",
        Verdict::Fenced => "fenced",
        Verdict::Refused => "refused",
        Verdict::Usage => "usage",
        Verdict::Operator => "operator",
    }
}

/// A TSO as it is shown; none before the first that the source gave out.
pub fn moment(tso: Tso) -> Option<Moment> {
    (tso > Tso::BASE).then(|| Moment { tso: tso.0, time: tso.time() })
}

/// Seconds from a TSO to now; a clock that is behind the source's shows 0.
pub fn lag_s(tso: Tso, now: SystemTime) -> Option<f64> {
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_millis();
    let lag = u64::try_from(now).ok()?.saturating_sub(tso.millis());
    (tso > Tso::BASE).then_some(lag as f64 / 1000.0)
}

/// A time as it is shown.
pub fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// What is being tried again by a half, as it is shown.
pub fn retrying(half: &str, retrying: &Retrying) -> RetryingStatus {
    RetryingStatus {
        half: half.to_owned(),
        message: retrying.message.clone(),
        advice: retrying.advice.clone(),
        since: rfc3339(retrying.since),
        count: retrying.count,
    }
}

/// Where a replay ends: at its `until`, else with the log.
pub fn end_of_replay(spec: &TaskSpec, progress: &ReplayProgress) -> Tso {
    match spec.until {
        Some(UntilSpec::Tso(until)) => until,
        Some(UntilSpec::Latest) | None => progress.log_to,
    }
}

/// How much of the way from `from` to `end` is done, in percent.
pub fn percent(from: Tso, at: Tso, end: Tso) -> Option<f64> {
    if at.min(end) <= Tso::BASE {
        return None;
    }
    if at >= end {
        return Some(100.0);
    }
    let way = end.millis().saturating_sub(from.millis()).max(1) as f64;
    let done = at.millis().saturating_sub(from.millis()) as f64;
    Some((1000.0 * done / way).floor().min(999.0) / 10.0)
}

/// Everything of a status that comes from the halves and the clock.
pub fn status(spec: &TaskSpec, record: &RecordProgress, replay: &ReplayProgress, now: SystemTime) -> Status {
    let replays = spec.kind.replays();
    let (rows, bytes, commits) = match spec.kind {
        Kind::Record => (record.rows, record.bytes, record.commits),
        Kind::Replay | Kind::Replicate => (replay.rows, replay.bytes, replay.commits),
    };
    let percent = if replays {
        percent(replay.started_from, replay.applied_to, end_of_replay(spec, replay))
    } else {
        percent(record.opens_at, record.recorded_to, record.seen_to)
    };
    Status {
        state: State::Running,
        since: String::new(),
        log_id: record.log_id.as_ref().or(replay.log_id.as_ref()).cloned(),
        seen_to: moment(record.seen_to),
        recorded_to: moment(record.recorded_to),
        applied_to: moment(replay.applied_to),
        opens_at: moment(record.opens_at),
        record_lag_s: lag_s(record.recorded_to, now),
        apply_lag_s: lag_s(replay.applied_to, now).filter(|_| spec.until.is_none()),
        rows: rows.into(),
        rows_per_s: 0.0,
        bytes,
        commits,
        retries: record.tries.failed.saturating_add(replay.tries.failed),
        progress: percent.map(|percent| Progress { percent, eta_s: None }),
        retrying: Vec::new(),
        unknown: record
            .unknown
            .iter()
            .map(|(message_type, count)| Unknown { message_type: message_type.clone(), count: *count })
            .collect(),
        left_out: record.left_out.clone(),
        checked: replay.checked.map(|(commit, of)| Checked { commit: commit.0, of: of.0 }),
        base: record.base.map(|BaseProgress { segments, of, rows }| Base { segments, of, rows }),
        importing: record.importing.clone(),
        incomplete: replay
            .incomplete
            .as_ref()
            .map(|(since, what)| Incomplete { since: moment(*since), what: what.clone() }),
        notes: record.notes.iter().chain(&replay.notes).cloned().collect(),
        last_error: None,
        verification: None,
        upkeep: None,
    }
}

impl From<RowCounts> for Rows {
    fn from(rows: RowCounts) -> Rows {
        Rows { inserted: rows.inserted, deleted: rows.deleted, upserted: rows.upserted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn spec() -> TaskSpec {
        TaskSpec::parse(br#"{"name": "r", "kind": "replay", "log": {"url": "file:///log"}, "target": {"uri": "http://h:1"}}"#)
            .unwrap()
    }

    #[test]
    fn a_lag_grows_by_the_clock_while_nothing_arrives() {
        let replay = ReplayProgress { applied_to: Tso::from_millis(1_000_000), ..ReplayProgress::default() };
        let at = |millis| {
            let now = UNIX_EPOCH + Duration::from_millis(millis);
            status(&spec(), &RecordProgress::default(), &replay, now).apply_lag_s
        };
        assert_eq!((at(1_000_400), at(1_009_000)), (Some(0.4), Some(9.0)));
        assert_eq!(at(999_000), Some(0.0));
    }

    #[test]
    fn what_is_not_known_yet_is_null_and_not_1970() {
        let status =
            status(&spec(), &RecordProgress::default(), &ReplayProgress::default(), SystemTime::now());
        assert_eq!((status.applied_to, status.apply_lag_s, status.progress), (None, None, None));
    }

    #[test]
    fn what_is_known_up_to_a_base_alone_is_shown_as_nothing_yet() {
        let record =
            RecordProgress { recorded_to: Tso::BASE, seen_to: Tso(1 << 40), ..RecordProgress::default() };
        let replay = ReplayProgress { applied_to: Tso::BASE, log_to: Tso::BASE, ..ReplayProgress::default() };
        let shown = status(&spec(), &record, &replay, SystemTime::now());
        assert_eq!((shown.recorded_to, shown.record_lag_s), (None, None));
        assert_eq!((shown.applied_to, shown.apply_lag_s, shown.progress), (None, None, None));
        assert_eq!(percent(Tso::ZERO, Tso::BASE, Tso(1 << 40)), None);
    }

    #[test]
    fn what_a_target_lacks_since_before_the_log_is_shown() {
        for since in [Tso::ZERO, Tso::BASE] {
            let incomplete = Some((since, vec!["properties of a database".to_owned()]));
            let replay = ReplayProgress { incomplete, ..ReplayProgress::default() };
            let shown = status(&spec(), &RecordProgress::default(), &replay, SystemTime::now());
            let incomplete = shown.incomplete.unwrap();
            assert_eq!((incomplete.since(), incomplete.what.len()), ("the beginning", 1));
        }
    }

    #[test]
    fn a_moment_is_shown_as_tso_and_as_time() {
        let shown = serde_json::to_value(moment(Tso(470656465160896520))).unwrap();
        assert_eq!(
            shown,
            serde_json::json!({"tso": 470656465160896520u64, "time": "2026-11-23T05:32:10.698Z"})
        );
    }

    #[test]
    fn the_same_error_again_counts_on() {
        let (lost, full) = (Error::retry("etcd is gone"), Error::operator("disk full").advice("make room"));
        let first = LastError::after(None, &lost);
        let second = LastError::after(Some(&first), &lost);
        let other = LastError::after(Some(&second), &full);
        assert_eq!((first.count, second.count, other.count), (1, 2, 1));
        assert_eq!((other.verdict.as_str(), other.advice.as_deref()), ("operator", Some("make room")));
        let fenced = LastError::after(None, &Error::fenced("another recorder"));
        assert_eq!(Error::from(fenced).exit_code(), 3);
    }

    proptest! {
        #[test]
        fn only_the_end_is_a_hundred_percent(from in 1u64..1 << 50, at in 2u64..1 << 50, end in 2u64..1 << 50) {
            let percent = percent(Tso(from), Tso(at), Tso(end)).unwrap();
            prop_assert!((0.0..=100.0).contains(&percent));
            prop_assert_eq!(percent == 100.0, at >= end);
        }
    }
}
