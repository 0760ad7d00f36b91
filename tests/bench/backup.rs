//! What is done to a log in a local folder, so that the page cache and not a store sets the pace.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use object_store::ObjectStoreExt;

use crate::machine::{cpu_time, quiet};
use crate::recording::Recorded;
use crate::report::{Goal, Report};
use crate::stand::process::Process;
use crate::stand::{Outcome, RUN, Stand, ensure, objects};

/// The longest that a command may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often it is looked at: CPU time and memory of a process are gone with it.
const LOOK: Duration = Duration::from_millis(10);

/// Verifies and archives a log with so many rows.
pub async fn measure(stand: &Stand, recorded: &Recorded, rows: u64, report: &mut Report) -> Outcome {
    let folder = copy(stand, &recorded.log).await?;
    let url = format!("file://{}", folder.display());
    let segments = bytes_in(&folder.join("segments"))?;

    let verify = command(stand, &["log", "verify", &url]).await?;
    let rate = segments as f64 / 1e6 / verify.cpu_s;
    report.add("log verify, from cache, a second of CPU time", rate, "MB", Goal::AtLeast(1000.0));

    let archive = command(stand, &["log", "archive", &url]).await?;
    let size = bytes_in(&folder.join("archive"))? as f64 / segments as f64;
    report.add("log archive", rows as f64 / archive.seconds, "rows/s", Goal::None);
    report.add("  CPU time of a row", archive.cpu_s * 1e6 / rows as f64, "us", Goal::None);
    report.add("  size against the segments", size, "", Goal::None);
    report.add("  peak memory", archive.peak, "MiB", Goal::AtMost(256.0));
    Ok(std::fs::remove_dir_all(folder)?)
}

/// What a command took.
pub struct Cost {
    /// From its start to its end.
    pub seconds: f64,
    /// CPU time.
    pub cpu_s: f64,
    /// Memory at its peak, in MiB.
    pub peak: f64,
}

/// Runs `tapedeck` to its end.
pub async fn command(stand: &Stand, arguments: &[&str]) -> Outcome<Cost> {
    quiet().await?;
    let begin = Instant::now();
    let mut process = Process::start(stand, arguments, &stand.scratch()?.join("backup.log"))?;
    let (mut cpu_s, mut peak) = (0.0, 0.0);
    loop {
        if let Some(status) = process.ended()? {
            ensure(status.success(), || format!("{arguments:?}: {status}\n{}", process.tail()))?;
            return Ok(Cost { seconds: begin.elapsed().as_secs_f64(), cpu_s, peak });
        }
        ensure(begin.elapsed() < PATIENCE, || format!("{arguments:?}: not within {PATIENCE:?}"))?;
        // of one that has just ended there are none
        if let (Ok(cpu), Ok(memory)) = (cpu_time(process.id()), process.peak_memory()) {
            (cpu_s, peak) = (cpu.as_secs_f64(), memory as f64);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A log of this run in a folder of its own.
async fn copy(stand: &Stand, log: &str) -> Outcome<PathBuf> {
    let (store, folder) = (objects::store(stand)?, stand.scratch()?.join("log"));
    let prefix = object_store::path::Path::from(format!("{}/{log}", *RUN));
    for path in objects::list(stand, log, "").await? {
        let bytes = store.get(&path).await?.bytes().await?;
        let parts = path.prefix_match(&prefix).into_iter().flatten();
        let file = parts.fold(folder.clone(), |folder, part| folder.join(part.as_ref()));
        std::fs::create_dir_all(file.parent().unwrap_or(&folder))?;
        std::fs::write(file, bytes)?;
    }
    Ok(folder)
}

fn bytes_in(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { bytes_in(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
