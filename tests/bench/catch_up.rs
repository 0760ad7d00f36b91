//! The replayer on a backlog in the log, against a plain client that inserts as many rows into the same target.

use crate::half::Half;
use crate::load::Load;
use crate::machine::quiet;
use crate::recording::Recorded;
use crate::report::{Goal, Report, mean};
use crate::stand::{Milvus, Outcome, Stand, ensure};
use tapedeck::change::CollectionName;

#[derive(Clone, Copy)]
enum Who {
    Direct,
    Replayer,
}

/// What slows the target down as time goes by slows both alike.
const ORDER: [Who; 4] = [Who::Direct, Who::Replayer, Who::Replayer, Who::Direct];

/// Lets both take turns.
pub async fn measure(stand: &Stand, backlog: &Load, recorded: &Recorded, report: &mut Report) -> Outcome {
    let (target, rows) = (stand.target()?, backlog.rows());
    let (mut direct, mut replay) = (Vec::new(), Vec::new());
    let (mut cpu_s, mut memory) = (Vec::new(), 0);
    for (round, who) in ORDER.into_iter().enumerate() {
        quiet().await?;
        match who {
            Who::Direct => {
                let load = Load::create(&stand.target, &format!("direct{round}")).await?;
                let rate = load.insert(rows).await?;
                eprintln!("direct client: {rate:.0} rows/s");
                direct.push(rate);
                clear(&target, &load.table.name, rows).await?;
            }
            Who::Replayer => {
                let name = format!("replay{round}");
                let replayer = Half::start(stand, &stand.replay(&name, &recorded.log)).await?;
                let seconds = replayer.reaches("all rows", |progress| progress.inserted >= rows).await?;
                eprintln!("replayer: {:.0} rows/s", rows as f64 / seconds);
                replay.push(rows as f64 / seconds);
                cpu_s.push(replayer.cpu_time()?.as_secs_f64());
                memory = memory.max(replayer.peak_memory()?);
                replayer.stop().await?;
                clear(&target, &backlog.table.name, rows).await?;
            }
        }
    }
    let (direct, replay, cpu_s) = (mean(&direct), mean(&replay), mean(&cpu_s));
    let us_a_row = |seconds: f64| seconds * 1e6 / rows as f64;
    report.add("plain client, insert into the target", direct, "rows/s", Goal::None);
    report.add("replayer, catching up", replay, "rows/s", Goal::None);
    report.add("  against the plain client", replay / direct, "", Goal::AtLeast(0.9));
    report.add("  CPU time of a row", us_a_row(cpu_s), "us", Goal::None);
    report.add("  peak memory", memory as f64, "MiB", Goal::AtMost(256.0));
    report.add(
        "CPU time of record + replay of a row",
        us_a_row(cpu_s + recorded.cpu_s),
        "us",
        Goal::AtMost(10.0),
    );
    Ok(())
}

/// Makes sure that a collection has all its rows, and drops it.
pub async fn clear(target: &Milvus, name: &CollectionName, rows: u64) -> Outcome {
    target.flush(name).await?;
    let found = target.flushed_rows(name).await?;
    ensure(found == rows as i64, || format!("{name} has {found} rows at the target instead of {rows}"))?;
    target.drop(name).await
}
