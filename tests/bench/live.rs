//! Recorder and replayer at work at once, while the source is written to at a steady pace.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use crate::half::{Half, Progress};
use crate::load::{Acked, Load};
use crate::machine::quiet;
use crate::probe::Probe;
use crate::report::{Goal, Report, quantile};
use crate::stand::{Outcome, Stand, ensure};

const LOG: &str = "live";
/// How often both are asked how far they are.
const LOOK: Duration = Duration::from_millis(50);
/// How long the last rows may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A replication of two collections.
pub struct Live {
    pub stand: Stand,
    pub log: &'static str,
    pub load: Load,
    pub recorder: Half,
    probe: Probe,
    replayer: Half,
}

/// How far recorder and replayer were at an instant.
struct Sample {
    at: Instant,
    applied_to: u64,
    recorder: Progress,
}

/// Starts it and waits until the target has both collections.
pub async fn start(stand: &Stand) -> Outcome<Live> {
    let load = Load::create(&stand.source, LOG).await?;
    let probe = Probe::create(stand).await?;
    let include = [&load.table, &probe.table].map(|table| table.name.to_string());
    let include = include.each_ref().map(String::as_str);
    let recorder = Half::start(stand, &stand.record("live-record", LOG, &include)).await?;
    recorder.reaches("a first commit", |progress| progress.recorded_to > 0).await?;
    let replayer = Half::start(stand, &stand.replay("live-replay", LOG)).await?;
    probe.loaded().await?;
    Ok(Live { stand: stand.clone(), log: LOG, load, recorder, probe, replayer })
}

impl Live {
    /// Measures lags while so many rows come in a second.
    pub async fn measure(&self, rows_per_s: f64, seconds: u64, report: &mut Report) -> Outcome {
        quiet().await?;
        let begin = Instant::now();
        let (cpu_before, rows_before) = (self.cpu_s()?, self.load.rows());
        let going = || begin.elapsed() < Duration::from_secs(seconds);
        let last = Cell::new(None);
        let load = async {
            let acked = self.load.insert_paced(rows_per_s, going).await?;
            last.set(acked.iter().map(|acked| acked.tso).max());
            Outcome::Ok((acked, begin.elapsed()))
        };
        let ((acked, took), visible, samples) =
            tokio::try_join!(load, self.probe.lags(going), self.watch(&last))?;

        let rows = (self.load.rows() - rows_before) as f64;
        let applied = samples.iter().map(|sample| (sample.at, sample.applied_to)).collect::<Vec<_>>();
        let lags = lags(&acked, &applied);
        let ended = begin + took;
        // an idle log is behind by design: what can be lost begins with the first row
        let first = acked.iter().map(|acked| acked.tso).min().unwrap_or_default();
        let loaded = samples.iter().map(|sample| (sample.at, sample.recorder));
        let loaded = loaded.skip_while(|(_, recorder)| recorder.recorded_to < first);
        let loaded = loaded.take_while(|(at, _)| *at < ended).map(|(_, recorder)| recorder);
        let (losses, ticks): (Vec<_>, Vec<_>) =
            loaded.map(|recorder| (recorder.record_lag_s, recorder.tick_age_s)).unzip();
        let cpu = (self.cpu_s()? - cpu_before) * 1e6 / rows;

        report.add("live at half load: pace asked for", rows_per_s, "rows/s", Goal::None);
        report.add("  pace that the source kept", rows / took.as_secs_f64(), "rows/s", Goal::None);
        report.add("  lag p50, answer of the source to applied", quantile(&lags, 0.5), "s", Goal::None);
        report.add("  lag p99", quantile(&lags, 0.99), "s", Goal::AtMost(2.0));
        report.add(
            "  lag p50 of single rows until they can be read",
            quantile(&visible, 0.5),
            "s",
            Goal::None,
        );
        report.add("  lag p99 of single rows", quantile(&visible, 0.99), "s", Goal::None);
        report.add("  loss window p50", quantile(&losses, 0.5), "s", Goal::None);
        report.add("  loss window p99", quantile(&losses, 0.99), "s", Goal::AtMost(1.0));
        report.add(
            "  of it the age of the source's newest tick, p99",
            quantile(&ticks, 0.99),
            "s",
            Goal::None,
        );
        report.add("  CPU time of record + replay of a row", cpu, "us", Goal::None);
        Ok(())
    }

    /// Looks until the last row is applied.
    async fn watch(&self, last: &Cell<Option<u64>>) -> Outcome<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting_since = None;
        loop {
            look.tick().await;
            let (recorder, replayer) = tokio::try_join!(self.recorder.progress(), self.replayer.progress())?;
            let (at, applied_to) = (Instant::now(), replayer.applied_to);
            samples.push(Sample { at, applied_to, recorder });
            let Some(last) = last.get() else { continue };
            if applied_to >= last {
                return Ok(samples);
            }
            let waited = waiting_since.get_or_insert(at).elapsed();
            ensure(waited < PATIENCE, || format!("the last rows are not applied after {PATIENCE:?}"))?;
        }
    }

    fn cpu_s(&self) -> Outcome<f64> {
        Ok((self.recorder.cpu_time()? + self.replayer.cpu_time()?).as_secs_f64())
    }
}

/// Seconds from the answer to each batch until something was seen to have come so far.
pub fn lags(acked: &[Acked], seen: &[(Instant, u64)]) -> Vec<f64> {
    let arrived = |acked: &Acked| seen.iter().find(|(at, to)| *to >= acked.tso && *at >= acked.at);
    acked.iter().filter_map(|acked| arrived(acked).map(|(at, _)| (*at - acked.at).as_secs_f64())).collect()
}
