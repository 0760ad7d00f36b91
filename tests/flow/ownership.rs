//! Whose a target's collections are: nothing is mixed with rows of another, nothing goes missing unnoticed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use object_store::memory::InMemory;
use tapedeck::catalog::CollectionId;
use tapedeck::change::{CollectionName, DefinitionChange};
use tapedeck::error::{Result, Verdict};
use tapedeck::log::store::Store;
use tapedeck::progress::{RecordProgress, ReplayProgress};
use tapedeck::recorder::Start;
use tapedeck::replayer::{Depth, Replayer, Until};
use tapedeck::selection::{Renames, Selection};
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::Target;
use tapedeck::target::memory::MemoryTarget;

use super::altered::{Alteration, Altered};
use super::crash::{death, faulty, whole};
use super::faulty_store::Fault;
use super::oracle::assert_same;
use super::pieces::in_pieces;
use super::stage::{
    Running, finish, forget, new_collection, open, process, record_all, replay, replayer, seed, settle,
};
use super::world::{Duplicates, World};

/// A log with two collections that have rows, the second of them `docs`.
async fn recorded(seed: u64) -> (Store, World) {
    let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
    for (at, name) in ["first", "docs"].into_iter().enumerate() {
        world.create(CollectionSpec::new(name));
        insert(&mut world, at, 0..20);
    }
    record_all(&mut world, &store).await;
    (store, world)
}

fn insert(world: &mut World, at: usize, keys: Range<i64>) {
    let partition = world.tables[at].default_partition();
    world.insert(at, partition, &keys.collect::<Vec<_>>());
}

async fn drop_collection(target: &MemoryTarget, name: &str) {
    let name = CollectionName::new("default", name);
    target.define(&DefinitionChange::DropCollection { name }).await.unwrap();
}

#[test]
fn a_collection_of_others_is_not_taken_over_however_often_it_is_tried() {
    let seed = seed();
    process(async {
        let (store, world) = recorded(seed).await;
        let target = Arc::new(MemoryTarget::new());
        replay(replayer(&store, target.clone(), "other", Until::Latest)).end().await.unwrap();
        drop_collection(&target, "first").await;
        let docs = CollectionName::new("default", "docs");
        let before = target.contents().collections[&docs].clone();
        for _ in 0..3 {
            let error = replay(replayer(&store, target.clone(), "r", Until::Latest)).error().await;
            assert_eq!(error.verdict, Verdict::Operator, "{error}");
            assert!(
                error.to_string().contains("default.docs already, which this replay did not create"),
                "{error}"
            );
            assert_eq!(target.contents().collections[&docs], before);
        }
        drop_collection(&target, "docs").await;
        replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.unwrap();
        assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
    });
}

#[test]
fn an_empty_collection_of_the_same_definition_is_not_filled_either() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        record_all(&mut world, &store).await;
        let target = Arc::new(MemoryTarget::new());
        replay(replayer(&store, target.clone(), "other", Until::Latest)).end().await.unwrap();
        let before = target.contents();
        insert(&mut world, 0, 0..20);
        record_all(&mut world, &store).await;
        for _ in 0..2 {
            let error = replay(replayer(&store, target.clone(), "r", Until::Latest)).error().await;
            assert!(
                error.message.contains("default.docs already, which this replay did not create"),
                "{error}"
            );
            assert!(error.advice.is_some());
            assert_same(&target.contents(), &before, "as it was");
        }
        let to = world.oracle.last();
        let plan = replayer(&store, target.clone(), "r", Until::Tso(to));
        let plan = plan.plan(to, Depth::Definitions, |_, _| {}).await.unwrap();
        assert_eq!(plan.conflicts.len(), 1, "{plan:?}");
        replay(replayer(&store, target.clone(), "other", Until::Latest)).end().await.unwrap();
        assert_same(&target.contents(), &world.oracle.contents(), "the one that created it");
    });
}

