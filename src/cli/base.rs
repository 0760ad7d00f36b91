//! `tapedeck base`.

use super::log::{Place, Readers};
use super::progress::ProgressLine;
use super::{instant, print, print_json};
use crate::archive::base::{Limits, Report, Step, take};
use crate::error::Result;
use crate::telemetry::{self, LogFormat};
use crate::tick::Tso;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    readers: Readers,
    /// The last state up to an instant, a TSO or RFC 3339; without it the last one of the log
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Tso>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args) -> Result<()> {
    telemetry::logs(LogFormat::Text, "warn");
    let store = args.place.store_with_rows(&args.readers).await?;
    let progress = ProgressLine::new();
    let report = take(store, args.at, Limits::default(), |step| progress.tell(text(step))).await;
    progress.clear();
    let report = report?;
    if args.json { print_json(&report) } else { print(line(&report)) }
}

/// How far it is.
pub fn text(step: Step) -> String {
    match step {
        Step::Archived(seq, last) => format!("archiving: commit {seq} of {last}"),
        Step::Found(rows) => format!("{rows} rows live"),
    }
}

/// What came of it.
pub fn line(report: &Report) -> String {
    let Report { commit, tso, time, taken, rows, segments, bytes } = report;
    let there = if *taken { "" } else { " was there already" };
    format!(
        "the base of commit {commit}, {time} ({tso}){there}: {rows} rows in {segments} segments of {bytes} bytes"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_of_which_state_it_is_and_whether_it_is_new() {
        let mut report = Report {
            commit: 12,
            tso: 470656465160896520,
            time: "2026-11-23T05:32:10.698Z".into(),
            taken: true,
            rows: 1000,
            segments: 2,
            bytes: 9000,
        };
        let state = "the base of commit 12, 2026-11-23T05:32:10.698Z (470656465160896520)";
        assert_eq!(line(&report), format!("{state}: 1000 rows in 2 segments of 9000 bytes"));
        report.taken = false;
        assert_eq!(
            line(&report),
            format!("{state} was there already: 1000 rows in 2 segments of 9000 bytes")
        );
    }
}
