//! A recorder that is killed while rows come in, until the log grows again.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::commits;
use crate::live::Live;
use crate::report::{Goal, Report, quantile};
use crate::stand::{Outcome, fail};

/// Rows a second while the recorder is killed, in batches of this many.
const ROWS_PER_S: f64 = 1000.0;
const BATCH: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(60);
/// Between a first commit and the next kill, so that kills come at any point of the recorder's round.
const PAUSE: Duration = Duration::from_millis(1370);

/// Seconds from kill -9 with an immediate start to the first commit with rows.
pub async fn measure(live: Live, kills: usize, report: &mut Report) -> Outcome {
    let Live { stand, log, load, mut recorder, .. } = live;
    let load = load.in_batches_of(BATCH);
    let done = Cell::new(false);
    let kill = async {
        let mut times = Vec::new();
        for _ in 0..kills {
            tokio::time::sleep(PAUSE).await;
            let first = commits::of_next_writer(&stand, log).await?;
            let killed = Instant::now();
            let first = tokio::time::timeout(PATIENCE, async {
                first.await?;
                Outcome::Ok(killed.elapsed().as_secs_f64())
            });
            match tokio::join!(recorder.crash(), first) {
                (Ok(()), Ok(time)) => times.push(time?),
                (Err(failed), _) => return Err(failed),
                (_, Err(_)) => return fail(format!("no commit within {PATIENCE:?} after a restart")),
            }
        }
        done.set(true);
        Ok(times)
    };
    let (times, _) = tokio::try_join!(kill, load.insert_paced(ROWS_PER_S, || !done.get()))?;
    report.add("kill -9 of the recorder to its first commit, median", quantile(&times, 0.5), "s", Goal::None);
    report.add("  the longest", quantile(&times, 1.0), "s", Goal::AtMost(2.0));
    recorder.stop().await
}
