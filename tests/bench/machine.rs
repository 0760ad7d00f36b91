//! What the figures were measured on, and what a process costs it.

use std::fs;
use std::time::Duration;

use tapedeck::pb::milvus::proto::milvus::GetVersionRequest;
use tokio::time::Instant;

use crate::Options;
use crate::report::Report;
use crate::stand::{Failure, Milvus, Outcome, SEED, Stand};

/// Linux counts CPU time for user programs in this many ticks a second, on every architecture in use.
const TICKS: u64 = 100;
/// A machine that is busier than this does something else.
const QUIET: f64 = 0.15;
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// User and system time of a process and all its threads since its start.
pub fn cpu_time(pid: u32) -> Outcome<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // the name in brackets may hold anything; behind it stand state, parent, ...
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect::<Vec<_>>();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
        return Err(Failure(format!("/proc/{pid}/stat: {stat}")));
    };
    Ok(Duration::from_millis((user + system) * 1000 / TICKS))
}

/// Waits until what was done before has settled: flushes and compactions go on after the last answer, and what they
/// wrote waits for the disk.
pub async fn quiet() -> Outcome {
    std::process::Command::new("sync").status()?;
    let deadline = Instant::now() + QUIET_WITHIN;
    let mut before = jiffies()?;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = jiffies()?;
        let (busy, all) = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
        before = now;
        if busy as f64 <= QUIET * all as f64 {
            return Ok(());
        }
        if Instant::now() > deadline {
            eprintln!("NOT QUIET: something keeps the machine busy ({busy} of {all} ticks); figures suffer");
            return Ok(());
        }
    }
}

/// Busy and all ticks of all processors since the start of the machine.
fn jiffies() -> Outcome<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect::<Vec<u64>>();
    // user nice system idle iowait irq softirq steal; guest time is counted in user already
    let all = ticks.iter().take(8).sum::<u64>();
    let idle = ticks.iter().skip(3).take(2).sum::<u64>();
    Ok((all - idle, all))
}

/// Notes machine, versions and what was asked for.
pub async fn describe(stand: &Stand, options: &Options, report: &mut Report) -> Outcome {
    let cores = std::thread::available_parallelism()?;
    let model = value("/proc/cpuinfo", "model name").unwrap_or_default();
    let memory = value("/proc/meminfo", "MemTotal").unwrap_or_default();
    let memory = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() >> 20;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    report.note(format!("on {cores} cores ({model}), {memory} GiB, Linux {}", kernel.trim()));
    report.note(format!(
        "tapedeck {} ({build}); Milvus {} and {}, queue {}, MinIO {}",
        env!("CARGO_PKG_VERSION"),
        milvus_version(stand.source()?).await?,
        milvus_version(stand.target()?).await?,
        queue_version(stand.queue_kind()),
        stand_version("MINIO"),
    ));
    let Options { rows, seconds, kills, .. } = options;
    report.note(format!(
        "backlog of {rows} rows, {seconds} s live, {kills} kills; seed {}; MB are 10^6 bytes, memory MiB",
        *SEED
    ));
    Ok(())
}

async fn milvus_version(mut milvus: Milvus) -> Outcome<String> {
    Ok(milvus.client.get_version(GetVersionRequest {}).await?.into_inner().version)
}

/// RocksMQ has none of its own.
fn queue_version(kind: &str) -> String {
    if kind == "rocksmq" { kind.into() } else { format!("{kind} {}", stand_version(&kind.to_uppercase())) }
}

/// What the stand installs.
fn stand_version(name: &str) -> &'static str {
    let line = include_str!("../../deploy/stand").lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split('"').nth(1)).unwrap_or("of an unknown version")
}

/// The value of a line `key : value`.
fn value(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}
