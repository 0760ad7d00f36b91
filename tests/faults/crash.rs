//! Processes that die or are told to stop.

use std::time::Duration;

use crate::stand::{Outcome, Stand, number};
use crate::trial::Trial;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_loses_and_doubles_nothing() -> Outcome {
    let Some(mut trial) = Trial::begin("kill").await? else { return Ok(()) };
    for round in 0..number("TAPEDECK_KILLS", 3) {
        trial.moment(Duration::from_secs(3)).await;
        trial.redefine(round).await?;
        trial.moment(Duration::from_secs(1)).await;
        trial.service.crash().await?;
    }
    trial.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_again_and_again_still_gets_on() -> Outcome {
    let Some(mut trial) = Trial::begin("flap").await? else { return Ok(()) };
    for _ in 0..number("TAPEDECK_KILLS", 3) {
        trial.service.crash().await?;
        trial.moment(Duration::from_millis(300)).await;
    }
    trial.service.crash().await?;
    trial.flows().await?;
    trial.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_time_with_0_and_nothing_is_lost() -> Outcome {
    let Some(mut trial) = Trial::begin("term").await? else { return Ok(()) };
    for round in 0..number("TAPEDECK_KILLS", 3) {
        trial.moment(Duration::from_secs(2)).await;
        trial.redefine(round).await?;
        trial.service.stop().await?;
        trial.service.start_again().await?;
    }
    trial.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_queue_is_waited_for() -> Outcome {
    match Stand::find()?.as_ref().map(Stand::queue_kind) {
        Some("kafka") => survives(Trial::begin("queue").await?, "kafka").await,
        Some("pulsar") => survives(Trial::begin("queue").await?, "pulsar").await,
        Some(within) => {
            eprintln!("skipped: {within} dies with the source");
            Ok(())
        }
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_store_is_waited_for() -> Outcome {
    survives(Trial::begin("store").await?, "minio").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_target_is_waited_for() -> Outcome {
    let Some(trial) = Trial::with_new_target("target").await? else { return Ok(()) };
    let stand = trial.stand.clone();
    survives(Some(trial), "target2").await?;
    stand.control("stop", "target2").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_source_is_waited_for() -> Outcome {
    survives(Trial::begin("source").await?, "source").await
}

/// The task itself goes on when a service of the stand is killed; nobody has to touch it.
async fn survives(trial: Option<Trial>, service: &'static str) -> Outcome {
    let Some(mut trial) = trial else { return Ok(()) };
    for _ in 0..number("TAPEDECK_KILLS", 2) {
        trial.moment(Duration::from_secs(2)).await;
        trial.stand.control("kill", service).await?;
        trial.moment(Duration::from_secs(4)).await;
        trial.stand.control("start", service).await?;
        // a source whose queue died may end with it
        trial.stand.control("start", "source").await?;
        trial.flows().await?;
    }
    if service == "pulsar" {
        trial.reload_source().await?;
    }
    trial.end().await
}
