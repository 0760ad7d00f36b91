//! Replays of a log that is pruned.

use std::sync::Arc;
use std::time::Duration;

use tapedeck::error::Verdict;
use tapedeck::log::base::{self, Base};
use tapedeck::log::layout;
use tapedeck::log::prune::{Keep, Report, prune};
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::position::Seq;
use tapedeck::replayer::Until;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::memory::MemoryTarget;

use super::oracle::assert_same;
use super::stage::{process, record_all, replay, replayer, seed};
use super::world::{Duplicates, World};

async fn last(store: &Store) -> Seq {
    LogReader::open(store.clone()).await.expect("a log").last().await.expect("its end")
}

/// Prunes everything up to a commit, as if its base were there.
async fn prune_up_to(store: &Store, seq: Seq) -> Report {
    let reader = LogReader::open(store.clone()).await.expect("a log");
    let after = reader.existing(seq).await.expect("a commit");
    let base = Base { after, segments: vec![], wall_time_ms: 0 };
    store.put(&layout::base(seq), base::seal(reader.log_id(), &base)).await.expect("a put");
    let keep = Keep { window: Duration::ZERO, bases: 1 };
    prune(store.clone(), keep, false, |_| {}).await.expect("a prune")
}

#[test]
fn a_replay_goes_on_above_the_floor_and_holds_the_floor_below() {
    let seed = seed();
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        let partition = world.tables[0].default_partition();
        let target = Arc::new(MemoryTarget::new());
        let mut stands_at = Seq(0);
        for keys in [[1, 2, 3], [3, 4, 5], [5, 6, 7]] {
            world.insert(0, partition, &keys);
            record_all(&mut world, &store).await;
            let end = last(&store).await;
            if stands_at > Seq(0) {
                let report = prune_up_to(&store, end).await;
                assert!(!report.raised && report.in_the_way[0].contains("reader r stands at"), "{report:?}");
                store.delete(&layout::base(end)).await.expect("a delete");
                assert!(prune_up_to(&store, stands_at).await.raised);
            }
            replay(replayer(&store, target.clone(), "r", Until::Latest)).end().await.expect("its end");
            assert_same(&target.contents(), &world.oracle.contents(), &format!("seed {seed}"));
            stands_at = end;
        }
    });
}

#[test]
fn a_replay_of_what_was_pruned_is_refused_and_leaves_no_position() {
    let seed = seed();
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        let before = world.source.tick();
        record_all(&mut world, &store).await;
        assert!(prune_up_to(&store, last(&store).await).await.raised);
        for until in [Until::Latest, Until::Cancelled, Until::Tso(before)] {
            let target = Arc::new(MemoryTarget::new());
            let error = replay(replayer(&store, target, "late", until)).error().await;
            let typed = error.verdict == Verdict::Refused && error.message.contains("commit 1 was pruned");
            assert!(typed, "{until:?}: {error}");
            assert_eq!(store.list(layout::READERS, None).await.expect("a listing"), []);
        }
    });
}
