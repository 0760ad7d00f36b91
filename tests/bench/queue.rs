//! What depends on the queue, in one line: how fast a backlog is recorded and at which cost, and whether the source
//! notices that it is recorded.

use clap::ValueEnum;

use crate::half::Half;
use crate::load::Load;
use crate::machine::quiet;
use crate::recording;
use crate::report::mean;
use crate::stand::{Outcome, Stand};

/// What is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Print {
    Head,
    Line,
}

/// What slows the source down as time goes by slows both alike.
const ORDER: [bool; 4] = [false, true, true, false];

/// The head of the table.
pub fn print_head() -> Outcome {
    println!("                 recorded alone                          inserts into the source, rows/s");
    println!("queue      rows/s    MB/s  us CPU a row  peak MiB           alone  recorded   ratio");
    Ok(())
}

/// Measures the stand's queue.
pub async fn measure(stand: &Stand, rows: u64) -> Outcome {
    let (mut alone, mut recorded) = (vec![], vec![]);
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
        "{:8} {:8.0} {:7.0} {:13.2} {:9.0} {:15.0} {:9.0} {:7.2}",
        stand.queue_kind(),
        rows as f64 / catch_up.seconds,
        catch_up.mb_per_s,
        catch_up.cpu_s * 1e6 / rows as f64,
        catch_up.peak,
        alone,
        recorded,
        recorded / alone,
    );
    Ok(())
}
