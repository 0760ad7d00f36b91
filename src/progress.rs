//! What a running recorder or replayer tells about itself. Published through a `watch` channel; read by the task
//! status, the metrics and the progress line.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::position::Seq;
use crate::tick::Tso;

/// What is being tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrying {
    /// What fails and why.
    pub message: String,
    /// What a person can do about it.
    pub advice: Option<String>,
    /// Since when.
    pub since: SystemTime,
    /// How often it has failed.
    pub count: u64,
}

/// Tries of all stages of a recorder or a replayer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tries {
    /// Failed ones.
    pub failed: u64,
    /// What is being tried again now, by the number of its first failed try.
    pub now: BTreeMap<u64, Retrying>,
}

impl Tries {
    /// What has been tried again for the longest.
    pub fn oldest(&self) -> Option<&Retrying> {
        self.now.first_key_value().map(|(_, retrying)| retrying)
    }
}

/// Rows by what was done with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Inserted.
    pub inserted: u64,
    /// Deleted (keys named by deletes).
    pub deleted: u64,
    /// Upserted.
    pub upserted: u64,
}

/// Of a base that is being copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaseProgress {
    /// The source's segments of rows that are copied...
    pub segments: u64,
    /// ...of so many.
    pub of: u64,
    /// Rows copied: those that live.
    pub rows: u64,
}

/// Of a recorder. Counters are since the process started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordProgress {
    /// The log that holds what was recorded; none before the first commit. No other one is gone on with.
    pub log_id: Option<String>,
    /// Watermark of the last commit; after that of a base alone [`Tso::BASE`].
    pub recorded_to: Tso,
    /// Highest tick seen on the queue: the distance to `recorded_to` is what is still to be recorded.
    pub seen_to: Tso,
    /// Restores are possible from here on.
    pub opens_at: Tso,
    /// Rows in commits.
    pub rows: RowCounts,
    /// Bytes of segments in commits.
    pub bytes: u64,
    /// Commits made.
    pub commits: u64,
    /// Messages that were recorded but that no replayer can apply, by name of their type.
    pub unknown: Vec<(String, u64)>,
    /// Collections that are selected and not recorded, as `database.collection`: they were there before they came into
    /// the selection, and their earlier rows are not in the log.
    pub left_out: Vec<String>,
    /// How far the base is copied with which a log begins; none before and after.
    pub base: Option<BaseProgress>,
    /// Collections, as `database.collection`, into which a bulk import was under way when their base was taken: its rows
    /// are not in the log.
    pub importing: Vec<String>,
    /// What a person should know of the source's queue: which requests may be missing.
    pub notes: Vec<String>,
    /// What is tried again.
    pub tries: Tries,
}

impl RecordProgress {
    /// Notes something that a person should know.
    pub fn note(&mut self, what: String) {
        note(&mut self.notes, what);
    }
}

fn note(notes: &mut Vec<String>, what: String) {
    if !notes.contains(&what) {
        notes.push(what);
    }
}

/// Of a replayer. Counters are since the process started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplayProgress {
    /// The log that is replayed; none before it was opened. No other one is gone on with.
    pub log_id: Option<String>,
    /// Every change with TSO <= this is in the target; [`Tso::BASE`]: a base alone is.
    pub applied_to: Tso,
    /// Watermark of the newest commit in the log.
    pub log_to: Tso,
    /// Watermark from which this run started; of what a new one begins with.
    pub started_from: Tso,
    /// The commit up to which the log was read before anything is applied, and the last; none before and after.
    pub checked: Option<(Seq, Seq)>,
    /// Rows sent and accepted.
    pub rows: RowCounts,
    /// Bytes of segments read.
    pub bytes: u64,
    /// Commits applied.
    pub commits: u64,
    /// What could not be applied, and since which TSO the target is incomplete.
    pub incomplete: Option<(Tso, Vec<String>)>,
    /// What a person should know of the target's collections.
    pub notes: Vec<String>,
    /// What is tried again.
    pub tries: Tries,
}

impl ReplayProgress {
    /// Notes a change that could not be applied: the target is incomplete from there on.
    pub fn lacks(&mut self, tso: Tso, what: String) {
        let (since, known) = self.incomplete.get_or_insert((tso, Vec::new()));
        *since = tso.min(*since);
        if !known.contains(&what) {
            known.push(what);
        }
    }

    /// Notes something that a person should know.
    pub fn note(&mut self, what: String) {
        note(&mut self.notes, what);
    }
}
