//! Two writers of one log.

use std::process::Command;

use serde_json::json;

use crate::stand::compare::compare;
use crate::stand::{Outcome, Service, Table, ensure, own, rng, task};
use crate::trial::alone;

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_slept_while_another_took_over_makes_nothing_visible() -> Outcome {
    let Some((_alone, stand)) = alone().await? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let (table, copy) = (Table::plain(&own("fence", "t")), own("fence", "copy"));
    source.create_loaded(&table).await?;
    let mut rng = rng("fence");
    let (sleeper, heir) =
        (Service::start(&stand, "fence-a").await?, Service::start(&stand, "fence-b").await?);
    let recording = task("fence-record");
    let spec = stand.record(&recording, "fence", &[&table.name.to_string()]);
    sleeper.api.create(&spec).await?;
    source.insert(&table.name, table.rows(&mut rng, 0..50)).await?;
    sleeper.api.records(&recording).await?;

    let signal =
        |signal: &str| Command::new("kill").args([signal, &sleeper.process.id().to_string()]).status();
    signal("-STOP")?;
    source.insert(&table.name, table.rows(&mut rng, 50..100)).await?;
    heir.api.create(&spec).await?;
    heir.api.records(&recording).await?;
    signal("-CONT")?;
    source.insert(&table.name, table.rows(&mut rng, 100..150)).await?;
    sleeper.api.reaches(&recording, "failed").await?;
    let error = sleeper.api.status(&recording).await?["last_error"].to_string();
    ensure(error.contains("epoch") || error.contains("taken over"), || {
        format!("not about a fence: {error}")
    })?;

    let replaying = task("fence-replay");
    let mut replay = stand.replay(&replaying, "fence");
    replay["rename"] = json!({ table.name.to_string(): copy.to_string() });
    heir.api.create(&replay).await?;
    let look = async || compare((&source, &table.name), (&target, &copy)).await;
    heir.api.eventually(&[&recording, &replaying], "the copy equal", look).await?;
    source.drop(&table.name).await?;
    target.drop(&copy).await
}