#[test]
fn a_collection_that_others_create_after_its_name_was_looked_at_is_not_filled() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        record_all(&mut world, &store).await;
        let target = Arc::new(MemoryTarget::new());
        replay(replayer(&store, target.clone(), "other", Until::Latest)).end().await.unwrap();
        let (before, looked) = (target.contents(), AtomicBool::new(false));
        insert(&mut world, 0, 0..20);
        record_all(&mut world, &store).await;
        let not_yet = move |id: Option<CollectionId>| id.filter(|_| looked.swap(true, Ordering::SeqCst));
        let late = Arc::new(Altered(WithIds(target.clone(), not_yet)));
        let error = replay(replayer(&store, late, "r", Until::Latest)).error().await;
        assert!(error.message.contains("default.docs already, which this replay did not create"), "{error}");
        assert_same(&target.contents(), &before, "as it was");
    });
}

/// The creation that would take it over may lie in the stretch that a crash leaves in doubt.
#[test]
fn a_collection_of_others_is_not_taken_over_wherever_the_replayer_dies() {
    let seed = seed();
    let inner = Arc::new(InMemory::new());
    process(async {
        let store = whole(&inner);
        let mut world = World::new(2, seed, Duplicates::Kept);
        for (at, name) in ["first", "docs"].into_iter().enumerate() {
            world.create(CollectionSpec::new(name));
            insert(&mut world, at, 0..20);
            record_all(&mut world, &store).await;
        }
    });
    is_refused_wherever_the_replayer_dies(&inner);
}

/// A commit has several segments; what each of them creates is looked at before anything of that one is sent.
#[test]
fn a_collection_of_others_is_not_taken_over_by_a_later_segment_of_a_commit() {
    let inner = process(async {
        let (log, mut world) = (Store::memory(), World::new(2, 0, Duplicates::Kept));
        let recording = open(&world, &log, Start::Earliest).await;
        for (at, name) in ["first", "docs"].into_iter().enumerate() {
            world.create(CollectionSpec::new(name));
            insert(&mut world, at, 0..20);
        }
        finish(&mut world, recording).await;
        in_pieces(&log, 1).await
    });
    is_refused_wherever_the_replayer_dies(&inner);
}

fn is_refused_wherever_the_replayer_dies(inner: &Arc<InMemory>) {
    let refused = |k: u64| {
        let target = Arc::new(MemoryTarget::new());
        let docs = CollectionName::new("default", "docs");
        let before = process(async {
            replay(replayer(&whole(inner), target.clone(), "other", Until::Latest)).end().await.unwrap();
            drop_collection(&target, "first").await;
            forget(&whole(inner), "other").await;
            target.contents().collections[&docs].clone()
        });
        let (store, calls) = faulty(inner, Fault::StopAfter(k));
        process(async {
            let mut first = replay(replayer(&store, target.clone(), "r", Until::Latest));
            tokio::select! {
                () = first.ended() => {}
                () = death(|| calls.load(Ordering::SeqCst) >= k) => {}
            }
        });
        process(async {
            let error = replay(replayer(&whole(inner), target.clone(), "r", Until::Latest)).error().await;
            assert!(
                error.to_string().contains("default.docs already, which this replay did not create"),
                "{k}: {error}"
            );
            assert_eq!(target.contents().collections[&docs], before, "call {k}");
            forget(&whole(inner), "r").await;
        });
        calls.load(Ordering::SeqCst) < k
    };
    let calls = (1..200).find(|k| refused(*k)).expect("an end");
    assert!(calls > 5, "only {calls} calls");
}

