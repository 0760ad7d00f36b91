//! All field types, keys and kinds of collections of Milvus 2.3.

use tapedeck::change::Keys;
use tapedeck::pb::milvus::proto::schema::{DataType, i_ds};

use crate::scene::Scene;
use crate::stand::table::text_key;
use crate::stand::{Outcome, Table, ensure, fail, rng};

/// Inserts, upserts and deletes with every kind of request, then compares every value.
async fn carries(scene: Scene, table: Table) -> Outcome {
    let mut rng = rng(&table.name.collection.replace(&*crate::stand::RUN, ""));
    scene.source.create_loaded(&table).await?;
    scene.source.insert(&table.name, table.rows(&mut rng, 0..300)).await?;
    scene.source.upsert(&table.name, table.rows(&mut rng, 200..350)).await?;
    let keys = 0..50;
    let keys = match table.fields[0].data_type() {
        DataType::VarChar => Keys::Text(keys.map(text_key).collect()),
        _ => Keys::Int(keys.collect()),
    };
    scene.source.delete(&table.name, &keys).await?;
    scene.same(&[&table.name]).await?;
    assert_eq!(scene.target.count(&table.name, &[]).await?, 300);
    if table.partition_count > 0 {
        assert_eq!(scene.target.count_by_tenant(&table.name).await?, 300, "found by their tenant");
    }
    scene.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_scalar_and_array_type_arrives_bit_by_bit() -> Outcome {
    use DataType::{Bool, Double, Float, Int8, Int16, Int32, Int64, Json, VarChar};
    let Some(scene) = Scene::open("scalars").await? else { return Ok(()) };
    let scalars = [Bool, Int8, Int16, Int32, Int64, Float, Double, VarChar];
    let mut table = Table::empty(&scene.name("t")).key(Int64).vector(16).field("json", Json);
    for kind in scalars {
        let name = kind.as_str_name().to_lowercase();
        table = table.field(&format!("a_{name}"), kind).array(&format!("some_{name}"), kind);
    }
    carries(scene, table).await
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_vectors_arrive() -> Outcome {
    let Some(scene) = Scene::open("binary").await? else { return Ok(()) };
    let table = Table::empty(&scene.name("t")).key(DataType::Int64).binary_vector(64);
    carries(scene, table).await
}

#[tokio::test(flavor = "multi_thread")]
async fn text_keys_arrive_with_their_quotes() -> Outcome {
    let Some(scene) = Scene::open("textkey").await? else { return Ok(()) };
    let table = Table::empty(&scene.name("t")).key(DataType::VarChar).vector(8).dynamic();
    carries(scene, table).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_several_shards_arrives() -> Outcome {
    let Some(scene) = Scene::open("shards").await? else { return Ok(()) };
    let table = Table::plain(&scene.name("t")).shards(4);
    carries(scene, table).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_key_collection_arrives() -> Outcome {
    let Some(scene) = Scene::open("partkey").await? else { return Ok(()) };
    let table = Table::empty(&scene.name("t")).key(DataType::Int64).vector(8);
    carries(scene, table.by_tenant(7).shards(2)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_source_made_are_kept() -> Outcome {
    let Some(scene) = Scene::open("autoid").await? else { return Ok(()) };
    for (part, kind) in [("int", DataType::Int64), ("text", DataType::VarChar)] {
        let table =
            Table::empty(&scene.name(part)).key(kind).auto_id().vector(8).field("text", DataType::VarChar);
        scene.source.create_loaded(&table).await?;
        let made = scene.source.insert(&table.name, table.rows(&mut rng("autoid"), 0..100)).await?;
        let first = match made.i_ds.and_then(|keys| keys.id_field) {
            Some(i_ds::IdField::IntId(keys)) => Keys::Int(keys.data[..10].to_vec()),
            Some(i_ds::IdField::StrId(keys)) => Keys::Text(keys.data[..10].to_vec()),
            None => return fail("no keys in the answer"),
        };
        // by the source's keys: they find nothing at a target that made its own
        scene.source.delete(&table.name, &first).await?;
        scene.same(&[&table.name]).await?;
        ensure(scene.target.count(&table.name, &[]).await? == 90, || format!("{part}: not 90 rows"))?;
    }
    scene.close().await
}
