//! What is done for a log beside recording, while it grows and is replayed, and when it is killed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::RngExt;
use serde_json::{Value, json};
use tapedeck::change::CollectionName;
use tapedeck::pb::milvus::proto::schema::DataType;

use crate::stand::process::run;
use crate::stand::rows::difference;
use crate::stand::workload::Workload;
use crate::stand::{Outcome, Process, Service, Stand, Table, ensure, number, own, rng, task};
use crate::trial::{Trial, shared};

/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(60);
/// Each may find something to do after those before it.
const CHORES: [(&[&str], &[&str]); 3] =
    [(&["log", "archive"], &[]), (&["base"], &["--json"]), (&["log", "prune"], &["--keep-window", "0s"])];

/// Runs a command on a log of this run, which must end well.
async fn on_log(
    stand: &Stand,
    log: &str,
    (command, options): (&[&str], &[&str]),
    name: &str,
) -> Outcome<String> {
    let place = stand.log_arguments(log);
    let words = [command, &place.each_ref().map(String::as_str), options].concat();
    let done = run(stand, &words, name, COMMAND).await?;
    ensure(done.code == Some(0), || format!("{words:?}: exit code {:?}\n{}", done.code, done.output))?;
    Ok(done.output)
}

impl Trial {
    /// Waits until the log begins after a commit and the status tells of everything that was done for it; returns with
    /// which commit it begins.
    async fn is_kept(&self, after: u64) -> Outcome<u64> {
        let log = &self.stand.log_arguments(&self.task)[0];
        let mut first = 0;
        let look = async || {
            let upkeep = self.service.api.status(&self.task).await?["upkeep"].clone();
            let told = ["archive", "base", "prune"].iter().all(|chore| upkeep[chore]["what"].is_string());
            let view = self.service.api.get(&format!("/v1/logs?url={log}")).await?.body;
            first = view["first"].as_u64().unwrap_or_default();
            Ok((first <= after || !told).then(|| format!("begins with {first}: {upkeep}")))
        };
        self.service.api.eventually(&[&self.task], &format!("a log that begins after {after}"), look).await?;
        Ok(first)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_kept_up_under_load_and_again_after_a_kill() -> Outcome {
    let upkeep = json!({ "archive_every": "1s", "base_every": "2s", "keep_window": "1s" });
    let Some(mut trial) = Trial::with_upkeep("upkeep", upkeep).await? else { return Ok(()) };
    let mut first = 1;
    for round in 0..=number("TAPEDECK_KILLS", 1) {
        if round > 0 {
            trial.moment(Duration::from_secs(2)).await;
            trial.service.crash().await?;
        }
        trial.redefine(round).await?;
        first = trial.is_kept(first).await?;
    }
    on_log(&trial.stand, &trial.task, (&["log", "verify"], &["--deep"]), "upkeep-verify").await?;
    trial.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_archive_base_or_prune_is_given_again_and_loses_nothing() -> Outcome {
    let Some((_shared, stand)) = shared().await? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let (test, recording) = ("chores", task("chores"));
    let tables = [
        Table::plain(&own(test, "int")).shards(2),
        Table::empty(&own(test, "text")).key(DataType::VarChar).vector(16).field("size", DataType::Double),
    ];
    for table in &tables {
        source.create_loaded(table).await?;
    }
    let service = Service::start(&stand, test).await?;
    let include = tables.each_ref().map(|table| table.name.to_string());
    service.api.create(&stand.record(&recording, test, &include.each_ref().map(String::as_str))).await?;
    service.api.records(&recording).await?;
    let workloads = tables.each_ref().map(|table| Workload::start(source.clone(), table.clone(), 0));
    let mut rng = rng(test);
    let mut took = [Duration::from_secs(1); 3];
    let place = stand.log_arguments(test);
    for round in 0..number("TAPEDECK_KILLS", 3) {
        for (number, (chore, took)) in CHORES.iter().zip(&mut took).enumerate() {
            let name = format!("{test}-{round}-{number}");
            let words = [chore.0, &place.each_ref().map(String::as_str), chore.1].concat();
            let log = stand.scratch()?.join(format!("{name}-killed.log"));
            let mut killed = Process::start(&stand, &words, &log)?;
            tokio::time::sleep(took.mul_f64(rng.random_range(0.0..1.0))).await; // anywhere within it
            killed.kill()?;
            let begin = Instant::now();
            on_log(&stand, test, *chore, &name).await?;
            *took = begin.elapsed();
        }
        on_log(&stand, test, (&["log", "verify"], &["--deep"]), &format!("{test}-{round}-verify")).await?;
    }
    for workload in workloads {
        eprintln!("{test}: {:?}", workload.stop().await?);
    }
    let to = (SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64) << 18;
    let held = |status: &Value| status["recorded_to"]["tso"].as_u64() >= Some(to);
    service.api.waits_for(&recording, "the last change recorded", held).await?;
    let mut restore =
        ["restore", "--target", &stand.target.uri, "--token-env", "TAPEDECK_TEST_TARGET_TOKEN", "--to"]
            .map(str::to_owned)
            .to_vec();
    restore.extend([to.to_string(), "--log".into()]);
    restore.extend(place);
    let copies = tables.each_ref().map(|Table { name, .. }| {
        (name, CollectionName::new("default", format!("{}_copy", name.collection)))
    });
    restore.extend(copies.iter().flat_map(|(name, copy)| ["--rename".into(), format!("{name}={copy}")]));
    let restore = restore.iter().map(String::as_str).collect::<Vec<_>>();
    let done = run(&stand, &restore, "chores-restore", COMMAND).await?;
    ensure(done.code == Some(0), || format!("exit code {:?}\n{}", done.code, done.output))?;
    for (name, copy) in &copies {
        let found = difference(&source.rows(name, &[]).await?, &target.rows(copy, &[]).await?);
        ensure(found.is_none(), || format!("{name}: {}", found.unwrap_or_default()))?;
        source.drop(name).await?;
        target.drop(copy).await?;
    }
    Ok(())
}