/// A run that ends within a commit looks at what the commit creates up to its end, the next one at the rest.
#[test]
fn a_run_is_not_stopped_by_what_comes_after_its_end_and_the_next_one_finds_it() {
    let seed = seed();
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        let recording = open(&world, &store, Start::Earliest).await;
        world.create(CollectionSpec::new("first"));
        insert(&mut world, 0, 0..20);
        let between = world.source.now();
        world.create(CollectionSpec::new("docs"));
        insert(&mut world, 1, 0..20);
        finish(&mut world, recording).await;
        let target = Arc::new(MemoryTarget::new());
        replay(replayer(&store, target.clone(), "other", Until::Latest)).end().await.unwrap();
        drop_collection(&target, "first").await;
        let docs = CollectionName::new("default", "docs");
        let theirs = target.contents().collections[&docs].clone();
        replay(replayer(&store, target.clone(), "r", Until::Tso(between))).end().await.unwrap();
        for _ in 0..2 {
            let error = replay(replayer(&store, target.clone(), "r", Until::Latest)).error().await;
            assert!(
                error.to_string().contains("default.docs already, which this replay did not create"),
                "{error}"
            );
            assert_eq!(target.contents().collections[&docs], theirs);
        }
        drop_collection(&target, "docs").await;
        replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.unwrap();
        assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
    });
}

#[test]
fn a_target_that_has_lost_a_collection_is_found_before_anything_is_applied() {
    let seed = seed();
    process(async {
        let (store, mut world) = recorded(seed).await;
        let target = Arc::new(MemoryTarget::new());
        replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.unwrap();
        drop_collection(&target, "docs").await;
        let left = target.contents();
        insert(&mut world, 0, 20..40);
        record_all(&mut world, &store).await;
        let error = replay(replayer(&store, target.clone(), "r", Until::Latest)).error().await;
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.to_string().contains("lacks default.docs"), "{error}");
        assert_same(&target.contents(), &left, &format!("seed {seed}"));
    });
}

/// A replication at work, whose only collection others have dropped at the target.
struct Stolen {
    store: Store,
    recording: Running<RecordProgress>,
    target: Arc<MemoryTarget>,
    replaying: Running<ReplayProgress>,
}

async fn stolen(world: &mut World) -> Stolen {
    world.create(CollectionSpec::new("docs"));
    let store = Store::memory();
    let mut recording = open(world, &store, Start::Earliest).await;
    recording.reach(settle(world)).await;
    let target = Arc::new(MemoryTarget::new());
    let mut replaying = replay(replayer(&store, target.clone(), "r", Until::Cancelled));
    replaying.reach(world.source.now()).await;
    drop_collection(&target, "docs").await;
    Stolen { store, recording, target, replaying }
}

/// Others put a collection of their own in the place of one that is replayed; then the source drops or renames its own.
fn replaced_during_a_run(then: impl Fn(&mut World)) {
    process(async {
        let mut world = World::new(1, 0, Duplicates::Kept);
        let Stolen { store, recording, target, replaying } = stolen(&mut world).await;
        replay(replayer(&store, target.clone(), "theirs", Until::Latest)).end().await.unwrap();
        let theirs = target.contents();
        then(&mut world);
        finish(&mut world, recording).await;
        let error = replaying.error().await;
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.message.contains("default.docs of the target is another one"), "{error}");
        assert_same(&target.contents(), &theirs, "as others left it");
        let error = replay(replayer(&store, target.clone(), "r", Until::Latest)).error().await;
        assert!(error.message.contains("default.docs of the target is another one"), "{error}");
        assert_same(&target.contents(), &theirs, "as others left it");
    });
}

#[test]
fn what_others_put_in_the_place_of_a_collection_goes_neither_with_a_drop_nor_with_a_rename() {
    replaced_during_a_run(|world| world.drop_collection(0));
    replaced_during_a_run(|world| world.rename(0, 1, "papers"));
}

#[test]
fn a_collection_that_others_have_dropped_is_no_hindrance_to_its_drop() {
    process(async {
        let mut world = World::new(1, 0, Duplicates::Kept);
        let Stolen { mut recording, target, mut replaying, .. } = stolen(&mut world).await;
        world.drop_collection(0);
        let to = settle(&mut world);
        recording.reach(to).await;
        replaying.reach(to).await;
        assert_same(&target.contents(), &world.oracle.contents(), "without it");
    });
}

/// A target whose collections have other ids.
struct WithIds<F>(Arc<MemoryTarget>, F);

