//! Insert, Delete, Upsert.

use tapedeck::change::Keys;
use tapedeck::pb::milvus::proto::schema::DataType;
use tokio::task::JoinSet;

use crate::scene::Scene;
use crate::stand::{Outcome, Table, rng};
use rand::RngExt;

#[tokio::test(flavor = "multi_thread")]
async fn inserted_rows_arrive() -> Outcome {
    let Some(scene) = Scene::open("insert").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    let mut rng = rng("insert");
    for batch in 0..20 {
        scene.source.insert(&table.name, table.rows(&mut rng, batch * 100..batch * 100 + 100)).await?;
    }
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 2000);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_becomes_many_messages_arrives_whole() -> Outcome {
    let Some(scene) = Scene::open("large").await? else { return Ok(()) };
    let table = Table::empty(&scene.name("t")).key(DataType::Int64).vector(256).shards(2);
    scene.source.create_loaded(&table).await?;
    // 15 MB; Milvus cuts messages at 5 MB or less
    scene.source.insert(&table.name, table.rows(&mut rng("large"), 0..15_000)).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 15_000);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_rows_go() -> Outcome {
    let Some(scene) = Scene::open("delete").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    scene.source.insert(&table.name, table.rows(&mut rng("delete"), 0..100)).await?;
    scene.same(&[&table.name]).await?;
    // some keys that never were
    scene.source.delete(&table.name, &Keys::Int((90..120).collect())).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 90);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn upserted_rows_replace_those_of_their_keys() -> Outcome {
    let Some(scene) = Scene::open("upsert").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    let mut rng = rng("upsert");
    scene.source.insert(&table.name, table.rows(&mut rng, 0..100)).await?;
    scene.source.upsert(&table.name, table.rows(&mut rng, 50..150)).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 150);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_inserted_and_deleted_in_their_partition() -> Outcome {
    let Some(scene) = Scene::open("rowparts").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t"));
    scene.source.create(&table).await?;
    scene.source.create_partition(&table.name, "p").await?;
    scene.source.index_vector(&table).await?;
    scene.source.load(&table.name).await?;
    let mut rng = rng("rowparts");
    scene.source.insert_into(&table.name, "p", table.rows(&mut rng, 0..50)).await?;
    scene.source.insert(&table.name, table.rows(&mut rng, 50..100)).await?;
    // key 60 is in the other partition and stays
    scene.source.delete_from(&table.name, "p", &Keys::Int(vec![1, 2, 60])).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &["p".into()]).await?, 48);
    assert_eq!(scene.target.count(&table.name, &["_default".into()]).await?, 50);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_deleted_and_inserted_again_at_once_holds_its_last_row() -> Outcome {
    let Some(scene) = Scene::open("again").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    let mut rng = rng("again");
    for _ in 0..20 {
        scene.source.insert(&table.name, table.rows(&mut rng, 0..10)).await?;
        scene.source.delete(&table.name, &Keys::Int((0..10).collect())).await?;
    }
    scene.source.insert(&table.name, table.rows(&mut rng, 0..10)).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 10);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_inserts_of_one_key_count_twice() -> Outcome {
    let Some(scene) = Scene::open("twice").await? else { return Ok(()) };
    let table = scene.loaded("t").await?;
    let rows = table.rows(&mut rng("twice"), 0..10);
    scene.source.insert(&table.name, rows.clone()).await?;
    scene.source.insert(&table.name, rows).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 20);
    // and one delete takes both
    scene.source.delete(&table.name, &Keys::Int(vec![3])).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 18);
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_on_the_same_keys_leave_the_same_rows() -> Outcome {
    let Some(scene) = Scene::open("writers").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t")).shards(2);
    scene.source.create_loaded(&table).await?;
    let mut writers = JoinSet::new();
    for number in 0..8 {
        let (source, table) = (scene.source.clone(), table.clone());
        let mut rng = rng(&format!("writer {number}"));
        writers.spawn(async move {
            for _ in 0..40 {
                let first = rng.random_range(0..20);
                if rng.random_ratio(1, 4) {
                    source.delete(&table.name, &Keys::Int((first..first + 5).collect())).await?;
                } else {
                    source.upsert(&table.name, table.rows(&mut rng, first..first + 5)).await?;
                }
            }
            Outcome::Ok(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    scene.same(&[&table.name]).await?;
    scene.close().await
}
