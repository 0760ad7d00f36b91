//! Wrong task documents: each gets one clear message, and nothing is half made.

mod stand;

use std::time::Duration;

use serde_json::{Value, json};
use stand::process::run;
use stand::{Failure, Outcome, RUN, Service, Stand, Table, ensure, eventually, objects, rng};
use tapedeck::change::CollectionName;
use tapedeck::pb::milvus::proto::schema::DataType;

const USAGE: i32 = 2;
const OPERATOR: i32 = 1;
/// How long a wrong document may keep a person waiting.
const ANSWER: Duration = Duration::from_secs(45);

/// A document that must be refused.
struct Case {
    /// Also the name of its task.
    name: &'static str,
    /// JSON pointer of what is replaced; a value of null removes it.
    at: &'static str,
    value: Value,
    /// What the message must name.
    says: &'static [&'static str],
    exit: i32,
}

fn case(
    name: &'static str,
    at: &'static str,
    value: Value,
    says: &'static [&'static str],
    exit: i32,
) -> Case {
    Case { name, at, value, says, exit }
}

fn pulsar(url: &str) -> Value {
    json!({ "pulsar": { "url": url } })
}

fn rocksmq(path: &str) -> Value {
    json!({ "rocksmq": { "path": path } })
}

/// Wrong in themselves.
fn malformed() -> Vec<Case> {
    vec![
        case("unknown-field", "/speed", json!(11), &["speed"], USAGE),
        case("unknown-inner-field", "/source/etcd/colour", json!("red"), &["colour"], USAGE),
        case("unknown-kind", "/kind", json!("mirror"), &["mirror", "replicate"], USAGE),
        case(
            "unknown-queue",
            "/source/queue",
            json!({ "redis": {} }),
            &["redis", "kafka", "pulsar", "rocksmq"],
            USAGE,
        ),
        case(
            "two-queues",
            "/source/queue",
            json!({ "kafka": { "brokers": "k:1" }, "rocksmq": { "path": "/r" } }),
            &["one queue", "kafka, pulsar, rocksmq"],
            USAGE,
        ),
        case(
            "queue-of-another",
            "/source/queue",
            json!({ "rocksmq": { "brokers": "k:1" } }),
            &["path"],
            USAGE,
        ),
        case("pulsar-at-brokers", "/source/queue", pulsar("127.0.0.1:9092"), &["pulsar.url", "9092"], USAGE),
        case("relative-rocksmq", "/source/queue", rocksmq("rdb_data"), &["absolute"], USAGE),
        case("no-target", "/target", Value::Null, &["target"], USAGE),
        case("no-source", "/source", Value::Null, &["source"], USAGE),
        case("no-log", "/log", Value::Null, &["log"], USAGE),
        case("until-of-a-replicate", "/until", json!("latest"), &["until"], USAGE),
        case("skip-of-a-replicate", "/skip", json!(["12:3"]), &["skip"], USAGE),
        case("start-at-no-instant", "/start", json!("yesterday"), &["start", "earliest"], USAGE),
        case("pattern-without-dot", "/select/include", json!(["docs"]), &["docs"], USAGE),
        case("nothing-included", "/select/include", json!([]), &["include"], USAGE),
        case("nothing-can-match", "/select/exclude", json!(["*.*"]), &["select"], USAGE),
        case(
            "rename-of-the-unselected",
            "/rename",
            json!({ "other.docs": "other.copy" }),
            &["other.docs"],
            USAGE,
        ),
        case("literal-secret", "/target/token", json!("root:Hidden"), &["env", "file"], USAGE),
        case("secret-in-url", "/target/uri", json!("http://root:Hidden@127.0.0.1:1"), &["target.uri"], USAGE),
        case("link-local-address", "/target/uri", json!("http://169.254.169.254:80"), &["link-local"], USAGE),
        case("no-address", "/target/uri", json!("somewhere"), &["target.uri"], USAGE),
        case("store-of-no-kind", "/log/url", json!("ftp://bucket/log"), &["ftp", "s3"], USAGE),
    ]
}

