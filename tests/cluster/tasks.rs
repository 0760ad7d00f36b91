//! What tasks promise, each with tasks of its own.

use std::time::Duration;

use serde_json::json;
use tapedeck::change::CollectionName;
use tapedeck::pb::milvus::proto::schema::DataType;

use crate::stand::compare::compare;
use crate::stand::process::run;
use crate::stand::workload::Workload;
use crate::stand::{Outcome, RUN, Service, Stand, Table, ensure, eventually, own, rng, task};

/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(120);

/// Waits until a copy under another name equals its original.
async fn copied(
    stand: &Stand,
    service: &Service,
    tasks: &[&str],
    from: &CollectionName,
    to: &CollectionName,
) -> Outcome {
    let (source, target) = (stand.source()?, stand.target()?);
    let what = format!("{from} equal to its copy {to}");
    service.api.eventually(tasks, &what, async || compare((&source, from), (&target, to)).await).await
}

async fn clean(stand: &Stand, source: &[&CollectionName], target: &[&CollectionName]) -> Outcome {
    for name in source {
        stand.source()?.drop(name).await?;
    }
    for name in target {
        stand.target()?.drop(name).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_selected_arrives_under_its_new_name() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let source = stand.source()?;
    let (docs, notes, scratch) = (own("select", "docs"), own("select", "notes"), own("select", "scratch"));
    let copy = own("select", "docs_copy");
    let mut rng = rng("select");
    for name in [&docs, &notes, &scratch] {
        let table = Table::plain(name);
        source.create_loaded(&table).await?;
        source.insert(name, table.rows(&mut rng, 0..50)).await?;
    }
    let service = Service::start(&stand, "select").await?;
    let task = task("select");
    let mut spec = stand.replicate(&task, &[&format!("default.own_{}_select_*", *RUN)]);
    spec["select"]["exclude"] = json!(["*.*_scratch"]);
    spec["rename"] = json!({ docs.to_string(): copy.to_string() });
    service.api.create(&spec).await?;
    copied(&stand, &service, &[&task], &docs, &copy).await?;
    copied(&stand, &service, &[&task], &notes, &notes).await?;
    let target = stand.target()?;
    for name in [&docs, &scratch] {
        ensure(!target.exists(name).await?, || format!("{name} is at the target"))?;
    }
    clean(&stand, &[&docs, &notes, &scratch], &[&copy, &notes]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_until_latest_ends_done_and_is_equal() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let source = stand.source()?;
    let (name, copy) = (own("latest", "t"), own("latest", "copy"));
    let table = Table::plain(&name);
    source.create_loaded(&table).await?;
    let last = source.insert(&name, table.rows(&mut rng("latest"), 0..500)).await?.timestamp;

    let service = Service::start(&stand, "latest").await?;
    let (recording, replaying) = (task("latest-record"), task("latest-replay"));
    service.api.create(&stand.record(&recording, "latest", &[&name.to_string()])).await?;
    let recorded = |status: &serde_json::Value| status["recorded_to"]["tso"].as_u64() >= Some(last);
    service.api.waits_for(&recording, "the last row recorded", recorded).await?;

    let mut spec = stand.replay(&replaying, "latest");
    spec["until"] = "latest".into();
    spec["rename"] = json!({ name.to_string(): copy.to_string() });
    let answer = service.api.post("/v1/tasks", Some(&spec)).await?;
    ensure(answer.status == 201, || format!("{} {}", answer.status, answer.body))?;
    service.api.reaches(&replaying, "done").await?;
    // equal now, not some time later
    let found = compare((&source, &name), (&stand.target()?, &copy)).await?;
    ensure(found.is_none(), || found.unwrap_or_default())?;
    clean(&stand, &[&name], &[&copy]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn run_replays_to_an_instant_and_exits_with_0() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let (name, copy) = (own("instant", "t"), own("instant", "copy"));
    let table = Table::plain(&name);
    let service = Service::start(&stand, "instant").await?;
    let recording = task("instant-record");
    service.api.create(&stand.record(&recording, "instant", &[&name.to_string()])).await?;
    service.api.waits_for(&recording, "the log opened", |status| status["opens_at"]["tso"].is_u64()).await?;

    source.create_loaded(&table).await?;
    let mut rng = rng("instant");
    let instant = source.insert(&name, table.rows(&mut rng, 0..100)).await?.timestamp;
    let before = source.rows(&name, &[]).await?;
    source.upsert(&name, table.rows(&mut rng, 50..150)).await?;
    let last = source.insert(&name, table.rows(&mut rng, 200..300)).await?.timestamp;
    let recorded = |status: &serde_json::Value| status["recorded_to"]["tso"].as_u64() >= Some(last);
    service.api.waits_for(&recording, "the last row recorded", recorded).await?;

    let mut spec = stand.replay(&task("instant-replay"), "instant");
    spec["until"] = instant.into();
    spec["rename"] = json!({ name.to_string(): copy.to_string() });
    let file = stand.scratch()?.join("instant.json");
    std::fs::write(&file, spec.to_string())?;
    let done = run(&stand, &["run", "--spec", &file.display().to_string()], "instant-run", COMMAND).await?;
    ensure(done.code == Some(0), || format!("exit code {:?}\n{}", done.code, done.output))?;
    target.index_vector(&table.named(&copy)).await?;
    target.load(&copy).await?;
    let found = crate::stand::rows::difference(&before, &target.rows(&copy, &[]).await?);
    ensure(found.is_none(), || found.unwrap_or_default())?;

    spec["name"] = task("instant-early").into();
    spec["until"] = (instant - (3_600_000 << 18)).into();
    std::fs::write(&file, spec.to_string())?;
    let early =
        run(&stand, &["run", "--spec", &file.display().to_string()], "instant-early", COMMAND).await?;
    ensure(early.code == Some(3) && early.output.contains("the log opens at"), || early.output.clone())?;
    clean(&stand, &[&name], &[&copy]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_log_feeds_two_targets_at_once() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let source = stand.source()?;
    let name = own("fan", "t");
    let (one, two) = (own("fan", "one"), own("fan", "two"));
    let table = Table::plain(&name).shards(2);
    source.create_loaded(&table).await?;
    let service = Service::start(&stand, "fan").await?;
    let tasks = ["fan-record", "fan-one", "fan-two"].map(task);
    service.api.create(&stand.record(&tasks[0], "fan", &[&name.to_string()])).await?;
    service.api.records(&tasks[0]).await?;
    // names in one target stand for two targets: the replayers know nothing of each other
    for (task, copy) in [(&tasks[1], &one), (&tasks[2], &two)] {
        let mut spec = stand.replay(task, "fan");
        spec["rename"] = json!({ name.to_string(): copy.to_string() });
        service.api.create(&spec).await?;
    }
    let workload = Workload::start(source.clone(), table, 0);
    eventually("500 rows at the source", async || {
        let count = source.count(&name, &[]).await?;
        Ok((count < 500).then(|| format!("{count} rows")))
    })
    .await?;
    // one target stands still for a while
    let pause = format!("/v1/tasks/{}/pause", tasks[1]);
    ensure(service.api.post(&pause, None).await?.status < 300, || "pause was refused".into())?;
    service.api.reaches(&tasks[1], "paused").await?;
    let before = source.count(&name, &[]).await?;
    eventually("more rows at the source", async || {
        let count = source.count(&name, &[]).await?;
        Ok((count < before + 200).then(|| format!("{count} rows")))
    })
    .await?;
    workload.stop().await?;
    let all = tasks.each_ref().map(String::as_str);
    copied(&stand, &service, &all, &name, &two).await?;
    let found = compare((&source, &name), (&stand.target()?, &one)).await?;
    ensure(found.is_some(), || "a paused replay has gone on".into())?;
    let resume = format!("/v1/tasks/{}/resume", tasks[1]);
    ensure(service.api.post(&resume, None).await?.status < 300, || "resume was refused".into())?;
    copied(&stand, &service, &all, &name, &one).await?;
    clean(&stand, &[&name], &[&one, &two]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_service_continues_its_tasks() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let source = stand.source()?;
    let name = own("restart", "t");
    let table = Table::plain(&name);
    source.create_loaded(&table).await?;
    let mut rng = rng("restart");
    let mut service = Service::start(&stand, "restart").await?;
    let task = task("restart");
    service.api.create(&stand.replicate(&task, &[&name.to_string()])).await?;
    source.insert(&name, table.rows(&mut rng, 0..100)).await?;
    copied(&stand, &service, &[&task], &name, &name).await?;
    service.stop().await?;
    // what happens while it is down is not missed
    source.insert(&name, table.rows(&mut rng, 100..200)).await?;
    source.create_partition(&name, "p").await?;
    service.start_again().await?;
    service.api.reaches(&task, "running").await?;
    copied(&stand, &service, &[&task], &name, &name).await?;
    clean(&stand, &[&name], &[&name]).await
}

/// Under an address that does not tell: only the collection itself does.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_not_replayed_into_itself() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let source = stand.source()?;
    let name = own("itself", "t");
    let table = Table::plain(&name);
    source.create_loaded(&table).await?;
    let service = Service::start(&stand, "itself").await?;
    let task = task("itself");
    let mut spec = stand.replicate(&task, &[&name.to_string()]);
    spec["source"].as_object_mut().expect("a section").remove("milvus");
    spec["target"] = json!({ "uri": stand.source.uri });
    service.api.create(&spec).await?;
    service.api.reaches(&task, "failed").await?;
    let status = service.api.status(&task).await?.to_string();
    ensure(status.contains(&format!("{name} of the target is the source's own")), || status)?;
    source.insert(&name, table.rows(&mut rng("itself"), 0..10)).await?;
    assert_eq!(source.count(&name, &[]).await?, 10);
    clean(&stand, &[&name], &[]).await
}

/// A key that stands twice shows it: sending a range again as upserts would leave one row of the two.
#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_leaves_nothing_to_be_applied_again() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let source = stand.source()?;
    let name = own("graceful", "t");
    let table = Table::empty(&name).key(DataType::Int64).vector(8);
    source.create_loaded(&table).await?;
    let mut service = Service::start(&stand, "graceful").await?;
    let task = task("graceful");
    service.api.create(&stand.replicate(&task, &[&name.to_string()])).await?;
    service.api.records(&task).await?;

    let writer = {
        let (source, table, mut rng) = (source.clone(), table.clone(), rng("graceful"));
        tokio::spawn(async move {
            for key in 0..400 {
                let row = table.rows(&mut rng, [key]);
                source.insert(&table.name, row.clone()).await?;
                source.insert(&table.name, row).await?;
            }
            Outcome::Ok(())
        })
    };
    let mut stops = 0;
    while !writer.is_finished() {
        service.stop().await?;
        service.start_again().await?;
        service.api.reaches(&task, "running").await?;
        stops += 1;
    }
    writer.await??;
    eprintln!("{stops} stops");
    copied(&stand, &service, &[&task], &name, &name).await?;
    assert_eq!(stand.target()?.count(&name, &[]).await?, 800);

    // all is applied: a new start has nothing to send
    service.stop().await?;
    service.start_again().await?;
    service.api.records(&task).await?;
    let status = service.api.status(&task).await?;
    let rows = &status["rows"];
    ensure(rows == &json!({ "inserted": 0, "deleted": 0, "upserted": 0 }), || {
        format!("sent again: {status}")
    })?;
    clean(&stand, &[&name], &[&name]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_collection_of_others_is_refused_and_keeps_its_rows() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let name = own("taken", "t");
    let table = Table::plain(&name);
    let mut rng = rng("taken");
    source.create_loaded(&table).await?;
    source.insert(&name, table.rows(&mut rng, 0..50)).await?;
    target.create_loaded(&table).await?;
    target.insert(&name, table.rows(&mut rng, 100..103)).await?;
    let before = target.rows(&name, &[]).await?;

    let service = Service::start(&stand, "taken").await?;
    let task = task("taken");
    service.api.create(&stand.replicate(&task, &[&name.to_string()])).await?;
    let resume = async || service.api.post(&format!("/v1/tasks/{task}/resume"), None).await;
    for _ in 0..2 {
        service.api.reaches(&task, "failed").await?;
        let message = service.api.status(&task).await?["last_error"]["message"].to_string();
        ensure(message.contains("which this replay did not create"), || message)?;
        ensure(target.rows(&name, &[]).await? == before, || "the target's rows have changed".into())?;
        resume().await?;
    }
    service.api.reaches(&task, "failed").await?;
    target.drop(&name).await?;
    resume().await?;
    copied(&stand, &service, &[&task], &name, &name).await?;
    clean(&stand, &[&name], &[&name]).await
}
