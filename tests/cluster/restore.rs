//! A restore brings back any instant exactly. `TAPEDECK_INSTANTS` sets how many.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::Value;
use tapedeck::change::{CollectionName, Keys};
use tapedeck::pb::milvus::proto::schema::DataType;
use tokio::time::sleep;

use crate::stand::process::{Done, run};
use crate::stand::rows::{Key, Rows, difference, rows};
use crate::stand::table::text_key;
use crate::stand::{Milvus, Outcome, Process, RUN, Service, Stand, Table, ensure, number, own, rng, task};

/// How long one restore may take.
const RESTORE: Duration = Duration::from_secs(120);
const REQUESTS: usize = 150;

/// A log in a folder, recorded from before its collections exist.
struct Recording {
    stand: Stand,
    service: Service,
    task: String,
    log: PathBuf,
}

impl Recording {
    async fn start(stand: Stand, test: &str) -> Outcome<Recording> {
        let service = Service::start(&stand, test).await?;
        let task = task(test);
        let log = stand.scratch()?.join(format!("{test}.tape"));
        let mut spec = stand.record(&task, test, &[&format!("default.own_{}_{test}_*", *RUN)]);
        spec["log"] = serde_json::json!({ "url": format!("file://{}", log.display()) });
        service.api.create(&spec).await?;
        service.api.waits_for(&task, "the log opened", |status| status["opens_at"]["tso"].is_u64()).await?;
        Ok(Recording { stand, service, task, log })
    }

    /// Waits until the log holds an instant.
    async fn holds(&self, tso: u64) -> Outcome {
        let held = |status: &Value| status["recorded_to"]["tso"].as_u64() >= Some(tso);
        self.service.api.waits_for(&self.task, "the last change recorded", held).await
    }

    /// The command that restores a collection at an instant under another name.
    fn command(&self, instant: u64, copies: &[(&CollectionName, CollectionName)]) -> Vec<String> {
        let words = ["restore", "--log", &self.log.display().to_string(), "--to", &instant.to_string()];
        let mut command = words.map(str::to_owned).to_vec();
        command.extend(["--target".into(), self.stand.target.uri.clone()]);
        command.extend(["--token-env".into(), "TAPEDECK_TEST_TARGET_TOKEN".into()]);
        for (name, copy) in copies {
            command.extend(["--select".into(), name.to_string()]);
            command.extend(["--rename".into(), format!("{name}={copy}")]);
        }
        command
    }

    async fn run(&self, command: &[String], log: &str) -> Outcome<Done> {
        let words = command.iter().map(String::as_str).collect::<Vec<_>>();
        run(&self.stand, &words, log, RESTORE).await
    }
}

/// What a client writes, request by request.
struct Client {
    source: Milvus,
    rng: StdRng,
    tables: [Written; 2],
    /// The TSOs of requests.
    dated: Vec<u64>,
    /// Instants at which a delete may have happened or not: Milvus 2.3 dates all requests but those.
    unsure: Vec<Range<u64>>,
}

/// What was written to one collection.
struct Written {
    table: Table,
    next: i64,
    live: Vec<i64>,
    /// By TSO: rows that were written, keys that were deleted.
    requests: BTreeMap<u64, (Rows, Vec<Key>)>,
}

impl Client {
    async fn request(&mut self) -> Outcome {
        let written = &mut self.tables[self.rng.random_range(0..2)];
        match self.rng.random_range(0..4) {
            0 if written.live.len() > 20 => {
                let keys = written.some(&mut self.rng);
                written.live.retain(|key| !keys.contains(key));
                let (sent, keys) = written.as_keys(keys);
                self.source.delete(&written.table.name, &sent).await?;
                let before = self.dated.last().copied().unwrap_or_default();
                let after = written.insert(&self.source, &mut self.rng).await?;
                written.requests.insert(after - 1, (Rows::new(), keys));
                self.unsure.push(before + 1..after - 1);
                self.dated.push(after);
            }
            1 if written.live.len() > 20 => {
                let keys = written.some(&mut self.rng);
                let sent = written.table.rows(&mut self.rng, keys);
                let upserted = rows(sent.columns.clone(), "id")?;
                let tso = self.source.upsert(&written.table.name, sent).await?.timestamp;
                written.requests.insert(tso, (upserted, Vec::new()));
                self.dated.push(tso);
            }
            _ => self.dated.push(written.insert(&self.source, &mut self.rng).await?),
        }
        Ok(())
    }

