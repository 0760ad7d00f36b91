//! `tapedeck compare` on source and target directly, and on a live pair.

use std::time::Duration;

use serde_json::{Value, json};
use tapedeck::change::{CollectionName, Keys, Rows};
use tapedeck::pb::milvus::proto::schema::field_data::Field;
use tapedeck::pb::milvus::proto::schema::scalar_field::Data;
use tapedeck::pb::milvus::proto::schema::{DataType, LongArray, ScalarField};

use crate::stand::process::{Done, run};
use crate::stand::table::{pair, text_key};
use crate::stand::workload::Workload;
use crate::stand::{Milvus, Outcome, RUN, Service, Stand, Table, ensure, eventually, fail, rng};

const COMPARISON: Duration = Duration::from_secs(120);

/// Two Milvus, on which a test makes alike what should be.
struct Two {
    stand: Stand,
    source: Milvus,
    target: Milvus,
    test: &'static str,
}

impl Two {
    fn find(test: &'static str) -> Outcome<Option<Two>> {
        let Some(stand) = Stand::find()? else { return Ok(None) };
        let (source, target) = (stand.source()?, stand.target()?);
        Ok(Some(Two { stand, source, target, test }))
    }

    fn name(&self, part: &str) -> CollectionName {
        CollectionName::new("default", format!("own_{}_{}_{part}", *RUN, self.test))
    }

    /// Creates and loads a table at both.
    async fn both(&self, table: &Table) -> Outcome {
        self.source.create_loaded(table).await?;
        self.target.create_loaded(table).await
    }

    async fn insert(&self, table: &Table, rows: Rows) -> Outcome {
        self.source.insert(&table.name, rows.clone()).await?;
        self.target.insert(&table.name, rows).await?;
        Ok(())
    }

    async fn run(&self, more: &[&str]) -> Outcome<Done> {
        let (source, target) = (&self.stand.source.uri, &self.stand.target.uri);
        let mut arguments =
            vec!["compare", source, target, "--target-token-env", "TAPEDECK_TEST_TARGET_TOKEN"];
        arguments.extend(more);
        run(&self.stand, &arguments, &format!("{}-{}", self.test, rand::random::<u32>()), COMPARISON).await
    }

    /// What the command says of one collection; its exit code must be that of its words.
    async fn compared(&self, name: &CollectionName) -> Outcome<Value> {
        let done = self.run(&["--json", "--select", &name.to_string()]).await?;
        let report = report(&done)?;
        let code = if report["equal"] == true { 0 } else { 1 };
        ensure(done.code == Some(code), || format!("exit code {:?}: {}", done.code, done.output))?;
        Ok(report["collections"][0].clone())
    }

    async fn equal(&self, name: &CollectionName) -> Outcome<Value> {
        let found = self.compared(name).await?;
        ensure(found["equal"] == true, || format!("not equal: {found:#}"))?;
        Ok(found)
    }

    async fn differs(&self, name: &CollectionName, what: &str) -> Outcome {
        let found = self.compared(name).await?;
        let named = found["definition"].to_string().contains(what) && found["equal"] == false;
        ensure(named, || format!("expected \"{what}\" in: {found:#}"))
    }

    async fn drop(&self, names: &[&CollectionName]) -> Outcome {
        for name in names {
            self.source.drop(name).await?;
            self.target.drop(name).await?;
        }
        Ok(())
    }
}

/// The document that a comparison printed.
fn report(done: &Done) -> Outcome<Value> {
    match serde_json::Deserializer::from_str(&done.output).into_iter().next() {
        Some(Ok(report)) => Ok(report),
        _ => fail(format!("exit code {:?}, and no document: {}", done.code, done.output)),
    }
}

