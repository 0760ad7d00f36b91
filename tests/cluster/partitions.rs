//! Create and drop partitions.

use crate::scene::Scene;
use crate::stand::{Outcome, Table, rng};

#[tokio::test(flavor = "multi_thread")]
async fn a_created_partition_arrives() -> Outcome {
    let Some(scene) = Scene::open("newpart").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    scene.source.create_partition(&table.name, "p").await?;
    scene.same(&[&table.name]).await?;
    assert!(scene.target.partitions(&table.name).await?.contains(&"p".into()));
    // a new partition of a loaded collection is loaded by the server
    scene.source.insert_into(&table.name, "p", table.rows(&mut rng("newpart"), 0..10)).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &["p".into()]).await?, 10);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_partition_goes_with_its_rows() -> Outcome {
    let Some(scene) = Scene::open("droppart").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t"));
    scene.source.create(&table).await?;
    scene.source.create_partition(&table.name, "p").await?;
    let mut rng = rng("droppart");
    scene.source.insert_into(&table.name, "p", table.rows(&mut rng, 0..10)).await?;
    scene.source.insert(&table.name, table.rows(&mut rng, 10..20)).await?;
    scene.source.drop_partition(&table.name, "p").await?;
    scene.source.index_vector(&table).await?;
    scene.source.load(&table.name).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 10);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_released_and_dropped_right_away_goes() -> Outcome {
    let Some(scene) = Scene::open("reldrop").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t"));
    scene.source.create(&table).await?;
    scene.source.create_partition(&table.name, "p").await?;
    scene.source.index_vector(&table).await?;
    scene.source.load(&table.name).await?;
    let mut rng = rng("reldrop");
    scene.source.insert_into(&table.name, "p", table.rows(&mut rng, 0..10)).await?;
    scene.source.insert(&table.name, table.rows(&mut rng, 10..20)).await?;
    scene.same(&[&table.name]).await?;
    scene.source.release_partitions(&table.name, &["p"]).await?;
    scene.source.drop_partition(&table.name, "p").await?;
    scene.source.insert(&table.name, table.rows(&mut rng, 20..30)).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.partitions(&table.name).await?, ["_default"]);
    assert_eq!(scene.target.count(&table.name, &[]).await?, 20);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_dropped_and_created_again_at_once_holds_only_its_new_rows() -> Outcome {
    let Some(scene) = Scene::open("partagain").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t"));
    scene.source.create(&table).await?;
    let mut rng = rng("partagain");
    for round in 0..3 {
        scene.source.create_partition(&table.name, "p").await?;
        scene.source.insert_into(&table.name, "p", table.rows(&mut rng, round * 10..round * 10 + 15)).await?;
        if round < 2 {
            scene.source.drop_partition(&table.name, "p").await?;
        }
    }
    scene.source.index_vector(&table).await?;
    scene.source.load(&table.name).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 15);
    scene.close().await
}
