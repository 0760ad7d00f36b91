//! The tests' own tools, on source and target directly: what they say can be believed.

use tapedeck::change::{CollectionName, Keys};
use tapedeck::pb::milvus::proto::schema::DataType;

use crate::stand::compare::compare;
use crate::stand::table::pair;
use crate::stand::workload::Workload;
use crate::stand::{Outcome, RUN, Stand, Table, ensure, eventually, rng};

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_names_what_differs() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let name = CollectionName::new("default", format!("own_{}_compare", *RUN));
    let differs = async |text: &str| {
        let found = compare((&source, &name), (&target, &name)).await?.unwrap_or_default();
        ensure(found.contains(text), || format!("expected \"{text}\" in: {found}"))
    };
    let equal = async || {
        let found = compare((&source, &name), (&target, &name)).await?;
        ensure(found.is_none(), || found.unwrap_or_default())
    };
    equal().await?;
    let table = Table::plain(&name).array("tags", DataType::VarChar).field("json", DataType::Json);
    source.create_loaded(&table).await?;
    differs("is not at the target").await?;
    target.create(&table).await?;
    differs("index vector: \"on vector").await?;
    target.index_vector(&table).await?;
    differs("partition _default: \"loaded\" at the source, \"not loaded\" at the target").await?;
    target.load(&name).await?;
    equal().await?;

    let rows = table.rows(&mut rng("compare"), 0..200);
    source.insert(&name, rows.clone()).await?;
    differs("count(*) is 200 at the source, 0 at the target").await?;
    target.insert(&name, rows.clone()).await?;
    equal().await?;
    target.upsert(&name, table.rows(&mut rng("another row"), [7])).await?;
    differs("Int(7) vector").await?;
    target.delete(&name, &Keys::Int(vec![7])).await?;
    source.delete(&name, &Keys::Int(vec![8])).await?;
    differs("1 missing [Int(7)], 1 too many [Int(8)]").await?;
    source.delete(&name, &Keys::Int(vec![7])).await?;
    target.delete(&name, &Keys::Int(vec![8])).await?;
    equal().await?;

    // of a key with two rows a query shows either: equal if both have two
    let two = [table.rows(&mut rng("one row"), [9]), table.rows(&mut rng("the other row"), [9])];
    source.insert(&name, two[0].clone()).await?;
    target.insert(&name, two[1].clone()).await?;
    equal().await?;
    source.delete(&name, &Keys::Int(vec![9])).await?;
    target.delete(&name, &Keys::Int(vec![9])).await?;
    equal().await?;

    source.create_partition(&name, "p").await?;
    differs("partition p: \"loaded\" at the source, none at the target").await?;
    target.create_partition(&name, "p").await?;
    source.alter(&name, &[pair("collection.ttl.seconds", 99999)]).await?;
    differs("property collection.ttl.seconds: \"99999\"").await?;
    target.alter(&name, &[pair("collection.ttl.seconds", 99999)]).await?;
    target.create_alias(&name, &format!("{}_alias", name.collection)).await?;
    differs("alias own_").await?;
    target.drop_alias("default", &format!("{}_alias", name.collection)).await?;
    equal().await?;
    target.flush(&name).await?;
    ensure(target.flushed_rows(&name).await? >= 198, || "flushed rows are not seen".into())?;

    source.drop(&name).await?;
    differs("is still at the target").await?;
    target.drop(&name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_reads_every_row_once() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let target = stand.target()?;
    for kind in [DataType::Int64, DataType::VarChar] {
        let name = CollectionName::new("default", format!("own_{}_paging_{}", *RUN, kind.as_str_name()));
        let table = Table::empty(&name).key(kind).vector(2);
        target.create_loaded(&table).await?;
        for begin in (-20_000..20_000).step_by(10_000) {
            target.insert(&name, table.rows(&mut rng("paging"), begin..begin + 10_000)).await?;
        }
        eventually("all rows", async || {
            let (count, rows) = (target.count(&name, &[]).await?, target.rows(&name, &[]).await?.len());
            Ok(((count, rows) != (40_000, 40_000)).then(|| format!("count(*) {count}, rows {rows}")))
        })
        .await?;
        target.drop(&name).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_leaves_no_key_twice() -> Outcome {
    let Some(stand) = Stand::find()? else { return Ok(()) };
    let target = stand.target()?;
    let table = Table::plain(&CollectionName::new("default", format!("own_{}_workload", *RUN)));
    target.create_loaded(&table).await?;
    let workload = Workload::start(target.clone(), table.clone(), 0);
    eventually("some rows", async || {
        let count = target.count(&table.name, &[]).await?;
        Ok((count < 200).then(|| format!("{count} rows")))
    })
    .await?;
    let done = workload.stop().await?;
    ensure(done.refused == 0, || format!("{done:?}"))?;
    let (count, rows) = (target.count(&table.name, &[]).await?, target.rows(&table.name, &[]).await?.len());
    ensure(count == rows as i64, || format!("{count} rows of {rows} keys"))?;
    target.drop(&table.name).await
}
