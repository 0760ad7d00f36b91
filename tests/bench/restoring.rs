//! Restores, against a plain client that inserts as many rows into the same target; and of a long history, against one of
//! the same rows written once. Logs are in local folders, so that the page cache and not a store sets the pace.

use std::path::PathBuf;

use crate::backup::{Cost, command};
use crate::catch_up::clear;
use crate::commits;
use crate::half::Half;
use crate::load::Load;
use crate::machine::quiet;
use crate::report::{Goal, Report, mean};
use crate::stand::{Outcome, Stand};

const UPDATES: u64 = 20;
const ROUNDS: usize = 2;

/// A collection in a log.
struct Log {
    url: String,
    folder: PathBuf,
    load: Load,
    /// The instant at which they do.
    to: u64,
}

/// Restores so many rows.
pub async fn measure(stand: &Stand, rows: u64, report: &mut Report) -> Outcome {
    let load = Load::create(&stand.source, "restored").await?;
    eprintln!("writing {rows} rows to the source");
    load.insert(rows).await?;
    let log = Log::record(stand, load, 1).await?;
    quiet().await?;
    let direct = Load::create(&stand.target, "restored_direct").await?;
    let plain = direct.insert(rows).await?;
    clear(&stand.target()?, &direct.table.name, direct.rows()).await?;
    let restore = log.restore(stand, "restore").await?;
    let base = log.base(stand).await?;
    let restore_of_base = log.restore(stand, "restore_base").await?;
    std::fs::remove_dir_all(&log.folder)?;

    let rate = |cost: &Cost| log.load.rows() as f64 / cost.seconds;
    report.add(format!("plain client, {rows} rows into the target"), plain, "rows/s", Goal::None);
    report.add("restore of as many, the log read first", rate(&restore), "rows/s", Goal::None);
    report.add("  against the plain client", rate(&restore) / plain, "", Goal::AtLeast(0.9));
    report.add("  peak memory", restore.peak, "MiB", Goal::AtMost(256.0));
    report.add("base, what it needs of the archive included", rate(&base), "rows/s", Goal::None);
    report.add("  peak memory", base.peak, "MiB", Goal::AtMost(256.0));
    report.add("restore of the base", rate(&restore_of_base), "rows/s", Goal::None);
    report.add("  against the plain client", rate(&restore_of_base) / plain, "", Goal::AtLeast(0.9));
    report.add("  peak memory", restore_of_base.peak, "MiB", Goal::AtMost(256.0));
    Ok(())
}

/// Restores rows that were written once, and as many after 20 updates of each.
pub async fn measure_updates(stand: &Stand, rows: u64, report: &mut Report) -> Outcome {
    let once = Load::create(&stand.source, "once").await?;
    once.insert(rows).await?;
    let once = Log::record(stand, once, 1).await?;
    let often = Load::create(&stand.source, "often").await?;
    eprintln!("writing {rows} rows to the source, {UPDATES} times");
    often.insert(rows).await?;
    often.upsert_again(often.rows(), UPDATES - 1).await?;
    let often = Log::record(stand, often, UPDATES).await?;
    let base = often.base(stand).await?;
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        short.push(once.restore(stand, &format!("once{round}")).await?.seconds);
        long.push(often.restore(stand, &format!("often{round}")).await?.seconds);
    }
    std::fs::remove_dir_all(&once.folder)?;
    std::fs::remove_dir_all(&often.folder)?;
    let (short, long) = (mean(&short), mean(&long));
    report.add(format!("restore of {rows} rows, written once"), short, "s", Goal::None);
    report.add(
        format!("restore of {rows} rows after {UPDATES} updates each, from a base"),
        long,
        "s",
        Goal::None,
    );
    report.add("  against those written once", long / short, "", Goal::AtMost(1.2));
    report.add("  taking the base", base.seconds, "s", Goal::None);
    Ok(())
}

impl Log {
    /// Records a collection into which each row was written so many times.
    async fn record(stand: &Stand, load: Load, times: u64) -> Outcome<Log> {
        let inserted = load.rows() * times;
        let collection = load.table.name.to_string();
        let name = load.table.name.collection.clone();
        let folder = stand.scratch()?.join(&name);
        let url = format!("file://{}", folder.display());
        let mut spec = stand.record(&name, &name, &[&collection]);
        spec["log"] = serde_json::json!({"url": url});
        let recorder = Half::start(stand, &spec).await?;
        recorder.reaches("all rows", |progress| progress.inserted >= inserted).await?;
        // a base is of the last commit, which is that of the end
        recorder.stop().await?;
        let to = commits::end(&url).await?;
        Ok(Log { url, folder, load, to })
    }

    async fn base(&self, stand: &Stand) -> Outcome<Cost> {
        command(stand, &["base", &self.url]).await
    }

    /// Restores it, looks whether it is all there, and removes it.
    async fn restore(&self, stand: &Stand, name: &str) -> Outcome<Cost> {
        let to = self.to.to_string();
        let mut words = vec!["restore", "--log", &self.url, "--to", &to, "--name", name, "--no-base"];
        words.extend(["--target", &stand.target.uri, "--token-env", "TAPEDECK_TEST_TARGET_TOKEN"]);
        let cost = command(stand, &words).await?;
        clear(&stand.target()?, &self.load.table.name, self.load.rows()).await?;
        Ok(cost)
    }
}
