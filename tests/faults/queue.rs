//! What the queue has lost or should never have held.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tapedeck::position::Channel;

use crate::stand::compare::compare;
use crate::stand::{Milvus, Outcome, Service, Table, broker, ensure, eventually, fail, own, rng, task};
use crate::trial::alone;

/// The only channel of a collection of one shard.
async fn channel(source: &Milvus, table: &Table) -> Outcome<Channel> {
    match source.describe(&table.name).await?.physical_channel_names.as_slice() {
        [channel] => Ok(channel.as_str().into()),
        channels => fail(format!("{} has the channels {channels:?}", table.name)),
    }
}

fn last_error(status: &Value) -> String {
    status["last_error"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_overtakes_the_recorder_is_a_hole_and_named() -> Outcome {
    let Some((_alone, stand)) = alone().await? else { return Ok(()) };
    let Some(broker) = broker::of(&stand)? else { return Ok(()) };
    let source = stand.source()?;
    let table = Table::plain(&own("hole", "t"));
    source.create_loaded(&table).await?;
    let channel = channel(&source, &table).await?;
    let mut rng = rng("hole");
    let mut service = Service::start(&stand, "hole").await?;
    let task = task("hole");
    service.api.create(&stand.record(&task, &task, &[&table.name.to_string()])).await?;
    source.insert(&table.name, table.rows(&mut rng, 0..50)).await?;
    service.api.records(&task).await?;
    service.stop().await?;

    source.insert(&table.name, table.rows(&mut rng, 50..100)).await?;
    broker.expire(&channel).await?;
    source.insert(&table.name, table.rows(&mut rng, 100..150)).await?;
    let first_kept = broker.queue().bounds(&channel).await?.start;
    service.start_again().await?;
    service.api.reaches(&task, "failed").await?;
    let error = last_error(&service.api.status(&task).await?);
    for part in [channel.as_str(), &first_kept.to_string()] {
        ensure(error.contains(part), || format!("\"{part}\" is not named: {error}"))?;
    }
    // and it stays so: nothing skips ahead at the next start
    let recorded = service.api.status(&task).await?["recorded_to"].clone();
    service.crash().await?;
    service.api.reaches(&task, "failed").await?;
    let again = service.api.status(&task).await?["recorded_to"].clone();
    ensure(again.is_null() || recorded.is_null() || again == recorded, || {
        format!("{recorded} became {again}")
    })?;
    source.drop(&table.name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_message_stops_its_task_and_no_other() -> Outcome {
    let Some((_alone, stand)) = alone().await? else { return Ok(()) };
    let Some(broker) = broker::of(&stand)? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let (poisoned, clean) = (Table::plain(&own("malformed", "t")), Table::plain(&own("malformed", "clean")));
    source.create_loaded(&poisoned).await?;
    let channel = channel(&source, &poisoned).await?;
    // two collections may share a channel; a collection that only occupies one helps
    let mut spare = Vec::new();
    source.create_loaded(&clean).await?;
    while self::channel(&source, &clean).await? == channel {
        ensure(spare.len() < 16, || "every collection comes to one channel".into())?;
        let other = Table::plain(&own("malformed", &format!("spare{}", spare.len())));
        source.drop(&clean.name).await?;
        source.create(&other).await?;
        spare.push(other);
        source.create_loaded(&clean).await?;
    }
    let mut rng = rng("malformed");
    let service = Service::start(&stand, "malformed").await?;
    let (bad, good) = (task("malformed-bad"), task("malformed-good"));
    service.api.create(&stand.replicate(&bad, &[&poisoned.name.to_string()])).await?;
    service.api.create(&stand.replicate(&good, &[&clean.name.to_string()])).await?;
    source.insert(&poisoned.name, poisoned.rows(&mut rng, 0..50)).await?;
    let equal = async |table: &Table, task: &str| {
        let what = format!("{} equal", table.name);
        let look = async || compare((&source, &table.name), (&target, &table.name)).await;
        service.api.eventually(&[task], &what, look).await
    };
    equal(&poisoned, &bad).await?;

    // an Insert (base: msg_type 400) that ends in the middle of a field
    let cut = vec![0x0a, 0x03, 0x08, 0x90, 0x03, 0x12, 0x7f];
    let [position] = broker.write(&channel, vec![cut]).await?[..] else { return fail("it is not written") };
    service.api.reaches(&bad, "failed").await?;
    let error = last_error(&service.api.status(&bad).await?);
    for part in [channel.as_str(), &position.to_string()] {
        ensure(error.contains(part), || format!("\"{part}\" is not named: {error}"))?;
    }
    source.insert(&clean.name, clean.rows(&mut rng, 0..50)).await?;
    equal(&clean, &good).await?;
    for table in spare.iter().chain([&poisoned, &clean]) {
        source.drop(&table.name).await?;
    }
    target.drop(&poisoned.name).await
}

/// Its Insert has the bytes of one of 2.5; only the headers tell.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_of_the_streaming_service_of_2_6_is_refused_by_name() -> Outcome {
    let Some((_alone, stand)) = alone().await? else { return Ok(()) };
    let Some(broker) = broker::of(&stand)? else { return Ok(()) };
    let source = stand.source()?;
    let table = Table::plain(&own("streaming", "t"));
    source.create_loaded(&table).await?;
    let channel = channel(&source, &table).await?;
    let service = Service::start(&stand, "streaming").await?;
    let task = task("streaming");
    service.api.create(&stand.record(&task, &task, &[&table.name.to_string()])).await?;
    service.api.records(&task).await?;

    let fixture = std::fs::read_to_string("tests/fixtures/milvus/streaming-2.6.json")?;
    let insert = &serde_json::from_str::<Value>(&fixture)?[0];
    let payload = BASE64_STANDARD.decode(insert["payload"].as_str().unwrap_or_default())?;
    let headers = insert["properties"].as_object().into_iter().flatten();
    let headers = headers.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
    let position = broker.write_with(&channel, payload, headers.collect()).await?;
    service.api.reaches(&task, "failed").await?;
    let error = last_error(&service.api.status(&task).await?);
    for part in [channel.as_str(), &position.to_string(), "streaming service", "Milvus 2.3-2.5"] {
        ensure(error.contains(part), || format!("\"{part}\" is not named: {error}"))?;
    }
    source.drop(&table.name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_etcd_loses_no_definition() -> Outcome {
    let Some((_alone, stand)) = alone().await? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let (old, new) = (Table::plain(&own("compact", "old")), Table::plain(&own("compact", "new")));
    source.create_loaded(&old).await?;
    let mut service = Service::start(&stand, "compact").await?;
    let task = task("compact");
    service.api.create(&stand.replicate(&task, &[&own("compact", "*").to_string()])).await?;
    service.api.records(&task).await?;
    service.stop().await?;

    source.create_partition(&old.name, "p").await?;
    source.create_loaded(&new).await?;
    source.insert(&new.name, new.rows(&mut rng("compact"), 0..50)).await?;
    let mut etcd = etcd_client::Client::connect([&stand.etcd], None).await?;
    let revision = etcd.get("none", None).await?.header().map_or(0, |header| header.revision());
    etcd.compact(revision, None).await?;

    service.start_again().await?;
    for name in [&old.name, &new.name] {
        let look = async || compare((&source, name), (&target, name)).await;
        service.api.eventually(&[&task], &format!("{name} equal"), look).await?;
    }
    for name in [&old.name, &new.name] {
        source.drop(name).await?;
        eventually("gone at the target", async || Ok(target.exists(name).await?.then(|| name.to_string())))
            .await?;
    }
    Ok(())
}
