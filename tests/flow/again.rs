//! What is sent again goes out as upserts only where it may be in the target already: duplicates of a source stay
//! exact elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tapedeck::change::{CollectionName, RowChange};
use tapedeck::error::{Error, Result};
use tapedeck::log::store::Store;
use tapedeck::replayer::Until;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::MemoryTarget;
use tapedeck::target::{Mode, Target};

use super::altered::{Alteration, Altered};
use super::oracle::assert_same;
use super::stage::{process, record_all, replay, replayer, seed};
use super::world::{Duplicates, World};

/// A target that refuses every second write before it has done anything.
struct Refusing {
    inner: Arc<MemoryTarget>,
    calls: AtomicU64,
}

#[async_trait]
impl Alteration for Refusing {
    fn target(&self) -> &MemoryTarget {
        &self.inner
    }

    async fn write(&self, collection: &CollectionName, change: &RowChange, mode: Mode) -> Result<()> {
        match self.calls.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Err(Error::retry("the limit of the rate is reached").untouched()),
            _ => self.inner.write(collection, change, mode).await,
        }
    }
}

#[test]
fn a_refusal_that_did_nothing_costs_no_duplicate() {
    let seed = seed();
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        let partition = world.tables[0].default_partition();
        for _ in 0..3 {
            world.insert(0, partition, &[1, 2, 3]);
            record_all(&mut world, &store).await;
        }
        let inner = Arc::new(MemoryTarget::new());
        for _ in 0..2 {
            world.insert(0, partition, &[1, 2, 3]);
            record_all(&mut world, &store).await;
            let target = Arc::new(Altered(Refusing { inner: inner.clone(), calls: AtomicU64::new(0) }));
            replay(replayer(&store, target, "r", Until::Latest)).end().await.unwrap();
            assert_same(&inner.contents(), &world.oracle.contents(), &format!("seed {seed}"));
        }
    });
}

/// A crash so many seconds after the replayer has come up with the log, and then a key that is inserted once more:
/// while nobody replays, or after the next replayer has seen where the log ends.
fn doubled_after_a_crash(idle: u64, while_down: bool) {
    let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
    let target = Arc::new(MemoryTarget::new());
    world.create(CollectionSpec::new("docs"));
    let partition = world.tables[0].default_partition();
    let tailing = || replay(replayer(&store, target.clone(), "r", Until::Cancelled));
    world.insert(0, partition, &[1]);
    process(async {
        record_all(&mut world, &store).await;
        let mut replaying = tailing();
        replaying.reach(world.source.now()).await;
        tokio::time::sleep(Duration::from_secs(idle)).await;
        assert!(!replaying.has_ended());
    });
    let again = async |world: &mut World| {
        world.insert(0, partition, &[1]);
        record_all(world, &store).await;
    };
    process(async {
        if while_down {
            again(&mut world).await;
        }
        let mut replaying = tailing();
        if !while_down {
            tokio::time::sleep(Duration::from_secs(5)).await;
            again(&mut world).await;
        }
        replaying.reach(world.source.now()).await;
    });
    let what = format!("idle for {idle} s, while down: {while_down}");
    assert_same(&target.contents(), &world.oracle.contents(), &what);
}

#[test]
fn after_a_crash_the_rows_that_no_log_held_then_are_as_good_as_new() {
    for idle in [0, 5] {
        for while_down in [false, true] {
            doubled_after_a_crash(idle, while_down);
        }
    }
}
