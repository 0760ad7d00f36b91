//! Everything at once.

use tapedeck::change::CollectionName;

use crate::document::Place;
use crate::stand::compare::compare;
use crate::stand::{Outcome, RUN, Service, Table, ensure, rng};

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_through_a_chain_in_which_every_connection_is_secured() -> Outcome {
    let Some(place) = Place::alone().await? else { return Ok(()) };
    let (source, target) = (place.stand.source()?, place.stand.target()?);
    let table = Table::plain(&CollectionName::new("default", format!("secured_{}", *RUN)));
    let mut service = Service::start(&place.stand, "chain").await?;
    let spec = place.replicate("chain", &[&table.name.to_string()])?;
    let task = format!("{}-chain", *RUN);
    service.api.create(&spec).await?;
    let equal = async |service: &Service| {
        let look = async || compare((&source, &table.name), (&target, &table.name)).await;
        service.api.eventually(&[&task], "the same at source and target", look).await
    };
    let mut rng = rng("chain");
    source.create_loaded(&table).await?;
    source.insert(&table.name, table.rows(&mut rng, 0..100)).await?;
    equal(&service).await?;
    ensure(target.count(&table.name, &[]).await? == 100, || "100 rows".into())?;

    // brokers that go in the middle of a handshake or a login refuse nobody
    place.stand.control("stop", place.queue.service()).await?;
    service.api.reaches(&task, "degraded").await?;
    place.stand.control("start", place.queue.service()).await?;
    source.insert(&table.name, table.rows(&mut rng, 100..200)).await?;
    equal(&service).await?;

    // every connection is made anew
    service.crash().await?;
    source.insert(&table.name, table.rows(&mut rng, 200..300)).await?;
    equal(&service).await?;

    for path in ["", "/events"] {
        let answer = service.api.get(&format!("/v1/tasks/{task}{path}")).await?;
        place.no_secret_in(&answer.body.to_string())?;
    }
    place.no_secret_in(&service.said()?)?;
    service.stop().await?;
    source.drop(&table.name).await?;
    target.drop(&table.name).await
}
