//! An encrypted log: recorders that open no row write it, who has a recipient's key replays it, nobody else reads it.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tapedeck::error::Verdict;
use tapedeck::log::layout;
use tapedeck::log::store::Store;
use tapedeck::log::store::encryption::{Encryption, Identity, Keys};
use tapedeck::recorder::Start;
use tapedeck::replayer::Until;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::{Contents, MemoryTarget};

use super::oracle::assert_same;
use super::stage::{assert_clean, finish, open, process, replay, replayed, replayer, seed, settle};
use super::world::{Duplicates, World};

/// Names that stand in the log's objects; in none of them in clear.
const NAMES: [&str; 3] = ["the_secret_collection", "the_secret_partition", "_default"];

fn view(inner: &Arc<InMemory>, keys: Keys) -> Store {
    let encryption = Encryption::new(keys, layout::ROWS).expect("keys that fit");
    Store::new(inner.clone(), Path::ROOT, "memory://log".into()).encrypted(encryption)
}

/// The log as its recorder has it, and as a reader has it.
fn views(inner: &Arc<InMemory>) -> (Store, Store) {
    let [reader, recorder] = [(); 2].map(|()| Identity::generate());
    let recipients = vec![reader.to_public()];
    let writes = Keys { recipients, recorder: vec![recorder], ..Keys::default() };
    let reads = Keys { identities: vec![reader], ..Keys::default() };
    (view(inner, writes), view(inner, reads))
}

async fn objects(inner: &InMemory) -> Vec<(String, Vec<u8>)> {
    let listed = inner.list(None).try_collect::<Vec<_>>().await.expect("a listing");
    let mut objects = Vec::new();
    for object in listed {
        let stored = inner.get(&object.location).await.expect("an object").bytes().await.expect("bytes");
        objects.push((object.location.to_string(), stored.to_vec()));
    }
    objects
}

fn secret_world(seed: u64) -> World {
    let mut world = World::new(2, seed, Duplicates::Kept);
    world.create(CollectionSpec::new(NAMES[0]));
    let partition = world.create_partition(0, NAMES[1]);
    world.insert(0, partition, &[1, 2, 3]);
    world
}

#[test]
fn a_log_is_recorded_and_gone_on_with_by_a_key_that_opens_no_row_and_replayed_by_another() {
    let seed = seed();
    let (inner, mut world) = (Arc::new(InMemory::new()), secret_world(seed));
    let (recorder, reader) = views(&inner);
    // Killed: the process ends with all that runs in it.
    process(async {
        let mut recording = open(&world, &recorder, Start::Earliest).await;
        world.work(40);
        recording.reach(settle(&mut world)).await;
    });
    process(async {
        let recording = open(&world, &recorder, Start::Earliest).await;
        world.work(40);
        finish(&mut world, recording).await;
    });
    process(async {
        let target = Arc::new(MemoryTarget::new());
        replay(replayer(&reader, target.clone(), "r", Until::Latest)).end().await.expect("a replay");
        assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
        assert_clean(&reader).await;

        let objects = objects(&inner).await;
        for folder in [layout::COMMITS, layout::SEGMENTS, layout::CATALOGS, layout::READERS, layout::IDENTITY]
        {
            assert!(objects.iter().any(|(key, _)| key.starts_with(folder)), "no {folder}");
        }
        for (key, stored) in objects {
            assert!(stored.starts_with(b"age-encryption.org/v1\n"), "{key} is no age file");
            for name in NAMES {
                let shown = stored.windows(name.len()).any(|part| part == name.as_bytes());
                assert!(!shown, "{key} shows {name}");
            }
        }
    });
}

#[test]
fn what_was_damaged_or_is_opened_by_no_key_is_named_and_nothing_of_it_is_applied() {
    let inner = Arc::new(InMemory::new());
    let (recorder, reader) = views(&inner);
    let (_, stranger) = views(&inner);
    process(async {
        let mut world = secret_world(0);
        let recording = open(&world, &recorder, Start::Earliest).await;
        finish(&mut world, recording).await;
        let refused = async |store: &Store, key: &str| {
            let target = Arc::new(MemoryTarget::new());
            let error = replay(replayer(store, target.clone(), "r", Until::Latest)).error().await;
            assert_eq!(error.verdict, Verdict::Refused, "{key}: {error}");
            assert!(error.message.contains(key), "{error}");
            assert_same(&target.contents(), &Contents::default(), key);
        };
        refused(&stranger, layout::IDENTITY).await;
        refused(&recorder, layout::SEGMENTS).await;
        let objects = objects(&inner).await;
        let first = objects.iter().find(|(key, _)| key.starts_with(layout::SEGMENTS)).expect("a segment");
        let (key, stored) = first;
        for at in [30, 200, stored.len() / 2, stored.len() - 1] {
            let mut damaged = stored.clone();
            damaged[at] ^= 1;
            inner.put(&Path::from(key.as_str()), damaged.into()).await.expect("a put");
            refused(&reader, key).await;
        }
        inner.put(&Path::from(key.as_str()), stored.clone().into()).await.expect("a put");
        assert_same(&replayed(&reader, Until::Latest).await, &world.oracle.contents(), "brought back");
    });
}
