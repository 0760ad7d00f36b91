//! A log that somebody or something has damaged.

use object_store::path::Path;
use serde_json::json;

use crate::stand::{Outcome, Service, Stand, Table, ensure, objects, own, rng, task};
use crate::trial::alone;

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_segment_is_named_and_never_applied() -> Outcome {
    damaged("flipped", async |stand, segment| objects::flip(stand, segment).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_segment_is_named_and_never_skipped() -> Outcome {
    damaged("missing", async |stand, segment| objects::remove(stand, segment).await).await
}

/// Records in two parts, damages a segment of the second, replays: the first part must be all that arrives.
async fn damaged(test: &str, damage: impl AsyncFn(&Stand, &Path) -> Outcome) -> Outcome {
    let Some((_alone, stand)) = alone().await? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let (table, copy) = (Table::plain(&own(test, "t")), own(test, "copy"));
    source.create_loaded(&table).await?;
    let service = Service::start(&stand, test).await?;
    let (recording, replaying) = (task(&format!("{test}-record")), task(&format!("{test}-replay")));
    service.api.create(&stand.record(&recording, test, &[&table.name.to_string()])).await?;
    let mut rng = rng(test);
    let mut parts = Vec::new();
    for begin in [0, 1000] {
        let last = source.insert(&table.name, table.rows(&mut rng, begin..begin + 1000)).await?.timestamp;
        let recorded = |status: &serde_json::Value| status["recorded_to"]["tso"].as_u64() >= Some(last);
        service.api.waits_for(&recording, "the rows recorded", recorded).await?;
        parts.push(objects::list(&stand, test, "segments").await?);
    }
    let segment = parts[1].iter().find(|path| !parts[0].contains(path));
    let Some(segment) = segment else { return crate::stand::fail(format!("no second segment in {parts:?}")) };
    damage(&stand, segment).await?;

    let mut spec = stand.replay(&replaying, test);
    spec["rename"] = json!({ table.name.to_string(): copy.to_string() });
    let answer = service.api.post("/v1/tasks", Some(&spec)).await?;
    ensure(answer.status == 201, || format!("{} {}", answer.status, answer.body))?;
    service.api.reaches(&replaying, "failed").await?;
    let error = service.api.status(&replaying).await?["last_error"].to_string();
    let name = segment.filename().unwrap_or_default();
    ensure(error.contains(name), || format!("\"{name}\" is not named: {error}"))?;
    let rows = target.rows(&copy, &[]).await?;
    ensure(rows.len() <= 1000, || format!("{} rows of a damaged log were applied", rows.len()))?;
    source.drop(&table.name).await?;
    target.drop(&copy).await
}
