//! What a check of a log found.

use crate::log::damage::Damage;

/// Damages, and orphans, that are named; those beyond are counted.
const MOST_NAMED: usize = 10_000;

/// What a log holds, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Uuid of the log; none where its identity is damaged.
    pub log_id: Option<String>,
    /// The first commit that was asked for...
    pub from: u64,
    /// ...and the last one; lower than the first where there was none.
    pub to: u64,
    /// Commits that are as they should be.
    pub commits: u64,
    /// Bases that are as they should be.
    pub bases: u64,
    /// Segments that are as they should be, those of bases among them.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is wrong, in the order in which a replay would meet it.
    pub damages: Vec<Damage>,
    /// Damages beyond those.
    pub more_damages: u64,
    /// Objects that no commit names: left by crashes, or being written now. Harmless.
    pub orphans: Vec<String>,
    /// Orphans beyond those.
    pub more_orphans: u64,
    /// Positions of replayers that none of the keys opens: of other readers, as a rule. Harmless here; each is checked by
    /// its own reader.
    pub unopened: Vec<String>,
}

impl Report {
    /// All damages.
    pub fn damaged(&self) -> u64 {
        self.more_damages.saturating_add(self.damages.len() as u64)
    }

    /// What was checked; a damage is taken in.
    pub(crate) fn note<T>(&mut self, checked: Result<T, Damage>) -> Option<T> {
        match checked {
            Ok(checked) => return Some(checked),
            Err(damage) if self.damages.len() < MOST_NAMED => self.damages.push(damage),
            Err(_) => self.more_damages = self.more_damages.saturating_add(1),
        }
        None
    }

    pub(super) fn unopened(&mut self, key: String) {
        if self.unopened.len() < MOST_NAMED {
            self.unopened.push(key);
        }
    }

    pub(super) fn orphan(&mut self, key: String) {
        if self.orphans.len() < MOST_NAMED {
            self.orphans.push(key);
        } else {
            self.more_orphans = self.more_orphans.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_counted() {
        let mut report = Report::default();
        for _ in 0..MOST_NAMED + 2 {
            report.note::<()>(Err(Damage::new("key", None, "is missing")));
            report.orphan("key".into());
        }
        assert_eq!((report.damages.len(), report.damaged()), (MOST_NAMED, MOST_NAMED as u64 + 2));
        assert_eq!((report.orphans.len(), report.more_orphans), (MOST_NAMED, 2));
    }
}
