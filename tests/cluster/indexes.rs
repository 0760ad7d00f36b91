//! Create and drop indexes.

use tapedeck::pb::milvus::proto::common::KeyValuePair;

use crate::scene::Scene;
use crate::stand::table::pair;
use crate::stand::{Outcome, Table, rng};

fn hnsw() -> [KeyValuePair; 3] {
    [pair("index_type", "HNSW"), pair("metric_type", "IP"), pair("params", r#"{"M":8,"efConstruction":32}"#)]
}

#[tokio::test(flavor = "multi_thread")]
async fn vector_indexes_arrive_named_or_not() -> Outcome {
    let Some(scene) = Scene::open("vindex").await? else { return Ok(()) };
    let (named, unnamed) = (Table::plain(&scene.name("named")), Table::plain(&scene.name("unnamed")));
    for (table, index) in [(&named, "by_likeness"), (&unnamed, "")] {
        scene.source.create(table).await?;
        scene.source.create_index(&table.name, "vector", index, &hnsw()).await?;
    }
    scene.same(&[&named.name, &unnamed.name]).await?;
    assert_eq!(scene.target.indexes(&named.name).await?[0].index_name, "by_likeness");
    assert_eq!(scene.target.indexes(&unnamed.name).await?[0].field_name, "vector");
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn scalar_indexes_arrive_named_or_not() -> Outcome {
    let Some(scene) = Scene::open("sindex").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t"));
    scene.source.create(&table).await?;
    scene.source.create_index(&table.name, "text", "by_text", &[pair("index_type", "Trie")]).await?;
    scene.source.create_index(&table.name, "id", "", &[]).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.indexes(&table.name).await?.len(), 2);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_replaced_by_another_while_rows_flow() -> Outcome {
    let Some(scene) = Scene::open("reindex").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    let mut rng = rng("reindex");
    scene.source.insert(&table.name, table.rows(&mut rng, 0..100)).await?;
    scene.source.release(&table.name).await?;
    scene.source.drop_index(&table.name, "vector").await?;
    scene.source.insert(&table.name, table.rows(&mut rng, 100..200)).await?;
    scene.source.create_index(&table.name, "vector", "other", &hnsw()).await?;
    scene.source.load(&table.name).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.indexes(&table.name).await?[0].index_name, "other");
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_index_goes() -> Outcome {
    let Some(scene) = Scene::open("dropindex").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t"));
    scene.source.create(&table).await?;
    scene.source.index_vector(&table).await?;
    scene.source.create_index(&table.name, "text", "", &[]).await?;
    scene.same(&[&table.name]).await?;
    scene.source.drop_index(&table.name, "vector").await?;
    scene.source.drop_index(&table.name, "text").await?;
    scene.same(&[&table.name]).await?;
    assert!(scene.target.indexes(&table.name).await?.is_empty());
    scene.close().await
}
