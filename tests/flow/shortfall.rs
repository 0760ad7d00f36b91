//! What a target cannot do as it was asked, and what a person should know of its collections, is said.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tapedeck::change::{CollectionName, DefinitionChange};
use tapedeck::error::Result;
use tapedeck::log::store::Store;
use tapedeck::progress::ReplayProgress;
use tapedeck::recorder::Start;
use tapedeck::replayer::{Depth, Until};
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::MemoryTarget;
use tapedeck::target::{Shortfall, Target};
use tapedeck::tick::Tso;

use super::altered::{Alteration, Altered};
use super::stage::{finish, open, process, replay, replayer, settle};
use super::world::{Duplicates, World};

const TTL: &str = "collection.ttl.seconds";

/// A target that removes no properties and has one query node.
#[derive(Default)]
struct Small(MemoryTarget);

#[async_trait]
impl Alteration for Small {
    fn target(&self) -> &MemoryTarget {
        &self.0
    }

    async fn define(&self, change: &DefinitionChange) -> Result<Option<Shortfall>> {
        match change {
            DefinitionChange::AlterCollection { removed, .. } if !removed.is_empty() => {
                Ok(Some(Shortfall::Lacks(format!("cannot remove {}", removed.join(", ")))))
            }
            DefinitionChange::Load { name, .. } => {
                self.0.define(change).await?;
                Ok(Some(Shortfall::Note(format!("{name}: one replica"))))
            }
            _ => self.0.define(change).await,
        }
    }
}

/// `docs`, which is loaded and whose rows expire, and what is done with it then.
async fn recorded(store: &Store, then: impl FnOnce(&mut World)) -> World {
    let mut world = World::new(1, 0, Duplicates::Kept);
    world.create(CollectionSpec::new("docs"));
    let docs = world.tables[0].id;
    world.create_index(0);
    world.load(0);
    let mut recording = open(&world, store, Start::Earliest).await;
    recording.reach(settle(&mut world)).await;
    world.source.alter_collection(docs, TTL, "60");
    recording.reach(settle(&mut world)).await;
    then(&mut world);
    finish(&mut world, recording).await;
    world
}

/// What a replay of the whole log shows in the end.
async fn shown(store: &Store, target: Arc<dyn Target>) -> ReplayProgress {
    let replaying = replay(replayer(store, target, "reader", Until::Latest));
    let progress = replaying.progress.clone();
    replaying.end().await.expect("a replay to its end");
    progress.borrow().clone()
}

/// Removes the time to live: the source's other properties are all that is left.
fn without_ttl(world: &mut World) {
    world.source.alter_collection(world.tables[0].id, "mmap.enabled", "true");
}

#[test]
fn a_property_that_the_source_removes_goes_at_the_target() {
    process(async {
        let store = Store::memory();
        recorded(&store, without_ttl).await;
        let target = Arc::new(MemoryTarget::new());
        let progress = shown(&store, target.clone()).await;
        let docs = &target.contents().collections[&CollectionName::new("default", "docs")];
        assert_eq!(docs.properties, BTreeMap::from([("mmap.enabled".to_owned(), "true".to_owned())]));
        assert_eq!(progress.incomplete, None);
    });
}

#[test]
fn what_a_target_cannot_do_as_it_was_asked_is_said_and_said_again_after_a_restart() {
    process(async {
        let store = Store::memory();
        recorded(&store, without_ttl).await;
        let target = Arc::new(Altered::<Small>::default());
        for _ in 0..2 {
            let progress = shown(&store, target.clone()).await;
            let (since, what) = progress.incomplete.expect("something that it lacks");
            assert!(since > Tso::BASE && what == [format!("cannot remove {TTL}")], "{since}: {what:?}");
            assert_eq!(progress.notes, ["default.docs: one replica"]);
        }
    });
}

#[test]
fn a_collection_whose_rows_expire_is_named_until_it_is_gone() {
    process(async {
        let store = Store::memory();
        let mut world = recorded(&store, |_| {}).await;
        let target = Arc::new(MemoryTarget::new());
        for _ in 0..2 {
            let ReplayProgress { notes, log_to, .. } = shown(&store, target.clone()).await;
            assert!(notes.len() == 1 && notes[0].starts_with("default.docs: its rows expire"), "{notes:?}");
            let plan = replayer(&store, Arc::new(MemoryTarget::new()), "planner", Until::Latest);
            let plan = plan.plan(log_to, Depth::Definitions, |_, _| {}).await.expect("a plan");
            assert_eq!(plan.notes, notes);
        }
        let recording = open(&world, &store, Start::Earliest).await;
        world.drop_collection(0);
        finish(&mut world, recording).await;
        assert_eq!(shown(&store, target).await.notes, Vec::<String>::new());
    });
}
