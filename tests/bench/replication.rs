//! What replication costs and how fast it is, in one run on real services: `deploy/bench`. With `--queues` one line for
//! each queue.
//!
//! Everything (source, queue, store, target, tapedeck and the clients) shares one machine, so figures are to be read
//! against each other and not against those of another machine.

mod backup;
mod catch_up;
mod commits;
mod half;
mod live;
mod load;
mod machine;
mod probe;
mod queue;
mod recording;
mod report;
mod restart;
mod restoring;
#[path = "../stand/mod.rs"]
mod stand;

use clap::Parser;

use load::Load;
use report::{Goal, Report};
use stand::{Outcome, Stand};

/// Measures replication on the services of `TAPEDECK_STAND`.
#[derive(Parser)]
#[command(name = "deploy/bench")]
struct Options {
    /// Rows of the backlog that is recorded and caught up with.
    #[arg(long, default_value_t = 400_000)]
    rows: u64,
    /// Rows that are restored.
    #[arg(long, default_value_t = 1_000_000)]
    restored: u64,
    /// Rows that live after 20 updates of each.
    #[arg(long, default_value_t = 40_000)]
    updated: u64,
    /// Seconds of live replication at half load.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How often the recorder is killed.
    #[arg(long, default_value_t = 5)]
    kills: usize,
    /// Only what depends on the queue, as a line of a table; `head` prints the head of that table.
    #[arg(long, hide = true)]
    queue: Option<queue::Print>,
    /// Cargo says it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Outcome {
    let options = Options::parse();
    if options.queue == Some(queue::Print::Head) {
        return queue::print_head();
    }
    let Some(stand) = Stand::find()? else { return Ok(()) };
    if options.queue == Some(queue::Print::Line) {
        return queue::measure(&stand, options.rows).await;
    }
    let mut report = Report::default();
    let measured = measure(&stand, &options, &mut report).await;
    machine::describe(&stand, &options, &mut report).await?;
    println!("{report}");
    measured
}

async fn measure(stand: &Stand, options: &Options, report: &mut Report) -> Outcome {
    let backlog = Load::create(&stand.source, "backlog").await?;
    eprintln!("writing {} rows to the source", options.rows);
    let written = backlog.insert(options.rows).await?;
    report.add("plain client, insert into the source", written, "rows/s", Goal::None);

    let recorded = recording::measure(stand, &backlog).await?;
    recorded.report(stand, &backlog, report);
    backup::measure(stand, &recorded, options.rows, report).await?;
    catch_up::measure(stand, &backlog, &recorded, report).await?;
    restoring::measure(stand, options.restored, report).await?;
    restoring::measure_updates(stand, options.updated, report).await?;
    let full_load = full_load(stand, options.rows, report).await?;
    let live = live::start(stand).await?;
    live.measure(full_load / 2.0, options.seconds, report).await?;
    restart::measure(live, options.kills, report).await
}

/// The most rows a second that source and target take on this machine when each row goes into both.
async fn full_load(stand: &Stand, rows: u64, report: &mut Report) -> Outcome<f64> {
    let source = Load::create(&stand.source, "full").await?;
    let target = Load::create(&stand.target, "full").await?;
    machine::quiet().await?;
    let rate = source.insert_twice(&target, rows).await?;
    report.add("plain clients, each row into source and target", rate, "rows/s", Goal::None);
    Ok(rate)
}