/// Wrong about the world.
fn mistaken() -> Vec<Case> {
    let nowhere = "http://127.0.0.1:1";
    let wrong = json!({ "env": "TAPEDECK_TEST_WRONG" });
    let kafka = json!({ "kafka": { "brokers": "127.0.0.1:1" } });
    let log = |bucket: &str| json!(format!("s3://{bucket}/{}/bad", *RUN));
    vec![
        case("wrong-etcd", "/source/etcd/endpoints", json!([nowhere]), &["127.0.0.1:1"], OPERATOR),
        case("wrong-root-path", "/source/etcd/root_path", json!("nothing-here"), &["nothing-here"], OPERATOR),
        case("wrong-kafka", "/source/queue", kafka, &["127.0.0.1:1"], OPERATOR),
        case("wrong-pulsar", "/source/queue", pulsar("pulsar://127.0.0.1:1"), &["127.0.0.1:1"], OPERATOR),
        case("no-rocksmq", "/source/queue", rocksmq("/proc/1"), &["/proc/1", "rocksmq.path"], OPERATOR),
        case("nowhere-rocksmq", "/source/queue", rocksmq("/no/where"), &["/no/where"], OPERATOR),
        case(
            "wrong-topic",
            "/source/replicate_channel",
            json!("no-such-topic"),
            &["no-such-topic"],
            OPERATOR,
        ),
        case("wrong-source", "/source/milvus/uri", json!(nowhere), &["127.0.0.1:1"], OPERATOR),
        case("wrong-token", "/target/token", wrong.clone(), &["target", "token", "auth"], OPERATOR),
        case("no-token", "/target/token", Value::Null, &["target", "token", "auth"], OPERATOR),
        case("wrong-target", "/target/uri", json!(nowhere), &["127.0.0.1:1"], OPERATOR),
        case("wrong-store", "/log/options/endpoint", json!(nowhere), &["127.0.0.1:1"], OPERATOR),
        case("wrong-bucket", "/log/url", log("no-such-bucket"), &["no-such-bucket"], OPERATOR),
        case("wrong-secret", "/log/options/secret_access_key", wrong, &["log"], OPERATOR),
        case(
            "no-secret",
            "/target/token",
            json!({ "env": "TAPEDECK_TEST_UNSET" }),
            &["TAPEDECK_TEST_UNSET"],
            OPERATOR,
        ),
    ]
}

impl Case {
    /// A good document with one thing wrong.
    fn spec(&self, stand: &Stand) -> Value {
        let mut spec = stand.replicate(&format!("{}-{}", *RUN, self.name), &["default.own_bad_*"]);
        spec["log"]["url"] = json!(format!("s3://{}/{}/bad", stand.minio.bucket, *RUN));
        let (parent, field) = self.at.rsplit_once('/').expect("a pointer");
        let parent =
            spec.pointer_mut(parent).expect("a place in the document").as_object_mut().expect("an object");
        match &self.value {
            Value::Null => parent.remove(field),
            value => parent.insert(field.into(), value.clone()),
        };
        spec
    }

    fn explained(&self, text: &str) -> Outcome {
        for part in self.says {
            ensure(text.contains(part), || format!("{}: \"{part}\" is not in: {text}", self.name))?;
        }
        ensure(!text.contains("Hidden"), || format!("{}: the secret is in: {text}", self.name))
    }

    async fn refused_by_api(&self, stand: &Stand, service: &Service) -> Outcome {
        let spec = self.spec(stand);
        let answer = service.api.post("/v1/tasks", Some(&spec)).await?;
        let text = answer.body.to_string();
        let refused = (400..500).contains(&answer.status);
        ensure(refused, || format!("{}: {} {text}", self.name, answer.status))?;
        ensure(answer.body["title"].is_string() && answer.body["detail"].is_string(), || {
            format!("{}: no problem document: {text}", self.name)
        })?;
        self.explained(&text)?;
        let path = format!("/v1/tasks/{}", spec["name"].as_str().unwrap_or_default());
        let left = service.api.get(&path).await?.status;
        ensure(left == 404, || format!("{}: the task is there ({left})", self.name))
    }

    async fn refused_by_run(&self, stand: &Stand) -> Outcome {
        let file = stand.scratch()?.join(format!("{}.json", self.name));
        std::fs::write(&file, self.spec(stand).to_string())?;
        for command in ["run", "check"] {
            let arguments = [command, "--spec", &file.display().to_string()];
            let log = format!("bad-{command}-{}", self.name);
            let done = run(stand, &arguments, &log, ANSWER).await?;
            let output = format!("{command}: {}", done.output);
            ensure(done.code == Some(self.exit), || {
                format!("{}: exit code {:?}; {output}", self.name, done.code)
            })?;
            self.explained(&output)?;
        }
        Ok(())
    }
}

