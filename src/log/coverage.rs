//! What a log can restore, folded from its commits one after another.

use crate::log::base::Base;
use crate::pb::log::{Commit, Hole};
use crate::position::Position;
use crate::tick::Tso;

/// Holes that are kept with their words.
const MOST_HOLES: usize = 1000;

/// What the commits so far say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Instants that can be restored, rising and apart.
    pub windows: Vec<Window>,
    /// Ranges of the source that the log lacks, the first 1000.
    pub holes: Vec<HoleAt>,
    /// Those beyond.
    pub more_holes: u64,
    /// Commits.
    pub commits: u64,
    /// Watermark of the last one.
    pub watermark: Tso,
    /// Rows in segments: inserted, and keys of deletes; an upsert is both.
    pub rows: u64,
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Watermark of the last commit with a hole: what is missing has a TSO up to this, and only a beginning of restores
    /// that is not before it opens a window again.
    broken_at: Option<Tso>,
}

/// Instants that can be restored, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From here...
    pub from: Tso,
    /// ...to here.
    pub to: Tso,
}

/// A range of a channel that the log lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoleAt {
    /// The commit that records it.
    pub seq: u64,
    /// What is missing has a TSO after this (the watermark of the commit before).
    pub after: Tso,
    /// The channel.
    pub channel: String,
    /// The first position that is missing...
    pub start: Position,
    /// ...and the one after the last.
    pub end: Position,
    /// Why.
    pub reason: String,
}

impl Coverage {
    /// Of a log that begins with a base: no instant before it can be restored.
    pub fn after(base: &Base) -> Coverage {
        let mut coverage = Coverage { watermark: base.watermark(), ..Coverage::default() };
        let opens_at = Tso(base.after.commit.opens_at).max(base.watermark());
        coverage.move_windows(opens_at, base.watermark());
        coverage
    }

    /// Whether an instant can be restored.
    pub fn holds(&self, instant: Tso) -> bool {
        self.windows.iter().any(|window| (window.from..=window.to).contains(&instant))
    }

    /// Takes in the next commit.
    pub fn add(&mut self, commit: &Commit) {
        if !commit.holes.is_empty() {
            self.broken_at = Some(Tso(commit.watermark));
        }
        for hole in &commit.holes {
            if self.holes.len() < MOST_HOLES {
                self.holes.push(HoleAt::new(commit.seq, self.watermark, hole));
            } else {
                self.more_holes = self.more_holes.saturating_add(1);
            }
        }
        self.move_windows(Tso(commit.opens_at), Tso(commit.watermark));
        self.commits = self.commits.saturating_add(1);
        self.watermark = Tso(commit.watermark);
        for segment in &commit.segments {
            self.rows = self.rows.saturating_add(segment.rows);
            self.segments = self.segments.saturating_add(1);
            self.bytes = self.bytes.saturating_add(segment.length);
        }
    }

    /// A commit says from where on restores are possible: what lies before is closed, whatever was said earlier.
    fn move_windows(&mut self, opens_at: Tso, watermark: Tso) {
        self.windows.retain(|window| window.to >= opens_at);
        if let Some(first) = self.windows.first_mut() {
            first.from = first.from.max(opens_at);
        }
        if self.broken_at.is_some_and(|broken_at| opens_at < broken_at) || watermark < opens_at {
            return;
        }
        // A hole before the beginning of restores is none of theirs.
        self.broken_at = None;
        match self.windows.last_mut() {
            Some(last) => last.to = watermark,
            None => self.windows.push(Window { from: opens_at, to: watermark }),
        }
    }
}

impl HoleAt {
    fn new(seq: u64, after: Tso, hole: &Hole) -> HoleAt {
        HoleAt {
            seq,
            after,
            channel: hole.channel.clone(),
            start: hole.start.unwrap_or_default().into(),
            end: hole.end.unwrap_or_default().into(),
            reason: hole.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(commits: &[(u64, u64, bool)]) -> Vec<(u64, u64)> {
        let mut coverage = Coverage::default();
        for (seq, (opens_at, watermark, hole)) in (1..).zip(commits) {
            let holes = if *hole { vec![Hole::default()] } else { vec![] };
            let commit =
                Commit { seq, opens_at: *opens_at, watermark: *watermark, holes, ..Default::default() };
            coverage.add(&commit);
        }
        coverage.windows.iter().map(|window| (window.from.0, window.to.0)).collect()
    }

    #[test]
    fn a_window_reaches_from_where_restores_open_to_the_watermark() {
        assert_eq!(windows(&[]), []);
        assert_eq!(windows(&[(10, 5, false)]), [], "not open yet");
        assert_eq!(windows(&[(10, 5, false), (10, 12, false), (10, 20, false)]), [(10, 20)]);
        assert_eq!(windows(&[(10, 12, false), (15, 20, false)]), [(15, 20)], "what lies before is given up");
    }

    #[test]
    fn a_hole_ends_a_window_and_only_a_later_beginning_opens_another() {
        assert_eq!(windows(&[(10, 12, false), (10, 20, true), (10, 30, false)]), [(10, 12)]);
        assert_eq!(windows(&[(10, 12, true), (10, 30, false)]), [], "from the first commit on");
        assert_eq!(windows(&[(10, 12, false), (10, 20, true), (25, 30, false)]), [(25, 30)]);
    }

    #[test]
    fn holes_beyond_the_first_thousand_are_counted() {
        let mut coverage = Coverage::default();
        for seq in 1..=MOST_HOLES as u64 + 2 {
            coverage.add(&Commit { seq, holes: vec![Hole::default()], ..Default::default() });
        }
        assert_eq!((coverage.holes.len(), coverage.more_holes), (MOST_HOLES, 2));
    }
}
