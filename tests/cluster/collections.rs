//! Create, drop, rename, alter; aliases.

use tapedeck::change::CollectionName;
use tapedeck::pb::milvus::proto::schema::DataType;
use tokio::task::JoinSet;

use crate::scene::Scene;
use crate::stand::table::pair;
use crate::stand::{Outcome, Table, ensure, rng};
use rand::RngExt;

#[tokio::test(flavor = "multi_thread")]
async fn a_created_collection_arrives_with_its_definition() -> Outcome {
    let Some(scene) = Scene::open("create").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t")).shards(2).property("collection.ttl.seconds", 86400);
    scene.source.create(&table).await?;
    scene.same(&[&table.name]).await?;
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_collection_goes() -> Outcome {
    let Some(scene) = Scene::open("drop").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    scene.source.insert(&table.name, table.rows(&mut rng("drop"), 0..10)).await?;
    scene.same(&[&table.name]).await?;
    scene.source.drop(&table.name).await?;
    scene.same(&[&table.name]).await?;
    assert!(!scene.target.exists(&table.name).await?);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_collection_keeps_its_rows() -> Outcome {
    let Some(scene) = Scene::open("rename").await? else { return Ok(()) };
    let table = scene.loaded("old").await?;
    let mut rng = rng("rename");
    scene.source.insert(&table.name, table.rows(&mut rng, 0..100)).await?;
    let new = scene.name("new");
    scene.source.rename(&table.name, &new).await?;
    scene.source.insert(&new, table.rows(&mut rng, 100..200)).await?;
    scene.same(&[&new, &table.name]).await?;
    assert_eq!(scene.target.count(&new, &[]).await?, 200);
    assert!(!scene.target.exists(&table.name).await?);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_moves_to_another_database_with_its_rows() -> Outcome {
    let Some(scene) = Scene::open("move").await? else { return Ok(()) };
    let database = scene.database("db");
    scene.source.create_database(&database).await?;
    let table = scene.loaded("t").await?;
    let mut rng = rng("move");
    scene.source.insert(&table.name, table.rows(&mut rng, 0..100)).await?;
    let new = CollectionName::new(&database, &table.name.collection);
    scene.source.rename(&table.name, &new).await?;
    scene.source.insert(&new, table.rows(&mut rng, 100..200)).await?;
    scene.same(&[&new, &table.name]).await?;
    assert_eq!(scene.target.count(&new, &[]).await?, 200);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_properties_arrive() -> Outcome {
    let Some(scene) = Scene::open("alter").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    scene.source.alter(&table.name, &[pair("collection.ttl.seconds", 3600)]).await?;
    scene.same(&[&table.name]).await?;
    scene.source.alter(&table.name, &[pair("collection.ttl.seconds", 7200)]).await?;
    scene.same(&[&table.name]).await?;
    let properties = scene.target.describe(&table.name).await?.properties;
    assert!(properties.contains(&pair("collection.ttl.seconds", 7200)), "{properties:?}");
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_are_created_altered_and_dropped() -> Outcome {
    let Some(scene) = Scene::open("alias").await? else { return Ok(()) };
    let (one, two) = (scene.loaded("one").await?, scene.loaded("two").await?);
    let alias = scene.name("alias").collection;
    scene.source.create_alias(&one.name, &alias).await?;
    scene.same(&[&one.name, &two.name]).await?;
    assert_eq!(scene.target.describe(&one.name).await?.aliases, std::slice::from_ref(&alias));
    scene.source.alter_alias(&two.name, &alias).await?;
    scene.same(&[&one.name, &two.name]).await?;
    assert_eq!(scene.target.describe(&two.name).await?.aliases, std::slice::from_ref(&alias));
    scene.source.drop_alias("default", &alias).await?;
    scene.same(&[&one.name, &two.name]).await?;
    assert!(scene.target.describe(&two.name).await?.aliases.is_empty());
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_left_by_a_dropped_collection_is_free_once_dropped() -> Outcome {
    let Some(scene) = Scene::open("deadalias").await? else { return Ok(()) };
    let (one, two) = (Table::plain(&scene.name("one")), Table::plain(&scene.name("two")));
    let alias = scene.name("alias").collection;
    scene.source.create(&one).await?;
    scene.source.create(&two).await?;
    scene.source.create_alias(&one.name, &alias).await?;
    scene.source.drop(&one.name).await?;
    scene.source.drop_alias("default", &alias).await?;
    scene.source.create_alias(&two.name, &alias).await?;
    scene.same(&[&one.name, &two.name]).await?;
    assert_eq!(scene.target.describe(&two.name).await?.aliases, [alias]);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_dropped_and_created_again_at_once_holds_only_its_new_rows() -> Outcome {
    let Some(scene) = Scene::open("recreate").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    let mut rng = rng("recreate");
    scene.source.insert(&table.name, table.rows(&mut rng, 0..100)).await?;
    for round in 1..4 {
        scene.source.drop(&table.name).await?;
        scene.source.create_loaded(&table).await?;
        scene.source.insert(&table.name, table.rows(&mut rng, round * 10..round * 10 + 20)).await?;
    }
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 20);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_created_again_with_another_schema_has_that_schema() -> Outcome {
    let Some(scene) = Scene::open("reschema").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    let mut rng = rng("reschema");
    scene.source.insert(&table.name, table.rows(&mut rng, 0..100)).await?;
    scene.source.drop(&table.name).await?;
    let other =
        Table::empty(&table.name).key(DataType::VarChar).vector(4).field("size", DataType::Int32).shards(3);
    scene.source.create_loaded(&other).await?;
    scene.source.insert(&table.name, other.rows(&mut rng, 0..50)).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 50);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_create_leaves_the_collection_as_it_is() -> Outcome {
    let Some(scene) = Scene::open("refused").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    let mut rng = rng("refused");
    scene.source.insert(&table.name, table.rows(&mut rng, 0..50)).await?;
    // both leave the message of a collection that never exists on the queue
    scene.source.create(&table).await?;
    let other = Table::empty(&table.name).key(DataType::VarChar).vector(4);
    ensure(scene.source.create(&other).await.is_err(), || "a second schema was accepted".into())?;
    scene.source.insert(&table.name, table.rows(&mut rng, 50..100)).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 100);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_collections_at_once_arrive() -> Outcome {
    let Some(scene) = Scene::open("hundred").await? else { return Ok(()) };
    let tables = (0..100).map(|number| Table::plain(&scene.name(&number.to_string()))).collect::<Vec<_>>();
    let mut creating = JoinSet::new();
    for (number, table) in tables.iter().cloned().enumerate() {
        let (source, mut rng) = (scene.source.clone(), rng(&format!("hundred {number}")));
        creating.spawn(async move {
            source.create(&table).await?;
            source.insert(&table.name, table.rows(&mut rng, 0..10)).await
        });
    }
    while let Some(created) = creating.join_next().await {
        created??;
    }
    scene.same(&tables.iter().map(|table| &table.name).collect::<Vec<_>>()).await?;
    // rows can only be read where they are loaded; loading all would take minutes
    let mut rng = rng("hundred");
    for _ in 0..3 {
        let table = &tables[rng.random_range(0..tables.len())];
        scene.source.index_vector(table).await?;
        scene.source.load(&table.name).await?;
        scene.same(&[&table.name]).await?;
        assert_eq!(scene.target.count(&table.name, &[]).await?, 10);
    }
    scene.close().await
}