/// All cases are tried before one fails.
async fn all(cases: Vec<Case>, mut check: impl AsyncFnMut(&Case) -> Outcome) -> Outcome {
    let mut failures = Vec::new();
    for case in &cases {
        if let Err(Failure(text)) = check(case).await {
            failures.push(text);
        }
    }
    ensure(failures.is_empty(), || failures.join("\n"))
}

/// The tests beside may be probing the store.
async fn nothing_made(stand: &Stand) -> Outcome {
    eventually("nothing is left of refused tasks", async || {
        let objects = objects::list(stand, "bad", "").await?;
        Ok((!objects.is_empty()).then(|| format!("{objects:?}")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_document_is_refused_by_the_api() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let service = Service::start(&stand, "malformed").await?;
    all(malformed(), async |case| case.refused_by_api(&stand, &service).await).await?;
    nothing_made(&stand).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistaken_document_is_refused_by_the_api() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let service = Service::start(&stand, "mistaken").await?;
    all(mistaken(), async |case| case.refused_by_api(&stand, &service).await).await?;
    nothing_made(&stand).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_document_ends_a_command_with_2() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    all(malformed(), async |case| case.refused_by_run(&stand).await).await?;
    nothing_made(&stand).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistaken_document_ends_a_command_with_1() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    all(mistaken(), async |case| case.refused_by_run(&stand).await).await?;
    nothing_made(&stand).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_another_milvus_is_refused() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let target = stand.target()?;
    let table = Table::plain(&CollectionName::new("default", format!("own_bad_{}_another", *RUN)));
    target.create(&table).await?;
    let another = case(
        "another-queue",
        "/source/etcd/root_path",
        json!(stand.target.etcd_root),
        &["the queue is not that of this etcd", "root_path"],
        OPERATOR,
    );
    let service = Service::start(&stand, "another").await?;
    another.refused_by_api(&stand, &service).await?;
    another.refused_by_run(&stand).await?;
    target.drop(&table.name).await?;
    nothing_made(&stand).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_once() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let service = Service::start(&stand, "taken").await?;
    let name = format!("{}-taken", *RUN);
    let mut spec = stand.replicate(&name, &["default.own_bad_*"]);
    service.api.create(&spec).await?;
    let again = service.api.post("/v1/tasks", Some(&spec)).await?;
    ensure(again.status == 200, || format!("the same again: {} {}", again.status, again.body))?;
    spec["select"]["include"] = json!(["default.own_worse_*"]);
    let other = service.api.post("/v1/tasks", Some(&spec)).await?;
    ensure(other.status == 409, || format!("another: {} {}", other.status, other.body))?;
    let gone = service.api.delete(&format!("/v1/tasks/{name}")).await?;
    ensure(gone.status < 300, || format!("delete: {} {}", gone.status, gone.body))?;
    let left = service.api.get(&format!("/v1/tasks/{name}")).await?.status;
    ensure(left == 404, || format!("a deleted task is there ({left})"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_another_schema_of_the_name_stops_the_task_and_is_left_alone() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let name = CollectionName::new("default", format!("own_{}_schema_t", *RUN));
    let (here, there) = (Table::plain(&name), Table::empty(&name).key(DataType::VarChar).vector(4));
    source.create_loaded(&here).await?;
    source.insert(&name, here.rows(&mut rng("schema"), 0..10)).await?;
    target.create_loaded(&there).await?;
    target.insert(&name, there.rows(&mut rng("schema"), 0..5)).await?;
    let service = Service::start(&stand, "schema").await?;
    let task = format!("{}-schema", *RUN);
    let answer = service.api.post("/v1/tasks", Some(&stand.replicate(&task, &[&name.to_string()]))).await?;
    ensure(answer.status == 201, || format!("{} {}", answer.status, answer.body))?;
    service.api.reaches(&task, "failed").await?;
    let error = service.api.status(&task).await?["last_error"].to_string();
    for part in [name.collection.as_str(), "which this replay did not create"] {
        ensure(error.contains(part), || format!("\"{part}\" is not named: {error}"))?;
    }
    ensure(target.count(&name, &[]).await? == 5, || "the target was changed".into())?;
    source.drop(&name).await?;
    target.drop(&name).await
}
