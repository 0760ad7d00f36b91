//! Load, release, flush.

use crate::scene::Scene;
use crate::stand::{Outcome, Table, rng};

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_loaded_and_released_as_at_the_source() -> Outcome {
    let Some(scene) = Scene::open("load").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    scene.same(&[&table.name]).await?;
    assert!(scene.target.is_loaded(&table.name, &[]).await?);
    scene.source.release(&table.name).await?;
    scene.same(&[&table.name]).await?;
    assert!(!scene.target.is_loaded(&table.name, &[]).await?);
    scene.source.load(&table.name).await?;
    scene.same(&[&table.name]).await?;
    assert!(scene.target.is_loaded(&table.name, &[]).await?);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_loaded_and_released_as_at_the_source() -> Outcome {
    let Some(scene) = Scene::open("loadparts").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t"));
    scene.source.create(&table).await?;
    scene.source.index_vector(&table).await?;
    let mut rng = rng("loadparts");
    for partition in ["p", "q", "r"] {
        scene.source.create_partition(&table.name, partition).await?;
        scene.source.insert_into(&table.name, partition, table.rows(&mut rng, 0..10)).await?;
    }
    scene.source.load_partitions(&table.name, &["p", "q"]).await?;
    scene.same(&[&table.name]).await?;
    assert!(!scene.target.is_loaded(&table.name, &["r"]).await?);
    scene.source.release_partitions(&table.name, &["p"]).await?;
    scene.same(&[&table.name]).await?;
    scene.source.load(&table.name).await?;
    scene.same(&[&table.name]).await?;
    scene.source.release(&table.name).await?;
    scene.same(&[&table.name]).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_rows_are_persisted() -> Outcome {
    let Some(scene) = Scene::open("flush").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    scene.source.insert(&table.name, table.rows(&mut rng("flush"), 0..500)).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.flushed_rows(&table.name).await?, 0);
    scene.source.flush(&table.name).await?;
    scene
        .eventually("rows flushed at the target", async || {
            let flushed = scene.target.flushed_rows(&table.name).await?;
            Ok((flushed != 500).then(|| format!("{flushed} of 500 rows are in flushed segments")))
        })
        .await?;
    scene.same(&[&table.name]).await?;
    scene.close().await
}
