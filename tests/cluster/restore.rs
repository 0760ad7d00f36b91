//! A restore brings back any instant exactly. `TAPEDECK_INSTANTS` sets how many.

mod client;
mod recording;

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngExt;
use serde_json::Value;
use tapedeck::change::CollectionName;
use tapedeck::pb::milvus::proto::schema::DataType;
use tokio::time::sleep;

use crate::stand::compare::compare;
use crate::stand::rows::difference;
use crate::stand::{Failure, Milvus, Outcome, Process, Stand, Table, ensure, number, own, rng};
use client::Client;
use recording::Recording;

/// Requests before the first base, between the two, and after.
const REQUESTS: usize = 50;

/// A workload, the log of it, and restores to its instants.
struct Instants {
    recording: Recording,
    client: Client,
    target: Milvus,
    restores: u64,
}

impl Instants {
    /// The command that restores to an instant, and what it makes at the target.
    fn command(&mut self, instant: u64) -> (Vec<String>, [CollectionName; 2]) {
        self.restores += 1;
        let copies = self.client.tables.each_ref().map(|written| {
            let name = &written.table.name;
            CollectionName::new("default", format!("{}_{}", name.collection, self.restores))
        });
        let names = self.client.tables.iter().map(|written| &written.table.name);
        let renames = names.zip(copies.iter().cloned()).collect::<Vec<_>>();
        (self.recording.command(instant, &renames), copies)
    }

    /// Restores to an instant of a range, which begins with the base of a commit; now and then it is killed first.
    async fn is_restored(&mut self, within: &Range<u64>, base: Option<u64>) -> Outcome {
        let instant = self.client.instant(within);
        let (command, copies) = self.command(instant);
        let number = self.restores;
        let plan = [&command[..], &["--plan".into(), "--json".into()]].concat();
        let plan = self.recording.run(&plan, &format!("plan-{number}")).await?;
        ensure(plan.code == Some(0), || format!("exit code {:?}\n{}", plan.code, plan.output))?;
        let planned = serde_json::from_str::<Value>(&plan.output)?;
        ensure(planned["base"]["commit"].as_u64() == base, || format!("not from {base:?}: {}", plan.output))?;
        if number.is_multiple_of(2) {
            let words = command.iter().map(String::as_str).collect::<Vec<_>>();
            let log = self.recording.stand.scratch()?.join(format!("killed-{number}.log"));
            let mut killed = Process::start(&self.recording.stand, &words, &log)?;
            sleep(Duration::from_millis(self.client.rng.random_range(0..4000))).await; // anywhere within it
            killed.kill()?;
        }
        let done = self.recording.run(&command, &format!("restore-{number}")).await?;
        ensure(done.code == Some(0), || format!("to {instant}: exit code {:?}\n{}", done.code, done.output))?;
        for (written, copy) in self.client.tables.iter().zip(&copies) {
            let found = difference(&written.at(instant), &self.target.rows(copy, &[]).await?);
            let name = &written.table.name;
            ensure(found.is_none(), || format!("{name} at {instant}: {}", found.unwrap_or_default()))?;
            self.target.drop(copy).await?;
        }
        Ok(())
    }

    /// A restore to an instant that was pruned says so, and makes nothing.
    async fn is_pruned(&mut self, within: &Range<u64>) -> Outcome {
        let instant = self.client.instant(within);
        let (command, copies) = self.command(instant);
        let done = self.recording.run(&command, &format!("pruned-{}", self.restores)).await?;
        let refused = done.code == Some(3) && done.output.contains("was pruned");
        ensure(refused, || format!("to {instant}: exit code {:?}\n{}", done.code, done.output))?;
        for copy in &copies {
            ensure(!self.target.exists(copy).await?, || format!("a refused restore has made {copy}"))?;
        }
        Ok(())
    }

    /// Goes on writing while a base is taken; returns its commit and its instant.
    async fn takes_a_base(&mut self, name: &str) -> Outcome<(u64, u64)> {
        let written = self.client.requests(REQUESTS).await?;
        self.recording.holds(written).await?;
        let taking = self.recording.on_log(&["base"], &["--json"], name);
        let (base, written) = tokio::join!(taking, self.client.requests(REQUESTS / 2));
        written?;
        let base = serde_json::from_str::<Value>(&base?)?;
        let told = base["commit"].as_u64().zip(base["tso"].as_u64()).filter(|_| base["taken"] == true);
        told.ok_or_else(|| Failure(format!("no new base: {base}")))
    }

