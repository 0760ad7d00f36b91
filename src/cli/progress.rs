//! The progress of a task on one line: redrawn on a terminal, now and then a plain line elsewhere.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::task::status::{Base, Checked, Status};

const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// The line.
pub struct ProgressLine {
    bar: Option<ProgressBar>,
    last: Cell<Option<Instant>>,
}

impl ProgressLine {
    /// On standard error.
    pub fn new() -> ProgressLine {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
        ProgressLine { bar, last: Cell::new(None) }
    }

    /// Shows how a task is.
    pub fn show(&self, status: &Status) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(text(status));
                bar.tick();
            }
            None if self.last.get().is_none_or(|last| last.elapsed() >= PLAIN_EVERY) => {
                self.last.set(Some(Instant::now()));
                plain(&text(status));
            }
            None => {}
        }
    }

    /// Shows it for the last time.
    pub fn finish(&self, status: &Status) {
        match &self.bar {
            Some(bar) => bar.finish_with_message(text(status)),
            None => plain(&text(status)),
        }
    }

    /// Shows any other progress.
    pub fn tell(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.tick();
        }
    }

    /// Prints something else, with the line out of its way.
    pub fn print<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn plain(text: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn text(status: &Status) -> String {
    let mut parts = vec![status.state.as_str().to_owned()];
    for (what, moment, lag) in [
        ("recorded to", &status.recorded_to, status.record_lag_s),
        ("applied to", &status.applied_to, status.apply_lag_s),
    ] {
        if let Some(moment) = moment {
            let lag = lag.map(|lag| format!(" (lag {lag:.1} s)")).unwrap_or_default();
            parts.push(format!("{what} {}{lag}", moment.time));
        }
    }
    if let Some(Checked { commit, of }) = status.checked {
        parts.push(format!("reading the log first: commit {commit} of {of}"));
    }
    if let Some(Base { segments, of, rows }) = status.base {
        parts.push(format!("copying a base: {segments} of {of} segments, {rows} rows"));
    }
    let rows = status.rows;
    let rows = rows.inserted.saturating_add(rows.deleted).saturating_add(rows.upserted);
    parts.push(format!("{rows} rows ({:.0}/s)", status.rows_per_s));
    if let Some(progress) = status.progress {
        parts.push(format!("{:.1} %", progress.percent));
        if let Some(eta) = progress.eta_s.filter(|eta| *eta >= 1.0) {
            parts.push(format!("{} left", humantime::format_duration(Duration::from_secs(eta as u64))));
        }
    }
    parts.extend(status.retrying.iter().map(|retrying| {
        format!(
            "{}: {}, tried {} times since {}",
            retrying.half, retrying.message, retrying.count, retrying.since
        )
    }));
    if !status.importing.is_empty() {
        parts.push(format!("without the bulk imports into {}", status.importing.join(", ")));
    }
    if let Some(incomplete) = &status.incomplete {
        parts.push(format!("target incomplete since {}", incomplete.since()));
    }
    parts.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::fake::spec;
    use crate::task::status::{Progress, status};
    use std::time::SystemTime;

    #[test]
    fn the_line_says_how_far_how_fast_and_how_long() {
        let mut status =
            status(&spec("a", "replay"), &Default::default(), &Default::default(), SystemTime::now());
        assert_eq!(text(&status), "running | 0 rows (0/s)");
        status.rows.inserted = 1200;
        status.rows_per_s = 400.4;
        status.progress = Some(Progress { percent: 41.2, eta_s: Some(73.9) });
        assert_eq!(text(&status), "running | 1200 rows (400/s) | 41.2 % | 1m 13s left");
        (status.rows.inserted, status.rows_per_s, status.progress) = (0, 0.0, None);
        status.base = Some(Base { segments: 3, of: 12, rows: 40_000 });
        let line = "running | copying a base: 3 of 12 segments, 40000 rows | 0 rows (0/s)";
        assert_eq!(text(&status), line);
        (status.base, status.checked) = (None, Some(Checked { commit: 3, of: 12 }));
        assert_eq!(text(&status), "running | reading the log first: commit 3 of 12 | 0 rows (0/s)");
    }
}
