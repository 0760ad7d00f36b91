//! The archive of a log, put together row by row, gives what users of the source see.

use std::collections::BTreeMap;
use std::future::ready;

use tapedeck::archive::archiver::{Limits, archive};
use tapedeck::archive::manifest;
use tapedeck::archive::read::{Change, File};
use tapedeck::archive::table::Op;
use tapedeck::archive::verify::{Scope, verify};
use tapedeck::catalog::Catalog;
use tapedeck::change::{DefinitionChange, Keys, NewCollection, RowChange, Rows};
use tapedeck::log::layout;
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::log::verify as log_verify;
use tapedeck::message::ALL_PARTITIONS;
use tapedeck::pb::log::Collection;
use tapedeck::position::Seq;
use tapedeck::recorder::Start;
use tapedeck::rows::Key;
use tapedeck::target::memory::{Contents, MemoryTarget};
use tapedeck::target::{Mode, Target};

use super::stage::{finish, open, process, record_all, seed};
use super::world::{Duplicates, World};

/// So small that a log has several manifests, and some ranges several files of one collection.
pub const SMALL: Limits = Limits { held_bytes: 48 << 10, group_bytes: 4 << 10 };

pub async fn archive_all(store: &Store) {
    archive(store.clone(), SMALL, |_, _, _| {}).await.unwrap();
}

#[test]
fn the_rows_of_an_archive_give_what_users_of_the_source_see() {
    let first = seed();
    for seed in (0..8).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(3, seed, Duplicates::Kept));
            world.work(80);
            record_all(&mut world, &store).await;
            archive_all(&store).await;
            for _ in 0..3 {
                let recording = open(&world, &store, Start::Earliest).await;
                world.work(80);
                finish(&mut world, recording).await;
            }
            archive_all(&store).await;
            assert_is_sound(&store).await;
            let (found, expected) = (folded(&store).await, world.oracle.contents());
            for (name, collection) in &expected.collections {
                let found = &found.collections[name].partitions;
                assert_eq!(found, &collection.partitions, "seed {seed}: {name}");
            }
            assert_eq!(found.collections.len(), expected.collections.len());
        });
    }
}

pub async fn assert_is_sound(store: &Store) {
    let whole = log_verify::Scope::Whole;
    let mut report = log_verify::verify(store.clone(), whole, |_, _| ready(())).await.unwrap();
    let reader = LogReader::open(store.clone()).await.unwrap();
    let scope = Scope { from: Seq(1), rows: true };
    let archived = verify(&reader, store, scope, &mut report, |_, _| ready(())).await.unwrap();
    assert_eq!((report.damages, archived.orphans, archived.to), (vec![], 0, reader.last().await.unwrap().0));
    assert!(archived.manifests > 1 && archived.files > archived.manifests, "{archived:?}");
}

/// What the collections that are there in the end hold after all changes that the archive has of them.
pub async fn folded(store: &Store) -> Contents {
    let reader = LogReader::open(store.clone()).await.unwrap();
    let last = reader.commit(reader.last().await.unwrap()).await.unwrap().unwrap();
    let catalog = reader.catalog(&last.commit.catalog.unwrap()).await.unwrap();
    let target = MemoryTarget::new();
    for database in catalog.databases.values() {
        let change = DefinitionChange::CreateDatabase { database: database.name.clone() };
        target.define(&change).await.unwrap();
    }
    for collection in catalog.collections.values() {
        target.define(&create(&catalog, collection)).await.unwrap();
    }
    for (id, changes) in changes(store, reader.log_id()).await {
        let Some(collection) = catalog.collections.get(&id) else { continue };
        for change in changes.into_iter().filter_map(|change| row_change(collection, change)) {
            target.write(&catalog.name(id).unwrap(), &change, Mode::Plain).await.unwrap();
        }
    }
    target.contents()
}

fn create(catalog: &Catalog, collection: &Collection) -> DefinitionChange {
    DefinitionChange::CreateCollection(NewCollection {
        name: catalog.name(collection.id).unwrap(),
        schema: collection.schema.clone().unwrap(),
        shards: collection.shards,
        consistency_level: collection.consistency_level,
        properties: collection.properties.clone(),
        partitions: collection.partitions.iter().map(|partition| partition.name.clone()).collect(),
    })
}

type Changed = (Change, Key, Option<Rows>);

/// All changes of rows, by collection, in the order of time.
async fn changes(store: &Store, log_id: &str) -> BTreeMap<i64, Vec<Changed>> {
    let mut all = BTreeMap::<i64, Vec<Changed>>::new();
    for n in 1.. {
        let Some(bytes) = store.get(&layout::manifest(n)).await.unwrap() else { break };
        for named in manifest::open(log_id, n, bytes).unwrap().manifest.files {
            let mut file = File::open(store, &named).await.unwrap();
            while let Some(block) = file.block().unwrap() {
                let mut rows = 0..block.rows.count;
                for (change, key) in block.changes.into_iter().zip(block.keys.iter()) {
                    let row =
                        (change.op != Op::Delete).then(|| block.rows.take(&[rows.next().unwrap()]).unwrap());
                    all.entry(named.collection_id).or_default().push((change, key, row));
                }
            }
        }
    }
    all.values_mut().for_each(|changes| changes.sort_by_key(|(change, ..)| (change.tso, change.op)));
    all
}

/// What a change does to partitions that are there in the end.
fn row_change(collection: &Collection, (change, key, row): Changed) -> Option<RowChange> {
    let name = |id| collection.partitions.iter().find(|known| known.id == id).map(|known| known.name.clone());
    let partition = match change.partition {
        ALL_PARTITIONS => None,
        id => Some(name(id)?),
    };
    Some(match (change.op, row) {
        (Op::Insert, Some(rows)) => RowChange::Insert { partition, rows },
        (Op::Upsert, Some(rows)) => RowChange::Upsert { partition, rows },
        _ => {
            let keys = match key {
                Key::Int(key) => Keys::Int(vec![key]),
                Key::Text(key) => Keys::Text(vec![key]),
            };
            RowChange::Delete { partition, key_field: "id".into(), keys }
        }
    })
}