    /// A random instant at, just before, or anywhere between requests.
    fn instant(&mut self) -> u64 {
        loop {
            let at = self.dated[self.rng.random_range(1..self.dated.len())];
            let instant = match self.rng.random_range(0..3) {
                0 => at,
                1 => at - 1,
                _ => self.rng.random_range(self.dated[0]..=self.dated[self.dated.len() - 1]),
            };
            if !self.unsure.iter().any(|unsure| unsure.contains(&instant)) {
                return instant;
            }
        }
    }
}

impl Written {
    fn to(table: Table) -> Written {
        Written { table, next: 0, live: Vec::new(), requests: BTreeMap::new() }
    }

    /// Rows with new keys, and their TSO.
    async fn insert(&mut self, source: &Milvus, rng: &mut StdRng) -> Outcome<u64> {
        let keys = self.next..self.next + rng.random_range(1..15);
        self.next = keys.end;
        self.live.extend(keys.clone());
        let sent = self.table.rows(rng, keys);
        let inserted = rows(sent.columns.clone(), "id")?;
        let tso = source.insert(&self.table.name, sent).await?.timestamp;
        self.requests.insert(tso, (inserted, Vec::new()));
        Ok(tso)
    }

    fn some(&self, rng: &mut StdRng) -> Vec<i64> {
        let at = rng.random_range(0..self.live.len() - 8);
        self.live[at..at + 8].to_vec()
    }

    fn as_keys(&self, keys: Vec<i64>) -> (Keys, Vec<Key>) {
        if self.table.fields[0].data_type() == DataType::Int64 {
            return (Keys::Int(keys.clone()), keys.into_iter().map(Key::Int).collect());
        }
        let texts = keys.into_iter().map(text_key).collect::<Vec<_>>();
        (Keys::Text(texts.clone()), texts.into_iter().map(Key::Text).collect())
    }

    /// The rows at an instant.
    fn at(&self, instant: u64) -> Rows {
        let mut rows = Rows::new();
        for (written, deleted) in self.requests.range(..=instant).map(|(_, request)| request) {
            rows.retain(|key, _| !deleted.contains(key));
            rows.extend(written.clone());
        }
        rows
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
    for table in &tables {
        source.create_loaded(table).await?;
    }
    let (dated, unsure) = (Vec::new(), Vec::new());
    let tables = tables.map(Written::to);
    let mut client = Client { source: source.clone(), rng: rng("instants"), tables, dated, unsure };
    for _ in 0..REQUESTS {
        client.request().await?;
    }
    recording.holds(client.dated[client.dated.len() - 1]).await?;

    for round in 0..number("TAPEDECK_INSTANTS", 4) {
        let instant = client.instant();
        let copies = client.tables.each_ref().map(|written| {
            let name = &written.table.name;
            (name, CollectionName::new("default", format!("{}_{round}", name.collection)))
        });
        let command = recording.command(instant, &copies);
        if round % 2 == 1 {
            let words = command.iter().map(String::as_str).collect::<Vec<_>>();
            let log = recording.stand.scratch()?.join(format!("killed-{round}.log"));
            let mut killed = Process::start(&recording.stand, &words, &log)?;
            sleep(Duration::from_millis(client.rng.random_range(0..4000))).await; // anywhere within it
            killed.kill()?;
        }
        let done = recording.run(&command, &format!("restore-{round}")).await?;
        ensure(done.code == Some(0), || format!("to {instant}: exit code {:?}\n{}", done.code, done.output))?;
        for (written, (name, copy)) in client.tables.iter().zip(&copies) {
            let found = difference(&written.at(instant), &target.rows(copy, &[]).await?);
            ensure(found.is_none(), || format!("{name} at {instant}: {}", found.unwrap_or_default()))?;
            target.drop(copy).await?;
        }
    }
    for written in &client.tables {
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

    let log = recording.log.display().to_string();
    let shown = recording.run(&["log".into(), "timeline".into(), log, "--json".into()], "timeline").await?;
    let timeline = shown.output.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
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
