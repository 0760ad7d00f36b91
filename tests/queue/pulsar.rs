//! What only Pulsar can do to its readers.

use std::time::{Duration, Instant};

use reqwest::Method;
use tapedeck::error::Verdict;
use tapedeck::position::{Channel, Position};
use tapedeck::source::Queue;
use tapedeck::source::pulsar::{PulsarOptions, PulsarQueue};
use tokio::sync::MutexGuard;
use tokio::time::{sleep, timeout};

use crate::promises::{refused, same, silent, take, texts, topic};
use crate::stand::broker::Broker;
use crate::stand::broker::pulsar::Pulsar;
use crate::stand::patience::PATIENCE;
use crate::stand::{Outcome, Stand, ensure, fail};

async fn broker() -> Outcome<Option<(MutexGuard<'static, ()>, Pulsar)>> {
    let alone = crate::ALONE.lock().await;
    let Some(stand) = Stand::find()?.filter(|stand| stand.pulsar.is_some()) else { return Ok(None) };
    Ok(Some((alone, Pulsar::new(&stand)?)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_topic_is_read_from_its_first_message_whoever_serves_it_then() -> Outcome {
    let Some((_alone, pulsar)) = broker().await? else { return Ok(()) };
    let topic = topic("empty");
    pulsar.admin(Method::PUT, &topic, "").await?;
    let bounds = pulsar.queue().bounds(&topic).await?;
    ensure(bounds.is_empty() && bounds.start.ledger.is_some(), || format!("{bounds:?} of an empty topic"))?;
    let mut live = pulsar.queue().subscribe(&topic, bounds.end).await?;
    silent(&mut live, Duration::from_secs(5)).await?;
    // its ledger is empty, and replaced
    pulsar.disturb(&topic).await?;
    ensure(pulsar.queue().bounds(&topic).await? != bounds, || "the ledger is the same".into())?;
    let at = pulsar.write(&topic, texts(0..3)).await?;
    same(&take(&mut live, 3).await?, &texts(0..3), &at)?;
    let mut later = pulsar.queue().subscribe(&topic, bounds.end).await?;
    same(&take(&mut later, 3).await?, &texts(0..3), &at)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_retention_overtakes_is_refused_and_not_moved_ahead() -> Outcome {
    let Some((_alone, pulsar)) = broker().await? else { return Ok(()) };
    let topic = topic("overtaken");
    // more than what is under way to a reader that does not read
    let mut at = Vec::new();
    for _ in 0..40 {
        at.extend(pulsar.write(&topic, vec![vec![7; 1 << 20]]).await?);
    }
    let mut reading = pulsar.queue().subscribe(&topic, at[0]).await?;
    take(&mut reading, 2).await?;
    pulsar.expire(&topic).await?;
    pulsar.write(&topic, texts(0..3)).await?;
    let start = pulsar.queue().bounds(&topic).await?.start;
    let told = take(&mut reading, 40).await;
    let Err(error) = told else { return fail("it went on") };
    ensure(error.0.contains("hole [") && error.0.contains(&start.to_string()), || error.0.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_at_the_end_goes_on_when_retention_empties_the_topic() -> Outcome {
    let Some((_alone, pulsar)) = broker().await? else { return Ok(()) };
    let topic = topic("emptied");
    let at = pulsar.write(&topic, texts(0..3)).await?;
    pulsar.disturb(&topic).await?;
    let mut reading = pulsar.queue().subscribe(&topic, at[0]).await?;
    same(&take(&mut reading, 3).await?, &texts(0..3), &at)?;
    silent(&mut reading, Duration::from_secs(5)).await?;
    pulsar.truncate(&topic).await?;
    silent(&mut reading, Duration::from_secs(5)).await?;
    let more = pulsar.write(&topic, texts(3..6)).await?;
    same(&take(&mut reading, 3).await?, &texts(3..6), &more)?;
    // whoever was away cannot know that nothing came between
    refused(pulsar.queue().subscribe(&topic, at[2].next()).await, &["hole [", &more[0].to_string()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_a_message_ttl_moves_ahead_misses_nothing_that_is_kept() -> Outcome {
    let Some((_alone, pulsar)) = broker().await? else { return Ok(()) };
    let topic = topic("ttl");
    // more than what is under way to a reader that does not read
    let mut at = Vec::new();
    for round in 0..2 {
        for _ in 0..30 {
            at.extend(pulsar.write(&topic, vec![vec![7; 1 << 20]]).await?);
        }
        if round == 0 {
            pulsar.disturb(&topic).await?; // the rest stands in another ledger
        }
    }
    let mut reading = pulsar.queue().subscribe(&topic, at[0]).await?;
    let mut messages = take(&mut reading, 2).await?;
    sleep(Duration::from_secs(3)).await;
    // what the broker does every few minutes where the namespace has a TTL
    pulsar.admin(Method::POST, &topic, "/all_subscription/expireMessages/2").await?;
    at.extend(pulsar.write(&topic, texts(0..3)).await?);
    let (mut moved, until) = (Vec::new(), Instant::now() + PATIENCE);
    while messages.len() < at.len() {
        ensure(Instant::now() < until, || format!("only {} messages, {moved:?}", messages.len()))?;
        match timeout(PATIENCE, reading.next()).await? {
            Ok(message) => messages.push(message),
            Err(error) => {
                ensure(error.is_retry(), || error.to_string())?;
                moved.push(error);
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let places = messages.iter().map(|message| message.position).collect::<Vec<_>>();
    ensure(places == at, || format!("{places:?} instead of {at:?}"))?;
    let told = moved.iter().flat_map(|error| &error.advice).any(|advice| advice.contains("message TTL"));
    ensure(told, || format!("the reader was not moved ahead, or that is not told: {moved:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_partition_is_accepted_and_two_are_not() -> Outcome {
    let Some((_alone, pulsar)) = broker().await? else { return Ok(()) };
    for (partitions, name) in [("1", "one"), ("2", "two")] {
        let topic = topic(name);
        pulsar.partitioned(&topic, partitions).await?;
        let first = Channel::from(format!("{topic}-partition-0").as_str());
        let at = pulsar.write(&first, texts(0..3)).await?;
        let read = pulsar.queue().subscribe(&topic, at[0]).await;
        if partitions == "1" {
            same(&take(&mut read?, 3).await?, &texts(0..3), &at)?;
            continue;
        }
        let error =
            read.err().map(|error| (error.verdict, error.message)).unwrap_or((Verdict::Retry, "none".into()));
        ensure(error.0 == Verdict::Operator && error.1.contains("2 partitions"), || format!("{error:?}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_or_namespace_that_does_not_exist_is_named() -> Outcome {
    let Some((_alone, _pulsar)) = broker().await? else { return Ok(()) };
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let url = stand.queue["pulsar"]["url"].as_str().unwrap_or_default().to_owned();
    for (tenant, namespace) in [("nobody", "default"), ("public", "nowhere")] {
        let named = format!("{tenant}/{namespace}");
        let (tenant, namespace) = (tenant.to_owned(), namespace.to_owned());
        let queue = PulsarQueue::connect(&PulsarOptions {
            url: url.clone(),
            tenant,
            namespace,
            ..PulsarOptions::default()
        })?;
        for error in [
            queue.identity().await.err(),
            queue.exists(&"dml_0".into()).await.err(),
            queue.subscribe(&"dml_0".into(), Position::default()).await.err(),
        ] {
            let Some(error) = error else { return fail(format!("{queue:?} exists")) };
            ensure(error.message.contains(&named) && error.verdict == Verdict::Operator, || {
                format!("{:?}: {error}", error.verdict)
            })?;
        }
    }
    Ok(())
}
