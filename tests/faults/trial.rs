//! A replication under load that something is done to.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tapedeck::pb::milvus::proto::schema::DataType;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::stand::compare::compare;
use crate::stand::proxy::Proxy;
use crate::stand::workload::Workload;
use crate::stand::{Milvus, Outcome, RUN, Service, Stand, Table, ensure, eventually, own, rng, task};

static STAND: RwLock<()> = RwLock::const_new(());

/// The stand for one test alone; none: no stand, the test is skipped.
pub async fn alone() -> Outcome<Option<(RwLockWriteGuard<'static, ()>, Stand)>> {
    let guard = STAND.write().await;
    Ok(Stand::find()?.map(|stand| (guard, stand)))
}

/// The stand for a test that disturbs nothing but its own task.
pub async fn shared() -> Outcome<Option<(RwLockReadGuard<'static, ()>, Stand)>> {
    let guard = STAND.read().await;
    Ok(Stand::find()?.map(|stand| (guard, stand)))
}

/// Whether a status says that what fails like this is being tried again.
pub fn tells(status: &Value, says: &str) -> bool {
    let said = |retrying: &Value| retrying["message"].as_str().is_some_and(|text| text.contains(says));
    status["state"] == "degraded" && status["retrying"].as_array().is_some_and(|all| all.iter().any(said))
}

/// A running service with one `replicate` task, and workloads on the collections that it carries.
pub struct Trial {
    pub stand: Stand,
    pub source: Milvus,
    pub target: Milvus,
    pub service: Service,
    pub task: String,
    pub rng: StdRng,
    test: String,
    tables: Vec<Table>,
    workloads: Vec<Workload>,
    _guard: Box<dyn Send>,
}

impl Trial {
    /// Begins one; none: no stand.
    pub async fn begin(test: &str) -> Outcome<Option<Trial>> {
        let Some((alone, stand)) = alone().await? else { return Ok(None) };
        let spec = stand.replicate(&task(test), &[]);
        Ok(Some(Trial::of(test, Box::new(alone), stand, spec).await?))
    }

    /// Begins one whose target is `target2`. Collections of a Milvus share its channels; of those that share one with
    /// many others, Milvus 2.3 may forget rows when it is killed that it had accepted and has in its queue.
    pub async fn with_new_target(test: &str) -> Outcome<Option<Trial>> {
        let Some((alone, stand)) = alone().await? else { return Ok(None) };
        let stand = stand.with_new_target().await?;
        let spec = stand.replicate(&task(test), &[]);
        Ok(Some(Trial::of(test, Box::new(alone), stand, spec).await?))
    }

    /// Begins one whose task reaches a service through a proxy alone.
    pub async fn behind_proxy(test: &str, service: &str) -> Outcome<Option<(Trial, Proxy)>> {
        let Some((shared, stand)) = shared().await? else { return Ok(None) };
        let (proxy, seen) = stand.behind_proxy(service).await?;
        let spec = seen.replicate(&task(test), &[]);
        let trial = Trial::of(test, Box::new(shared), stand, spec).await?;
        Ok(Some((trial, proxy)))
    }

    /// Begins one whose service looks after the log.
    pub async fn with_upkeep(test: &str, upkeep: Value) -> Outcome<Option<Trial>> {
        let Some((shared, stand)) = shared().await? else { return Ok(None) };
        let mut spec = stand.replicate(&task(test), &[]);
        spec["upkeep"] = upkeep;
        Ok(Some(Trial::of(test, Box::new(shared), stand, spec).await?))
    }

    /// `spec`: the task, but for what it selects.
    async fn of(test: &str, guard: Box<dyn Send>, stand: Stand, mut spec: Value) -> Outcome<Trial> {
        let (source, target) = (stand.source()?, stand.target()?);
        let tables = vec![
            Table::plain(&own(test, "int")).shards(2),
            Table::empty(&own(test, "text"))
                .key(DataType::VarChar)
                .vector(16)
                .field("size", DataType::Double),
            Table::empty(&own(test, "tenants")).key(DataType::Int64).vector(8).by_tenant(5),
        ];
        for table in &tables {
            source.create_loaded(table).await?;
        }
        let service = Service::start(&stand, test).await?;
        let task = task(test);
        spec["select"]["include"] = json!([format!("default.own_{}_{test}_*", *RUN)]);
        service.api.create(&spec).await?;
        service.api.records(&task).await?;
        let workload =
            |(table, number): (&Table, u32)| Workload::start(source.clone(), table.clone(), number);
        let workloads = tables.iter().zip(0..).map(workload).collect();
        let (test, rng) = (test.to_owned(), rng(test));
        let trial =
            Trial { stand, source, target, service, task, rng, test, tables, workloads, _guard: guard };
        trial.flows().await?;
        Ok(trial)
    }

