//! Create and drop databases.

use tapedeck::change::CollectionName;

use crate::scene::Scene;
use crate::stand::{Outcome, Table, rng};

async fn database_arrives(scene: &Scene, database: &str) -> Outcome {
    scene
        .eventually(&format!("database {database} at the target"), async || {
            let databases = scene.target.databases().await?;
            Ok((!databases.iter().any(|name| name == database)).then(|| format!("only {databases:?}")))
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_created_and_dropped() -> Outcome {
    let Some(scene) = Scene::open("db").await? else { return Ok(()) };
    let (one, two) = (scene.database("one"), scene.database("two"));
    scene.source.create_database(&one).await?;
    scene.source.create_database(&two).await?;
    database_arrives(&scene, &one).await?;
    database_arrives(&scene, &two).await?;
    scene.source.drop_database(&one).await?;
    scene
        .eventually("the dropped database gone", async || {
            Ok(scene.target.databases().await?.contains(&one).then(|| "still there".into()))
        })
        .await?;
    database_arrives(&scene, &two).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_two_databases_is_two_collections() -> Outcome {
    let Some(scene) = Scene::open("twodbs").await? else { return Ok(()) };
    let mut rng = rng("twodbs");
    let names =
        [scene.database("one"), scene.database("two")].map(|database| CollectionName::new(database, "t"));
    for (number, name) in names.iter().enumerate() {
        scene.source.create_database(&name.database).await?;
        let table = Table::plain(name);
        scene.source.create_loaded(&table).await?;
        scene.source.insert(name, table.rows(&mut rng, 0..10 * (number as i64 + 1))).await?;
    }
    scene.same(&names.each_ref()).await?;
    assert_eq!(scene.target.count(&names[0], &[]).await?, 10);
    assert_eq!(scene.target.count(&names[1], &[]).await?, 20);
    scene.source.drop(&names[0]).await?;
    scene.same(&names.each_ref()).await?;
    assert!(scene.target.exists(&names[1]).await?);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_dropped_with_its_collections_goes() -> Outcome {
    let Some(scene) = Scene::open("fulldb").await? else { return Ok(()) };
    let database = scene.database("db");
    scene.source.create_database(&database).await?;
    let tables = ["t", "u", "v"].map(|name| Table::plain(&CollectionName::new(&database, name)));
    for table in &tables {
        scene.source.create(table).await?;
        scene.source.insert(&table.name, table.rows(&mut rng("fulldb"), 0..10)).await?;
    }
    scene.same(&tables.each_ref().map(|table| &table.name)).await?;
    for table in &tables {
        scene.source.drop(&table.name).await?;
    }
    scene.source.drop_database(&database).await?;
    // and one of the same name at once
    scene.source.create_database(&database).await?;
    let table = &tables[0];
    scene.source.create_loaded(table).await?;
    scene.source.insert(&table.name, table.rows(&mut rng("fulldb again"), 0..5)).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 5);
    scene
        .eventually("only the new collection in the new database", async || {
            let names = scene.target.collections(&database).await?;
            Ok((names.len() != 1).then(|| format!("{names:?}")))
        })
        .await?;
    scene.close().await
}
