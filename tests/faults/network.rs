//! Networks that delay, cut and swallow: to each of the services that a task needs.

use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

use crate::stand::proxy::Network;
use crate::stand::{Outcome, Stand, ensure};
use crate::trial::Trial;

/// At least so many bytes pass a connection at times, so that it is cut amid work...
const SOME: u64 = 10_000;
/// ...so few that questions pass, but no rows...
const FEW: u64 = 3_000;
/// ...or so few that nothing does.
const TOO_FEW: u64 = 300;

/// Kafka says where its proxy listens, so only one test can have it.
async fn kafka_alone() -> Outcome<Option<MutexGuard<'static, ()>>> {
    static KAFKA: Mutex<()> = Mutex::const_new(());
    if Stand::find()?.is_some_and(|stand| stand.kafka_proxied.is_none()) {
        eprintln!("skipped: only clients of Kafka are sent through a proxy");
        return Ok(None);
    }
    Ok(Some(KAFKA.lock().await))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_network_to_the_queue_is_named_and_waited_for() -> Outcome {
    let Some(_alone) = kafka_alone().await? else { return Ok(()) };
    survives("kafka", "Kafka at", Duration::from_secs(20)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_do_not_come_are_named_when_the_queue_says_that_they_are_there() -> Outcome {
    let Some(_alone) = kafka_alone().await? else { return Ok(()) };
    let Some((trial, proxy)) = Trial::behind_proxy("kafka").await? else { return Ok(()) };
    proxy.set(Network::CutAfter(FEW));
    trial.is_degraded("but nothing comes").await?;
    proxy.set(Network::Good);
    trial.flows().await?;
    trial.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_network_to_etcd_is_named_and_waited_for() -> Outcome {
    survives("etcd", "etcd at", Duration::from_secs(20)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_network_to_the_store_is_named_and_waited_for() -> Outcome {
    survives("minio", "no answer", Duration::from_secs(40)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_network_to_the_target_is_named_and_waited_for() -> Outcome {
    survives("target", "writing to", Duration::from_secs(25)).await
}

/// `says` stands in the status while nothing comes through. A half-open connection is given up within `patience`.
async fn survives(service: &str, says: &str, patience: Duration) -> Outcome {
    let Some((trial, proxy)) = Trial::behind_proxy(service).await? else { return Ok(()) };
    for network in [Network::Late(Duration::from_millis(50)), Network::Flaky(SOME)] {
        proxy.set(network);
        trial.flows().await?;
    }
    proxy.set(Network::CutAfter(TOO_FEW));
    trial.is_degraded(says).await?;
    proxy.set(Network::Good);
    trial.flows().await?;

    proxy.set(Network::HalfOpen);
    let began = Instant::now();
    trial.is_degraded(says).await?;
    let noticed = began.elapsed();
    ensure(noticed < patience, || format!("noticed only after {noticed:?}"))?;
    // the connections of the last tries are dead as well
    proxy.set(Network::Good);
    let began = Instant::now();
    trial.flows().await?;
    let recovered = began.elapsed();
    ensure(recovered < patience, || format!("rows flow again only after {recovered:?}"))?;
    eprintln!("{service}: half-open noticed after {noticed:?}, recovered after {recovered:?}");
    trial.end().await
}