    /// Waits until the status says that what fails like this is being tried again.
    pub async fn is_degraded(&self, says: &str) -> Outcome {
        let degraded = |status: &Value| tells(status, says);
        self.service.api.waits_for(&self.task, &format!("degraded by \"{says}\""), degraded).await
    }

    /// Waits until new rows arrive at the target.
    pub async fn flows(&self) -> Outcome {
        let name = &self.tables[0].name;
        let mut before = None;
        self.service
            .api
            .eventually(&[&self.task], "rows flow to the target", async || {
                let now = self.target.rows(name, &[]).await?;
                let still = before.get_or_insert_with(|| now.clone()) == &now;
                Ok(still.then(|| format!("{} rows without change", now.len())))
            })
            .await
    }

    /// A moment of the fault schedule, up to `most`.
    pub async fn moment(&mut self, most: Duration) {
        let millis = self.rng.random_range(0..most.as_millis() as u64);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Changes definitions amid the rows: partitions come and go, a collection is created anew.
    pub async fn redefine(&mut self, round: u64) -> Outcome {
        let table = &self.tables[0];
        let partition = format!("p{round}");
        self.source.create_partition(&table.name, &partition).await?;
        let key = -(round as i64 + 1);
        self.source.insert_into(&table.name, &partition, table.rows(&mut self.rng, [key])).await?;
        if let Some(old) = round.checked_sub(2).map(|round| format!("p{round}")) {
            self.source.release_partitions(&table.name, &[&old]).await?;
            self.source.drop_partition(&table.name, &old).await?;
        }
        let small = Table::plain(&own(&self.test, "small"));
        self.source.drop(&small.name).await?;
        self.source.create_loaded(&small).await?;
        self.source.insert(&small.name, small.rows(&mut self.rng, 0..20)).await?;
        if round == 0 {
            self.tables.push(small);
        }
        Ok(())
    }

    /// Ends the load.
    async fn quiet(&mut self) -> Outcome {
        for workload in self.workloads.drain(..) {
            eprintln!("{}: {:?}", self.test, workload.stop().await?);
        }
        Ok(())
    }

    /// Ends the load and has the source load its collections again: the query nodes of Milvus 2.3 may read messages
    /// twice when a broker dies, and then count rows twice for as long as these are loaded.
    pub async fn reload_source(&mut self) -> Outcome {
        self.quiet().await?;
        for table in &self.tables {
            self.source.release(&table.name).await?;
            self.source.load(&table.name).await?;
        }
        Ok(())
    }

    /// Ends the load and waits until everything is equal.
    pub async fn end(mut self) -> Outcome {
        self.quiet().await?;
        for name in self.tables.iter().map(|table| &table.name) {
            let what = format!("{name} equal at source and target");
            let look = async || compare((&self.source, name), (&self.target, name)).await;
            self.service.api.eventually(&[&self.task], &what, look).await?;
        }
        for name in self.tables.iter().filter(|table| table.partition_count > 0).map(|table| &table.name) {
            let (by_tenant, all) =
                (self.target.count_by_tenant(name).await?, self.target.count(name, &[]).await?);
            ensure(by_tenant == all, || {
                format!("{name}: {by_tenant} of {all} rows are found by their tenant")
            })?;
        }
        eprintln!("{}: {} MiB at most", self.test, self.service.process.peak_memory()?);
        for table in &self.tables {
            self.source.drop(&table.name).await?;
        }
        eventually("dropped collections gone at the target", async || {
            for table in &self.tables {
                let there = self.target.exists(&table.name).await?;
                ensure(!there, || format!("{} is still there", table.name))?;
            }
            Ok(None)
        })
        .await
    }
}
