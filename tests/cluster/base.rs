//! A source's rows, read from its segments: no queue, no query node.

use std::collections::BTreeSet;

use tapedeck::change::{CollectionName, Keys};
use tapedeck::pb::log::Collection;
use tapedeck::pb::milvus::proto::milvus::MutationResult;
use tapedeck::pb::milvus::proto::schema::DataType;
use tapedeck::source::CatalogSource;
use tapedeck::source::etcd::{EtcdCatalog, EtcdOptions};
use tapedeck::source::segments::{SegmentList, SegmentReader, SegmentState};
use tapedeck::store::{Owner, Store, StoreOptions};
use tapedeck::tick::Tso;

use crate::stand::rows::{Rows, difference, rows};
use crate::stand::table::text_key;
use crate::stand::{Outcome, RUN, Stand, Table, ensure, eventually, fail, rng};

/// The segments of a collection, once they hold everything up to a TSO.
async fn segments(stand: &Stand, name: &CollectionName, through: Tso) -> Outcome<(Collection, SegmentList)> {
    let endpoints = vec![format!("http://{}", stand.etcd)];
    let options =
        EtcdOptions { endpoints, root_path: stand.source.etcd_root.clone(), ..EtcdOptions::default() };
    let mut catalog = EtcdCatalog::connect(&options).await?;
    let live = catalog.read().await?.live;
    let named = |collection: &&Collection| collection.name == name.collection;
    let Some(collection) = live.collections.values().find(named) else { return fail("not in the catalog") };
    let mut list = SegmentList::default();
    eventually(&format!("checkpoints of {name} after {through}"), async || {
        list = catalog.segments(&BTreeSet::from([collection.id])).await?;
        let mut channels = collection.channels.iter().map(|shard| &shard.virtual_channel);
        let behind =
            channels.find(|channel| list.checkpoints.get(*channel).is_none_or(|to| to.tso < through));
        Ok(behind.map(|channel| format!("{channel}: {:?}", list.checkpoints.get(channel))))
    })
    .await?;
    Ok((collection.clone(), list))
}

/// The rows of all segments that are not deleted, and the most blocks that one of them has.
async fn live(store: &Store, collection: &Collection, list: &SegmentList) -> Outcome<(Rows, usize)> {
    let schema = collection.schema.clone().unwrap_or_default();
    let (mut all, mut most) = (Rows::new(), 0);
    for segment in list.segments.values().filter(|segment| segment.is_readable()) {
        let reader = SegmentReader::new(store, &schema, segment);
        let deletes = reader.deletes().await?;
        most = most.max(reader.blocks()?);
        for number in 0..reader.blocks()? {
            let block = reader.block(number).await?;
            let keys = block.rows.keys("id")?;
            let found = keys.iter().zip(&block.tsos).enumerate();
            let kept = found.filter(|(_, (key, tso))| !deletes.cover(key, **tso)).map(|(row, _)| row);
            let kept = kept.collect::<Vec<_>>();
            let rows = rows(block.rows.take(&kept)?.columns, "id")?;
            ensure(rows.len() == kept.len(), || format!("a key twice in segment {}", segment.id))?;
            for (key, row) in rows {
                ensure(all.insert(key.clone(), row).is_none(), || format!("{key:?} lives twice"))?;
            }
        }
    }
    Ok((all, most))
}

/// Inserts, deletes and upserts across flushes, then compares the segments with what the source answers.
async fn reads(table: Table, rows: i64) -> Outcome<Option<usize>> {
    let Some(stand) = Stand::find()? else { return Ok(None) };
    let (source, name) = (stand.source()?, &table.name);
    let mut rng = rng(&name.collection);
    let keys = |keys: std::ops::Range<i64>| match table.fields[0].data_type() {
        DataType::VarChar => Keys::Text(keys.map(text_key).collect()),
        _ => Keys::Int(keys.collect()),
    };
    source.create_loaded(&table).await?;
    for begin in (0..rows).step_by(2000) {
        source.insert(name, table.rows(&mut rng, begin..begin + 2000)).await?;
    }
    source.flush(name).await?;
    source.delete(name, &keys(0..300)).await?;
    source.upsert(name, table.rows(&mut rng, 200..500)).await?;
    source.insert(name, table.rows(&mut rng, 0..50)).await?;
    source.flush(name).await?;
    let MutationResult { timestamp, .. } = source.delete(name, &keys(25..75)).await?;
    let answered = source.rows(name, &[]).await?;
    ensure(answered.len() as i64 == rows - 175, || format!("{} rows", answered.len()))?;
    source.flush(name).await?;

    let (collection, list) = segments(&stand, name, Tso(timestamp)).await?;
    let options = StoreOptions { owner: Owner::Source, ..StoreOptions::default() };
    let store = Store::open(&format!("file://{}/data", stand.source.dir.display()), &options).await?;
    let (found, blocks) = live(&store, &collection, &list).await?;
    if let Some(text) = difference(&answered, &found) {
        return fail(format!("{name}: answered against stored: {text}"));
    }
    let flushed = |list: &SegmentList| {
        list.segments.values().filter(|segment| segment.state == SegmentState::Flushed).count()
    };
    ensure(flushed(&list) > 0, || format!("no flushed segment in {list:?}"))?;
    source.drop(name).await?;
    Ok(Some(blocks))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_of_large_rows_in_several_files_a_field_is_what_the_source_answers() -> Outcome {
    let name = CollectionName::new("default", format!("base_{}_large", *RUN));
    let table = Table::empty(&name).key(DataType::Int64).vector(1024).field("json", DataType::Json);
    match reads(table, 10_000).await? {
        Some(blocks) => ensure(blocks > 1, || "one file a field".into()),
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_of_text_keys_on_two_shards_is_what_the_source_answers() -> Outcome {
    let name = CollectionName::new("default", format!("base_{}_text", *RUN));
    let table = Table::empty(&name).key(DataType::VarChar).vector(8).array("tags", DataType::VarChar);
    reads(table.dynamic().shards(2), 2000).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_of_binary_vectors_by_partition_key_is_what_the_source_answers() -> Outcome {
    let name = CollectionName::new("default", format!("base_{}_tenants", *RUN));
    let table = Table::empty(&name).key(DataType::Int64).binary_vector(64).by_tenant(3);
    reads(table, 2000).await.map(drop)
}
