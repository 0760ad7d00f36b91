//! What the queue no longer holds, taken out of the source's stored segments.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tapedeck::change::Keys;
use tapedeck::pb::log::Collection;
use tapedeck::pb::milvus::proto::schema::DataType;
use tapedeck::position::{Channel, Position};
use tapedeck::source::backup::Backup;
use tapedeck::source::etcd::{EtcdCatalog, EtcdOptions};
use tapedeck::source::segments::SegmentList;
use tapedeck::source::{CatalogSource, Queue};
use tapedeck::store::{Store, StoreOptions};

use crate::backup::full_meta;
use crate::stand::compare::compare;
use crate::stand::{
    Outcome, Service, Stand, Table, broker, ensure, eventually, fail, own, rng, table::text_key, task,
};
use crate::trial::alone;

/// The source's catalog, and a collection in it.
async fn catalog(stand: &Stand, table: &Table) -> Outcome<(EtcdCatalog, Collection)> {
    let endpoints = vec![format!("http://{}", stand.etcd)];
    let options =
        EtcdOptions { endpoints, root_path: stand.source.etcd_root.clone(), ..EtcdOptions::default() };
    let mut catalog = EtcdCatalog::connect(&options).await?;
    let live = catalog.read().await?.live;
    let named = |collection: &&Collection| collection.name == table.name.collection;
    let Some(collection) = live.collections.values().find(named) else { return fail("not in the catalog") };
    Ok((catalog, collection.clone()))
}

/// A backup of what is stored of some collections, in the layout of milvus-backup, and without the shards of segments, which
/// Milvus tells since 2.5.8; they must follow from the keys. Its folder.
async fn backed_up(stand: &Stand, tables: &[&Table]) -> Outcome<PathBuf> {
    let folder = stand.scratch()?.join("nightly");
    let (mut list, mut of) = (SegmentList::default(), Vec::new());
    for table in tables {
        let (mut catalog, collection) = catalog(stand, table).await?;
        let stored = catalog.segments(&BTreeSet::from([collection.id])).await?;
        list.segments.extend(stored.segments);
        list.checkpoints.extend(stored.checkpoints);
        of.push(collection);
    }
    for segment in list.readable() {
        for file in segment.binlogs.values().flatten().chain(&segment.deltas) {
            let copy = folder.join("binlogs").join(&file.path);
            fs::create_dir_all(copy.parent().unwrap_or(&folder))?;
            fs::copy(stand.source.dir.join("data").join(&file.path), copy)?;
        }
    }
    fs::create_dir_all(folder.join("meta"))?;
    fs::write(folder.join("meta/full_meta.json"), full_meta(&list, &of, false).to_string())?;
    let store = Store::open(&format!("file://{}", folder.display()), &StoreOptions::default()).await?;
    let live = catalog(stand, tables[0]).await?.0.read().await?.live;
    let adopted = Backup::open(store).await?.list(&live, &of.iter().map(|of| of.id).collect()).await?;
    let mut shards = BTreeSet::new();
    for segment in list.readable().filter(|segment| !segment.binlogs.is_empty()) {
        let found = adopted.segments.get(&segment.id).map(|found| &found.shard);
        ensure(found == Some(&segment.shard), || format!("{segment:?} is taken to be of {found:?}"))?;
        shards.insert(&segment.shard);
    }
    ensure(shards.len() == 2 * tables.len(), || format!("rows on {shards:?} alone"))?;
    Ok(folder)
}

