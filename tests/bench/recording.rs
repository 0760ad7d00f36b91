//! The recorder alone, on a backlog in the queue.

use tapedeck::pb::log::Commit;

use crate::commits;
use crate::half::Half;
use crate::load::Load;
use crate::machine::quiet;
use crate::report::{Goal, Report, quantile};
use crate::stand::{Outcome, Stand, fail};

const ROUNDS: usize = 3;

/// A backlog in a log.
pub struct Recorded {
    /// The log's name.
    pub log: String,
    /// What it cost, in seconds of CPU time.
    pub cpu_s: f64,
    /// Without connecting and opening.
    pub mb_per_s: f64,
    /// From the creation of the task to the last row.
    pub seconds: f64,
    /// Memory at its peak, in MiB.
    pub peak: f64,
}

impl Recorded {
    /// Adds its figures.
    pub fn report(&self, stand: &Stand, backlog: &Load, report: &mut Report) {
        let what = format!("recorder alone, {} to log on MinIO", stand.queue_kind());
        let cpu = self.cpu_s * 1e6 / backlog.rows() as f64;
        report.add(what, self.mb_per_s, "MB/s", Goal::AtLeast(100.0));
        report.add("  from the creation of its task to the last row", self.seconds, "s", Goal::None);
        report.add("  CPU time of a row", cpu, "us", Goal::None);
        report.add("  peak memory", self.peak, "MiB", Goal::AtMost(256.0));
    }
}

/// Records a collection from its beginning into new logs: medians, but the highest peak.
pub async fn measure(stand: &Stand, backlog: &Load) -> Outcome<Recorded> {
    let (mut rates, mut times, mut cpu, mut memory) = (vec![], vec![], vec![], vec![]);
    let mut log = String::new();
    for round in 1..=ROUNDS {
        quiet().await?;
        log = format!("record{round}");
        let recorder =
            Half::start(stand, &stand.record(&log, &log, &[&backlog.table.name.to_string()])).await?;
        times.push(recorder.reaches("all rows", |progress| progress.inserted >= backlog.rows()).await?);
        cpu.push(recorder.cpu_time()?.as_secs_f64());
        memory.push(recorder.peak_memory()? as f64);
        recorder.stop().await?;
        rates.push(steady_rate(&commits::with_rows(stand, &log).await?)?);
    }
    let (mb_per_s, seconds) = (quantile(&rates, 0.5), quantile(&times, 0.5));
    Ok(Recorded { log, cpu_s: quantile(&cpu, 0.5), mb_per_s, seconds, peak: quantile(&memory, 1.0) })
}

/// MB a second from the first commit with rows to the last: without connecting and opening.
fn steady_rate(commits: &[Commit]) -> Outcome<f64> {
    let [first, rest @ .., last] = commits else {
        return fail("the backlog is too small: it went into a single commit");
    };
    let bytes = rest.iter().chain([last]).map(commits::bytes).sum::<u64>();
    let millis = last.wall_time_ms.saturating_sub(first.wall_time_ms).max(1);
    Ok(bytes as f64 / 1e6 / (millis as f64 / 1e3))
}