    /// Waits until what follows the log is at its end and holds what the source holds.
    async fn is_followed(&self, source: &Milvus, live: &str) -> Outcome {
        for written in &self.client.tables {
            let name = &written.table.name;
            let look = async || compare((source, name), (&self.target, name)).await;
            self.recording.service.api.eventually(&[live], &format!("{name} equal"), look).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instant_of_a_workload_is_restored_exactly() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let recording = Recording::start(stand, "instants").await?;
    let tables = [
        Table::plain(&own("instants", "int")).shards(2),
        Table::empty(&own("instants", "text")).key(DataType::VarChar).vector(8).field("n", DataType::Int32),
    ];
    let client = Client::create(source.clone(), tables).await?;
    let live = recording.follow().await?;
    let mut of = Instants { recording, client, target, restores: 0 };
    let (first, begins) = of.takes_a_base("base-1").await?;
    let (second, floor) = of.takes_a_base("base-2").await?;
    let end = of.client.requests(REQUESTS).await?;
    of.recording.holds(end).await?;
    let parts = [(0..begins, None), (begins..floor, Some(first)), (floor..u64::MAX, Some(second))];
    let rounds = number("TAPEDECK_INSTANTS", 4) as usize;
    for (within, base) in parts.iter().cycle().take(rounds) {
        of.is_restored(within, *base).await?;
    }

    of.is_followed(&source, &live).await?;
    let pruned = of
        .recording
        .on_log(&["log", "prune"], &["--keep-window", "0s", "--keep-bases", "1"], "prune")
        .await?;
    let pruned = serde_json::from_str::<Value>(&pruned)?;
    ensure(pruned["first_commit"].as_u64() == Some(second + 1), || {
        format!("not from {second} on: {pruned}")
    })?;
    let end = of.client.requests(REQUESTS).await?;
    of.recording.holds(end).await?;
    for _ in 0..rounds.div_ceil(3) {
        of.is_pruned(&(0..floor)).await?;
        of.is_restored(&(floor..u64::MAX), Some(second)).await?;
    }
    of.is_followed(&source, &live).await?;
    for deep in [&[][..], &["--deep"]] {
        of.recording.on_log(&["log", "verify"], deep, "verify").await?;
    }
    for written in &of.client.tables {
        source.drop(&written.table.name).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_dropped_by_mistake_comes_back_with_its_rows() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let recording = Recording::start(stand, "mistake").await?;
    let (docs, copy) = (own("mistake", "docs"), own("mistake", "docs_restored"));
    let table = Table::plain(&docs);
    source.create_loaded(&table).await?;
    source.insert(&docs, table.rows(&mut rng("mistake"), 0..200)).await?;
    let before = source.rows(&docs, &[]).await?;
    source.drop(&docs).await?;
    // whoever notices has another one by now
    source.create_loaded(&table).await?;
    source.insert(&docs, table.rows(&mut rng("mistake again"), 0..5)).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    recording.holds(now << 18).await?;

    let shown = recording.on_log(&["log", "timeline"], &["--json"], "timeline").await?;
    let timeline = shown.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let place = |change: &str, nth: usize| {
        let mut found = timeline.iter().filter(|entry| entry["change"] == change);
        found.nth(nth).and_then(|entry| entry["place"].as_str()).unwrap_or_default().to_owned()
    };
    let mut command = recording.command(now << 18, &[(&docs, copy.clone())]);
    command.extend(["--skip".into(), place("drop_collection", 0)]);
    let clash = recording.run(&command, "clash").await?;
    ensure(clash.code == Some(3) && clash.output.contains("clashes with"), || clash.output.clone())?;
    ensure(!target.exists(&copy).await?, || "a refused restore has made something".into())?;
    command.extend(["--skip".into(), place("create_collection", 1)]);
    let done = recording.run(&command, "undone").await?;
    ensure(done.code == Some(0), || format!("exit code {:?}\n{}", done.code, done.output))?;
    let found = difference(&before, &target.rows(&copy, &[]).await?);
    ensure(found.is_none(), || found.unwrap_or_default())?;
    source.drop(&docs).await?;
    target.drop(&copy).await
}
