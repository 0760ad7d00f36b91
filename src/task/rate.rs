//! How fast a half has been over the last seconds. Pure: the clock is given.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(10);
const APART: Duration = Duration::from_millis(450);

/// Where a half stood at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Rows done since it started.
    pub rows: u64,
    /// How far it is, in milliseconds of the source's time.
    pub at_millis: u64,
    /// Where the end is, likewise.
    pub end_millis: u64,
}

/// Marks of the last ten seconds.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    marks: VecDeque<(Instant, Mark)>,
}

impl Rate {
    /// Takes a mark; one that comes right after the last is passed over.
    pub fn mark(&mut self, now: Instant, mark: Mark) {
        if let Some((last, before)) = self.marks.back() {
            if now.saturating_duration_since(*last) < APART {
                return;
            }
            // It was started again and counts from 0.
            if mark.rows < before.rows {
                self.marks.clear();
            }
        }
        self.marks.push_back((now, mark));
        while self.marks.len() > 2
            && self.marks.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW)
        {
            self.marks.pop_front();
        }
    }

    /// Rows in a second.
    pub fn rows_per_s(&self) -> f64 {
        self.span()
            .map_or(0.0, |(seconds, first, last)| last.rows.saturating_sub(first.rows) as f64 / seconds)
    }

    /// Seconds until the end is reached at this speed; none when it does not come nearer.
    pub fn eta_s(&self) -> Option<f64> {
        let (seconds, first, last) = self.span()?;
        let left = |mark: Mark| mark.end_millis.saturating_sub(mark.at_millis) as f64;
        if left(last) == 0.0 {
            return Some(0.0);
        }
        // A half that has just been started stands nowhere yet.
        let nearer =
            (first.at_millis > 0).then(|| left(first) - left(last)).filter(|nearer| *nearer > 0.0)?;
        Some(left(last) / (nearer / seconds))
    }

    fn span(&self) -> Option<(f64, Mark, Mark)> {
        let ((start, first), (end, last)) = (self.marks.front()?, self.marks.back()?);
        let seconds = end.saturating_duration_since(*start).as_secs_f64();
        (seconds > 0.0).then_some((seconds, *first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(list: &[(u64, u64, u64, u64)]) -> Rate {
        let (mut rate, start) = (Rate::default(), Instant::now());
        for (second, rows, at_millis, end_millis) in list {
            let mark = Mark { rows: *rows, at_millis: *at_millis, end_millis: *end_millis };
            rate.mark(start + Duration::from_secs(*second), mark);
        }
        rate
    }

    #[test]
    fn rows_per_second_are_those_of_the_last_ten_seconds() {
        let rate =
            marks(&[(0, 0, 0, 0), (1, 1000, 0, 0), (12, 1000, 0, 0), (16, 2000, 0, 0), (20, 5000, 0, 0)]);
        assert_eq!(rate.rows_per_s(), 500.0);
        assert_eq!(Rate::default().rows_per_s(), 0.0);
    }

    #[test]
    fn counting_from_zero_again_is_no_negative_rate() {
        assert_eq!(marks(&[(0, 9000, 0, 0), (1, 10, 0, 0), (2, 110, 0, 0)]).rows_per_s(), 100.0);
    }

    #[test]
    fn the_end_is_estimated_by_how_fast_it_comes_nearer() {
        assert_eq!(marks(&[(0, 0, 1000, 10_000), (2, 0, 5000, 10_000)]).eta_s(), Some(2.5));
        assert_eq!(marks(&[(0, 0, 1000, 10_000), (2, 0, 1000, 12_000)]).eta_s(), None);
        assert_eq!(marks(&[(0, 0, 1000, 10_000), (2, 0, 10_000, 10_000)]).eta_s(), Some(0.0));
    }
}