fn rows_of(found: &Value) -> [Option<u64>; 4] {
    ["rows_source", "rows_target", "keys_source", "keys_target"].map(|what| found["rows"][what].as_u64())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_names_each_key_that_differs_and_its_fields() -> Outcome {
    let Some(two) = Two::find("keys")? else { return Ok(()) };
    for kind in [DataType::Int64, DataType::VarChar] {
        let name = two.name(kind.as_str_name());
        let table = Table::empty(&name).key(kind).vector(4).field("text", DataType::VarChar).dynamic();
        let table = table.array("tags", DataType::VarChar).field("json", DataType::Json);
        let key = |key: i64| if kind == DataType::Int64 { json!(key) } else { json!(text_key(key)) };
        let keys = |key: i64| match kind {
            DataType::Int64 => Keys::Int(vec![key]),
            _ => Keys::Text(vec![text_key(key)]),
        };
        two.both(&table).await?;
        assert_eq!(rows_of(&two.equal(&name).await?), [Some(0); 4]);
        two.insert(&table, table.rows(&mut rng("keys"), -100..100)).await?;
        assert_eq!(rows_of(&two.equal(&name).await?), [Some(200); 4]);

        two.source.delete(&name, &keys(1)).await?;
        two.target.delete(&name, &keys(-2)).await?;
        let (mut ours, mut theirs) = (table.rows(&mut rng("three"), [3]), table.rows(&mut rng("three"), [3]));
        text(&mut ours, "one");
        text(&mut theirs, "another");
        two.source.upsert(&name, ours).await?;
        two.target.upsert(&name, theirs).await?;
        let found = two.compared(&name).await?;
        let mut first = found["rows"]["first"].as_array().cloned().unwrap_or_default();
        first.sort_by_key(|key| key["what"].to_string());
        let expected = [
            json!({ "key": key(3), "what": "different", "fields": ["text"] }),
            json!({ "key": key(-2), "what": "only in source" }),
            json!({ "key": key(1), "what": "only in target" }),
        ];
        ensure(first == expected, || format!("{found:#}"))?;
        assert_eq!(rows_of(&found), [Some(199); 4]);
        two.drop(&[&name]).await?;
    }
    Ok(())
}

/// Puts another text into a single row.
fn text(rows: &mut Rows, text: &str) {
    for column in rows.columns.iter_mut().filter(|column| column.field_name == "text") {
        if let Some(Field::Scalars(ScalarField { data: Some(Data::StringData(texts)) })) = &mut column.field {
            texts.data = vec![text.into()];
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_compared_and_what_cannot_be_alike_is_named() -> Outcome {
    let Some(two) = Two::find("facts")? else { return Ok(()) };
    let (name, generated) = (two.name("t"), two.name("auto"));
    let table = Table::plain(&name);
    two.source.create_loaded(&table).await?;
    two.differs(&name, "it is not at the target").await?;
    two.target.create(&table).await?;
    two.differs(&name, "index vector: \\\"on vector").await?;
    two.target.index_vector(&table).await?;
    two.differs(&name, "partition _default: \\\"loaded\\\" at the source, \\\"not loaded\\\"").await?;
    two.source.release(&name).await?;
    let found = two.equal(&name).await?;
    ensure(found["notes"].to_string().contains("by definition alone"), || format!("{found:#}"))?;
    two.source.alter(&name, &[pair("collection.ttl.seconds", 99999)]).await?;
    two.differs(&name, "property collection.ttl.seconds: \\\"99999\\\"").await?;
    two.target.alter(&name, &[pair("collection.ttl.seconds", 99999)]).await?;
    let alias = format!("{}_alias", name.collection);
    two.target.create_alias(&name, &alias).await?;
    two.differs(&name, &format!("alias {alias}: none at the source")).await?;
    two.target.drop_alias("default", &alias).await?;
    two.source.create_partition(&name, "p").await?;
    two.differs(&name, "partition p: \\\"not loaded\\\" at the source, none").await?;

    let table = Table::empty(&generated).key(DataType::Int64).vector(4);
    two.source.create_loaded(&table.clone().auto_id()).await?;
    two.target.create_loaded(&table).await?;
    let found = two.equal(&generated).await?;
    ensure(found["notes"].to_string().contains("autoID is off at the target, by design"), || {
        format!("{found:#}")
    })?;
    two.drop(&[&name, &generated]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_compared_in_the_partitions_that_are_loaded() -> Outcome {
    let Some(two) = Two::find("parts")? else { return Ok(()) };
    let (name, by_key) = (two.name("t"), two.name("tenants"));
    let table = Table::plain(&name);
    for milvus in [&two.source, &two.target] {
        milvus.create(&table).await?;
        milvus.index_vector(&table).await?;
        for partition in ["p", "q"] {
            milvus.create_partition(&name, partition).await?;
        }
        milvus.load_partitions(&name, &["_default", "p"]).await?;
        // what is not loaded cannot be seen
        let other = if milvus.uri == two.source.uri { "here" } else { "there" };
        milvus.insert_into(&name, "q", table.rows(&mut rng(other), 0..9)).await?;
    }
    let rows = table.rows(&mut rng("parts"), 0..20);
    two.source.insert_into(&name, "p", rows.clone()).await?;
    two.target.insert_into(&name, "p", rows).await?;
    let found = two.equal(&name).await?;
    ensure(found["notes"].to_string().contains("1 of 3 partitions are not loaded"), || format!("{found:#}"))?;
    assert_eq!(rows_of(&found), [Some(20); 4]);
    // the same row in another partition
    let rows = table.rows(&mut rng("moved"), [77]);
    two.source.insert_into(&name, "p", rows.clone()).await?;
    two.target.insert(&name, rows).await?;
    let found = two.compared(&name).await?;
    let expected = json!([
        { "partition": "_default", "key": 77, "what": "only in target" },
        { "partition": "p", "key": 77, "what": "only in source" },
    ]);
    ensure(found["rows"]["first"] == expected, || format!("{found:#}"))?;

    let table = Table::plain(&by_key).by_tenant(4);
    two.both(&table).await?;
    two.insert(&table, table.rows(&mut rng("tenants"), 0..100)).await?;
    assert_eq!(rows_of(&two.equal(&by_key).await?), [Some(100); 4]);
    two.drop(&[&name, &by_key]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_left_out_where_keys_have_many_rows() -> Outcome {
    let Some(two) = Two::find("several")? else { return Ok(()) };
    let name = two.name("t");
    let table = Table::empty(&name).key(DataType::Int64).vector(2).shards(2);
    two.both(&table).await?;
    // more rows of one key than a page has, in a segment before other keys, and the ends of all keys
    for first in [-20_000i64, -10_000, 0, 10_000] {
        two.insert(&table, table.rows(&mut rng("many"), first..first + 10_000)).await?;
    }
    for _ in 0..2 {
        two.insert(&table, table.rows(&mut rng("one"), std::iter::repeat_n(-19_990, 10_000))).await?;
    }
    let mut ends = table.rows(&mut rng("ends"), [1, 2]);
    for column in ends.columns.iter_mut().filter(|column| column.field_name == "id") {
        // the very largest key is counted by Milvus 2.3, but never shown
        let data = Some(Data::LongData(LongArray { data: vec![i64::MIN, i64::MAX - 1] }));
        column.field = Some(Field::Scalars(ScalarField { data }));
    }
    two.insert(&table, ends).await?;
    let counts = [Some(60_002), Some(60_002), Some(40_002), Some(40_002)];
    assert_eq!(rows_of(&two.equal(&name).await?), counts);

    // of a key with two rows a query shows either: both must have two
    two.source.insert(&name, table.rows(&mut rng("here"), [7])).await?;
    let found = two.compared(&name).await?;
    ensure(found["equal"] == false, || format!("{found:#}"))?;
    two.target.insert(&name, table.rows(&mut rng("there"), [7])).await?;
    two.equal(&name).await?;
    two.target.delete(&name, &Keys::Int(vec![i64::MIN + 1, 9_999, 19_999])).await?;
    let found = two.compared(&name).await?;
    ensure(found["rows"]["only_in_source"] == 2, || format!("{found:#}"))?;
    two.drop(&[&name]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_compared_is_refused_with_what_to_do() -> Outcome {
    let Some(two) = Two::find("wrong")? else { return Ok(()) };
    let future = two.run(&["--at", "2999-01-01T00:00:00Z"]).await?;
    ensure(future.code == Some(2) && future.output.contains("lies in the source's future"), || {
        future.output.clone()
    })?;
    for (arguments, code, says) in [
        (vec!["compare", "http://127.0.0.1:1", &two.stand.target.uri], 1, "check that the source runs"),
        (vec!["compare", "nowhere", &two.stand.target.uri], 2, "the source's address is wrong"),
        (vec!["compare", &two.stand.source.uri, "ftp://h"], 2, "the target's address is wrong"),
        (vec!["compare", &two.stand.source.uri, &two.stand.target.uri, "--rename", "a"], 2, "has no ="),
        (vec!["compare", "--task", "none", "--server", "http://127.0.0.1:1"], 1, "tapedeck serve"),
    ] {
        let done =
            run(&two.stand, &arguments, &format!("wrong-{}", rand::random::<u32>()), COMPARISON).await?;
        ensure(done.code == Some(code) && done.output.contains(says), || {
            format!("{arguments:?}: {:?} {}", done.code, done.output)
        })?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_pair_is_compared_once_the_task_has_applied_what_the_source_holds() -> Outcome {
    let Some(two) = Two::find("live")? else { return Ok(()) };
    let name = two.name("t");
    let service = Service::start(&two.stand, "compare").await?;
    let task = format!("{}-compare", *RUN);
    service.api.create(&two.stand.replicate(&task, &[&name.to_string()])).await?;
    service.api.records(&task).await?;
    let table = Table::plain(&name);
    two.source.create_loaded(&table).await?;
    let workload = Workload::start(two.source.clone(), table.clone(), 0);
    eventually("some rows", async || {
        let count = two.source.count(&name, &[]).await?;
        Ok((count < 200).then(|| format!("{count} rows")))
    })
    .await?;
    let (server, _) = service.place();
    let server = format!("http://{server}");
    let arguments = ["compare", "--task", &task, "--api", &server, "--json"];
    let live = run(&two.stand, &arguments, "live", COMPARISON).await?;
    let done = workload.stop().await?;
    ensure(done.refused == 0, || format!("{done:?}"))?;
    ensure(live.code == Some(0), || live.output.clone())?;
    let first = report(&live)?["collections"][0]["at"]["source"].as_u64();

    // at rest: equal at once, and at a later instant
    let rest = run(&two.stand, &arguments, "rest", COMPARISON).await?;
    ensure(rest.code == Some(0), || rest.output.clone())?;
    let rest = report(&rest)?["collections"][0].clone();
    ensure(rest["at"]["source"].as_u64() > first && first.is_some(), || format!("{first:?} {rest:#}"))?;
    ensure(
        rest["rows"]["settled"] == 0 && rest["rows"]["rows_source"] == rest["rows"]["rows_target"],
        || format!("{rest:#}"),
    )?;

    // what others did to the target is found, and the wait has an end
    two.target.insert(&name, table.rows(&mut rng("others"), [-7])).await?;
    let arguments = ["compare", "--task", &task, "--api", &server, "--wait", "15s"];
    let other = run(&two.stand, &arguments, "other", COMPARISON).await?;
    let named = other.output.contains("key -7: only in target") && other.output.contains("1 DIFFERENT");
    ensure(other.code == Some(1) && named, || other.output.clone())?;

    // a task that stands will not get there
    service.api.post(&format!("/v1/tasks/{task}/pause"), None).await?;
    service.api.reaches(&task, "paused").await?;
    let arguments = ["compare", "--task", &task, "--api", &server];
    let paused = run(&two.stand, &arguments, "paused", COMPARISON).await?;
    ensure(paused.code == Some(1) && paused.output.contains("and is paused"), || paused.output.clone())?;
    two.drop(&[&name]).await
}