/// Waits until etcd's checkpoints of a collection's shards lie where the queue still holds its messages.
async fn checkpoints_are_kept(stand: &Stand, queue: &dyn Queue, table: &Table) -> Outcome {
    let (mut catalog, collection) = catalog(stand, table).await?;
    eventually("checkpoints within the queue", async || {
        let list = catalog.segments(&BTreeSet::from([collection.id])).await?;
        for shard in &collection.channels {
            let first = queue.bounds(&shard.channel.as_str().into()).await?.start;
            let at = list.checkpoints.get(&shard.virtual_channel).map(|checkpoint| checkpoint.position);
            if at.is_none_or(|at| at < first) {
                return Ok(Some(format!("{}: {at:?}, kept from {first}", shard.virtual_channel)));
            }
            ensure(Position::from(shard.start.unwrap_or_default()) < first, || "nothing was trimmed".into())?;
        }
        Ok(None)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_queue_was_trimmed_before_is_equal_by_its_base_and_the_log() -> Outcome {
    let Some((_alone, stand)) = alone().await? else { return Ok(()) };
    let Some(broker) = broker::of(&stand)? else { return Ok(()) };
    let (source, target) = (stand.source()?, stand.target()?);
    let int = Table::plain(&own("base", "int")).shards(2);
    let text = Table::empty(&own("base", "text"))
        .shards(2)
        .key(DataType::VarChar)
        .vector(8)
        .field("size", DataType::Double);
    let mut rng = rng("base");
    let keys = |table: &Table, keys: std::ops::Range<i64>| match table.fields[0].data_type() {
        DataType::VarChar => Keys::Text(keys.map(text_key).collect()),
        _ => Keys::Int(keys.collect()),
    };
    for table in [&int, &text] {
        let name = &table.name;
        source.create_loaded(table).await?;
        source.create_partition(name, "other").await?;
        source.insert(name, table.rows(&mut rng, 0..2000)).await?;
        source.insert_into(name, "other", table.rows(&mut rng, 2000..2500)).await?;
        source.flush(name).await?;
        source.delete(name, &keys(table, 0..300)).await?;
        source.upsert(name, table.rows(&mut rng, 200..500)).await?;
        source.flush(name).await?;
    }
    for table in [&int, &text] {
        for channel in source.describe(&table.name).await?.physical_channel_names {
            broker.expire(&Channel::from(channel.as_str())).await?;
        }
        // what the queue alone holds
        source.insert(&table.name, table.rows(&mut rng, 3000..3100)).await?;
        source.delete(&table.name, &keys(table, 290..310)).await?;
        checkpoints_are_kept(&stand, broker.queue().as_ref(), table).await?;
        source.upsert(&table.name, table.rows(&mut rng, 400..450)).await?;
        source.insert(&table.name, table.rows(&mut rng, 0..20)).await?;
    }

    let backup = backed_up(&stand, &[&int, &text]).await?;
    let service = Service::start(&stand, "base").await?;
    let include = [int.name.to_string(), text.name.to_string()];
    let include = include.iter().map(String::as_str).collect::<Vec<_>>();
    let (without, with) = (task("base-without"), task("base"));
    service.api.create(&stand.replicate(&without, &include)).await?;
    service.api.reaches(&without, "failed").await?;
    let error = service.api.status(&without).await?["last_error"].to_string();
    for part in ["no longer holds", "source.storage", &int.name.collection] {
        ensure(error.contains(part), || format!("\"{part}\" is not named: {error}"))?;
    }
    let mut spec = stand.replicate(&with, &include);
    spec["source"]["storage"] = json!({ "url": format!("file://{}/data", stand.source.dir.display()) });
    service.api.create(&spec).await?;
    // The same of a backup, beside it.
    let adopted = task("base-adopted");
    let copies = [&int, &text].map(|table| own("base", &format!("{}_adopted", table.name.collection)));
    let mut spec = stand.replicate(&adopted, &include);
    spec["source"]["backup"] = json!({ "url": format!("file://{}", backup.display()) });
    spec["rename"] = include.iter().zip(&copies).map(|(name, copy)| (*name, copy.to_string())).collect();
    service.api.create(&spec).await?;
    for (table, copy) in [&int, &text].into_iter().zip(&copies) {
        let name = &table.name;
        let look = async || compare((&source, name), (&target, name)).await;
        service.api.eventually(&[&with], &format!("{name} equal"), look).await?;
        let look = async || compare((&source, name), (&target, copy)).await;
        service.api.eventually(&[&adopted], &format!("{name} equal out of the backup"), look).await?;
        source.delete(name, &keys(table, 1000..1100)).await?;
        source.insert(name, table.rows(&mut rng, 1050..1060)).await?;
    }
    for table in [&int, &text] {
        let name = &table.name;
        let look = async || compare((&source, name), (&target, name)).await;
        service.api.eventually(&[&with], &format!("{name} equal with what came after"), look).await?;
        source.drop(name).await?;
    }
    Ok(())
}
