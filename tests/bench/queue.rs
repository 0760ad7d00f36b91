//! What depends on the queue, in one line: how fast a backlog is recorded and at which cost, whether the source notices
//! that it is recorded, and how closely the recorder follows it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::half::Half;
use crate::live::lags;
use crate::load::Load;
use crate::machine::quiet;
use crate::recording;
use crate::report::{mean, quantile};
use crate::stand::{Outcome, Stand, ensure};

/// What is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Print {
    Head,
    Line,
}

/// What slows the source down as time goes by slows both alike.
const ORDER: [bool; 4] = [false, true, true, false];
/// How long the recorder is followed.
const FOLLOWED: Duration = Duration::from_secs(20);
/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// How long its last rows may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The head of the table.
pub fn print_head() -> Outcome {
    println!(
        "                 recorded alone                    inserts into the source, rows/s    committed after, s"
    );
    println!(
        "queue      rows/s    MB/s  us CPU a row  peak MiB     alone  recorded   ratio               p50     p99"
    );
    Ok(())
}

/// Measures the stand's queue.
pub async fn measure(stand: &Stand, rows: u64) -> Outcome {
    let (mut alone, mut recorded, mut behind) = (vec![], vec![], vec![]);
    for (round, records) in ORDER.into_iter().enumerate() {
        let load = Load::create(&stand.source, &format!("pace{round}")).await?;
        if records {
            let name = format!("pace{round}");
            let recorder =
                Half::start(stand, &stand.record(&name, &name, &[&load.table.name.to_string()])).await?;
            recorder.reaches("a first commit", |progress| progress.recorded_to > 0).await?;
            quiet().await?;
            recorded.push(load.insert(rows).await?);
            recorder.reaches("all rows", |progress| progress.inserted >= load.rows()).await?;
            behind.extend(follow(&recorder, &load, mean(&recorded) / 2.0).await?);
            recorder.stop().await?;
        } else {
            quiet().await?;
            alone.push(load.insert(rows).await?);
        }
    }
    let backlog = Load::create(&stand.source, "backlog").await?;
    backlog.insert(rows).await?;
    let catch_up = recording::measure(stand, &backlog).await?;
    let (alone, recorded) = (mean(&alone), mean(&recorded));
    println!(
        "{:8} {:8.0} {:7.0} {:13.2} {:9.0} {:9.0} {:9.0} {:7.2} {:17.2} {:7.2}",
        stand.queue_kind(),
        rows as f64 / catch_up.seconds,
        catch_up.mb_per_s,
        catch_up.cpu_s * 1e6 / rows as f64,
        catch_up.peak,
        alone,
        recorded,
        recorded / alone,
        quantile(&behind, 0.5),
        quantile(&behind, 0.99),
    );
    Ok(())
}

/// Seconds from the source's answers until a commit holds their rows, while so many come in a second.
async fn follow(recorder: &Half, load: &Load, rows_per_s: f64) -> Outcome<Vec<f64>> {
    let (begin, last) = (Instant::now(), Cell::new(None));
    let load = async {
        let acked = load.insert_paced(rows_per_s, || begin.elapsed() < FOLLOWED).await?;
        last.set(acked.iter().map(|acked| acked.tso).max());
        Outcome::Ok(acked)
    };
    let watch = async {
        let mut seen = Vec::new();
        loop {
            let recorded_to = recorder.progress().await?.recorded_to;
            seen.push((Instant::now(), recorded_to));
            if last.get().is_some_and(|last| recorded_to >= last) {
                return Outcome::Ok(seen);
            }
            ensure(begin.elapsed() < FOLLOWED + PATIENCE, || "the last rows are not committed".to_owned())?;
            tokio::time::sleep(LOOK).await;
        }
    };
    let (acked, seen) = tokio::try_join!(load, watch)?;
    Ok(lags(&acked, &seen))
}