#[async_trait]
impl<F> Alteration for WithIds<F>
where
    F: Fn(Option<CollectionId>) -> Option<CollectionId> + Send + Sync + 'static,
{
    fn target(&self) -> &MemoryTarget {
        &self.0
    }

    async fn id_of(&self, name: &CollectionName) -> Result<Option<CollectionId>> {
        Ok(self.1(self.0.id_of(name).await?))
    }
}

#[test]
fn rows_are_not_replayed_into_the_collection_that_they_come_from() {
    let seed = seed();
    process(async {
        let (store, world) = recorded(seed).await;
        let source = world.tables[0].id;
        let target = Arc::new(Altered(WithIds(Arc::new(MemoryTarget::new()), move |_| Some(source))));
        for _ in 0..2 {
            let error = replay(replayer(&store, target.clone(), "r", Until::Latest)).error().await;
            assert_eq!(error.verdict, Verdict::Operator, "{error}");
            assert!(error.to_string().contains("default.first of the target is the source's own"), "{error}");
        }
        assert_eq!(target.target().calls(), 0);
    });
}

#[test]
fn a_collection_created_again_by_others_while_nobody_replayed_is_found_before_anything_is_applied() {
    let seed = seed();
    process(async {
        let (store, mut world) = recorded(seed).await;
        let target = Arc::new(MemoryTarget::new());
        replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.unwrap();
        insert(&mut world, 0, 20..40);
        record_all(&mut world, &store).await;
        let left = target.contents();
        let recreated = |id: Option<CollectionId>| id.map(|id| id + 1);
        let other = Arc::new(Altered(WithIds(target.clone(), recreated)));
        let error = replay(replayer(&store, other, "r", Until::Latest)).error().await;
        assert!(error.to_string().contains("was dropped and created again by others"), "{error}");
        assert_same(&target.contents(), &left, &format!("seed {seed}"));
        replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.unwrap();
        assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
    });
}

fn empty(database: &str, name: &str) -> DefinitionChange {
    DefinitionChange::CreateCollection(new_collection(&CollectionName::new(database, name)))
}

#[test]
fn a_database_goes_only_if_this_replay_created_it_and_nothing_of_others_is_in_it() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        let database = world.create_database("shop");
        world.create(CollectionSpec { database, ..CollectionSpec::new("docs") });
        record_all(&mut world, &store).await;
        let before = world.oracle.last();
        world.drop_collection(0);
        world.drop_empty_database();
        world.create(CollectionSpec::new("later"));
        record_all(&mut world, &store).await;

        let (all, shop) =
            (Selection::default(), DefinitionChange::CreateDatabase { database: "shop".into() });
        let some = Selection::new(&["shop.docs".into(), "default.later".into()], &[]).unwrap();
        let renames = BTreeMap::from([("shop.docs".to_owned(), "copies.docs".to_owned())]);
        let renames = Renames::new(&renames, &some).unwrap();
        for (selection, renames, first, between, stays) in [
            (&some, renames, vec![shop.clone(), empty("shop", "docs")], vec![], true),
            (&all, Renames::default(), vec![shop], vec![], true),
            (&all, Renames::default(), vec![], vec![empty("shop", "theirs")], true),
            (&all, Renames::default(), vec![], vec![], false),
        ] {
            let target = Arc::new(MemoryTarget::new());
            for (theirs, until) in [(first, Until::Tso(before)), (between, Until::Latest)] {
                for change in theirs {
                    target.define(&change).await.unwrap();
                }
                let replayer = replayer(&store, target.clone(), "r", until);
                let (selection, renames) = (selection.clone(), renames.clone());
                replay(Replayer { selection, renames, ..replayer }).end().await.unwrap();
            }
            forget(&store, "r").await;
            let (contents, later) = (target.contents(), CollectionName::new("default", "later"));
            assert!(contents.collections.contains_key(&later));
            assert_eq!(contents.databases.contains("shop"), stays, "{contents:?}");
        }
    });
}
