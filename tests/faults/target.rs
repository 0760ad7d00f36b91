//! What others do to the target: limits, passwords, changes by hand.

use serde_json::{Value, json};
use tapedeck::pb::milvus::proto::schema::DataType;

use crate::stand::compare::compare;
use crate::stand::{Instance, Milvus, Outcome, Service, Stand, Table, ensure, eventually, own, rng, task};
use crate::trial::{shared, tells};

/// A task that replicates one collection.
struct Copying {
    source: Milvus,
    target: Milvus,
    service: Service,
    task: String,
    table: Table,
}

impl Copying {
    async fn start(stand: &Stand, test: &str, table: Table, token: Option<Value>) -> Outcome<Copying> {
        let (source, target) = (stand.source()?, stand.target()?);
        source.create_loaded(&table).await?;
        let service = Service::start(stand, test).await?;
        let task = task(test);
        let mut spec = stand.replicate(&task, &[&table.name.to_string()]);
        if let Some(token) = token {
            spec["target"]["token"] = token;
        }
        service.api.create(&spec).await?;
        let copying = Copying { source, target, service, task, table };
        copying.insert(0..50).await?;
        copying.is_equal().await?;
        Ok(copying)
    }

    /// Returns the TSO.
    async fn insert(&self, keys: std::ops::Range<i64>) -> Outcome<u64> {
        let rows = self.table.rows(&mut rng("copying"), keys);
        Ok(self.source.insert(&self.table.name, rows).await?.timestamp)
    }

    async fn is_equal(&self) -> Outcome {
        let name = &self.table.name;
        let look = async || compare((&self.source, name), (&self.target, name)).await;
        self.service.api.eventually(&[&self.task], &format!("{name} equal"), look).await
    }

    /// It fails with all of `says`, and does not pass over what it could not apply.
    async fn fails_before(&self, tso: u64, says: &[&str]) -> Outcome {
        self.service.api.reaches(&self.task, "failed").await?;
        let status = self.service.api.status(&self.task).await?;
        let error = status["last_error"].to_string();
        for part in says {
            ensure(error.contains(part), || format!("\"{part}\" is not named: {error}"))?;
        }
        ensure(status["applied_to"]["tso"].as_u64() < Some(tso), || format!("{tso} was skipped: {status}"))
    }

    async fn resume(&self) -> Outcome {
        let answer = self.service.api.post(&format!("/v1/tasks/{}/resume", self.task), None).await?;
        ensure(answer.status < 300, || format!("resume: {} {}", answer.status, answer.body))
    }

    async fn end(self) -> Outcome {
        self.source.drop(&self.table.name).await?;
        self.target.drop(&self.table.name).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_limits_its_rate_is_waited_for_and_says_so() -> Outcome {
    let Some((_shared, stand)) = shared().await? else { return Ok(()) };
    // without effect at the source, whose quotas are off
    let table = Table::plain(&own("quota", "t")).property("collection.insertRate.max.mb", "0.02");
    let copying = Copying::start(&stand, "quota", table, None).await?;
    let mut keys = (1..).map(|begin| begin * 1000..(begin + 1) * 1000);
    let api = &copying.service.api;
    let limited = async || {
        if let Some(keys) = keys.next() {
            copying.insert(keys).await?;
        }
        let status = api.status(&copying.task).await?;
        Ok((!tells(&status, "rate limit")).then(|| status.to_string()))
    };
    api.eventually(&[&copying.task], "degraded by a rate limit", limited).await?;
    copying.is_equal().await?;
    api.reaches(&copying.task, "running").await?;
    copying.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_longer_right_fails_the_task_and_a_new_one_goes_on() -> Outcome {
    let Some((_shared, stand)) = shared().await? else { return Ok(()) };
    let (table, file) = (Table::plain(&own("token", "t")), stand.scratch()?.join("token"));
    let user = &own("token", "user").collection;
    stand.target()?.create_admin(user, "before").await?;
    let token = format!("{user}:before");
    std::fs::write(&file, &token)?;
    let admin = Milvus::at(&Instance { token: Some(token), ..stand.target.clone() })?;
    eventually("the rights of the new user", async || admin.databases().await.map(|_| None)).await?;
    let copying = Copying::start(&stand, "token", table, Some(json!({ "file": file }))).await?;

    copying.target.change_password(user, "before", "afterwards").await?;
    let tso = copying.insert(50..100).await?;
    copying.fails_before(tso, &["auth", "token"]).await?;
    copying.resume().await?;
    copying.fails_before(tso, &["auth", "token"]).await?;
    std::fs::write(&file, format!("{user}:afterwards\n"))?;
    copying.resume().await?;
    copying.is_equal().await?;
    copying.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_dropped_by_hand_at_the_target_stops_the_task_before_the_next_row() -> Outcome {
    let Some((_shared, stand)) = shared().await? else { return Ok(()) };
    let table = Table::plain(&own("dropped", "t"));
    let copying = Copying::start(&stand, "dropped", table, None).await?;
    copying.target.drop(&copying.table.name).await?;
    let tso = copying.insert(50..100).await?;
    let says = [copying.table.name.collection.as_str(), "does not have this collection", "by others"];
    copying.fails_before(tso, &says).await?;
    // nor does it go on without what is lost
    copying.resume().await?;
    let name = copying.table.name.to_string();
    copying.fails_before(tso, &[&format!("the target lacks {name}")]).await?;
    copying.source.drop(&copying.table.name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_another_schema_put_there_by_hand_stops_the_task_with_the_difference() -> Outcome {
    let Some((_shared, stand)) = shared().await? else { return Ok(()) };
    let table = Table::plain(&own("schema", "t"));
    let name = table.name.clone();
    let other = Table::empty(&name).key(DataType::Int64).vector(4).field("text", DataType::VarChar).dynamic();
    let copying = Copying::start(&stand, "schema", table, None).await?;
    copying.target.drop(&name).await?;
    copying.target.create_loaded(&other).await?;
    let tso = copying.insert(50..100).await?;
    let says = [&name.collection, "field vector, parameters: source {dim=8}, target {dim=4}"];
    copying.fails_before(tso, &says).await?;
    let count = copying.target.count(&name, &[]).await?;
    ensure(count == 0, || format!("{count} rows went into another collection"))?;
    copying.end().await
}

/// What is written in the moment after it is lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_created_anew_by_hand_stops_the_task_because_its_rows_are_gone() -> Outcome {
    let Some((_shared, stand)) = shared().await? else { return Ok(()) };
    let copying = Copying::start(&stand, "anew", Table::plain(&own("anew", "t")), None).await?;
    copying.target.drop(&copying.table.name).await?;
    copying.target.create_loaded(&copying.table).await?;
    let mut keys = (1..).map(|begin| begin * 50..(begin + 1) * 50);
    let mut last = 0;
    eventually("the task stops", async || {
        if let Some(keys) = keys.next() {
            last = copying.insert(keys).await?;
        }
        let status = copying.service.api.status(&copying.task).await?;
        Ok((status["state"] != "failed").then(|| status.to_string()))
    })
    .await?;
    copying.fails_before(last, &[&copying.table.name.collection, "its rows are gone"]).await?;
    copying.end().await
}
