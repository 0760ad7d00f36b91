//! A plan says what a replay to an instant would do, and changes nothing.

use std::sync::Arc;

use tapedeck::change::{CollectionName, DefinitionChange};
use tapedeck::error::Verdict;
use tapedeck::log::commit;
use tapedeck::log::layout;
use tapedeck::log::reader::LogReader;
use tapedeck::log::store::Store;
use tapedeck::pb::log::{Commit, Hole};
use tapedeck::recorder::Start;
use tapedeck::replayer::{Depth, Plan, Replayer, Until};
use tapedeck::selection::Selection;
use tapedeck::source::memory::CollectionSpec;
use tapedeck::target::Target;
use tapedeck::target::memory::{Contents, Fault, MemoryTarget};
use tapedeck::tick::Tso;

use super::doomed::Doomed;
use super::stage::{
    finish, forget, new_collection, open, process, record_all, replay, replayer, seed, settle,
};
use super::world::{Duplicates, World};

/// Records random work. Returns when the log opens, and its watermarks at which the source was quiet.
async fn recorded(world: &mut World, store: &Store) -> (Tso, Vec<Tso>) {
    world.work(30);
    let mut recording = open(world, store, Start::Earliest).await;
    let opens_at = recording.progress.borrow().opens_at;
    let mut quiet = Vec::new();
    for _ in 0..4 {
        world.work(40);
        let to = settle(world);
        recording.reach(to).await;
        quiet.push(to);
    }
    finish(world, recording).await;
    (opens_at, quiet)
}

async fn objects(store: &Store) -> Vec<(String, u64)> {
    store.list("", None).await.unwrap()
}

fn names(contents: &Contents) -> Vec<String> {
    contents.collections.keys().map(CollectionName::to_string).collect()
}

fn planned(plan: &Plan) -> Vec<String> {
    let mut names = plan.collections.iter().map(|planned| planned.target.clone()).collect::<Vec<_>>();
    names.sort_unstable();
    names
}

#[test]
fn a_plan_changes_nothing_and_counts_what_the_replay_then_does() {
    let first = seed();
    for seed in (0..6).map(|number| first.wrapping_add(number)) {
        process(async {
            let (store, mut world) = (Store::memory(), World::new(2, seed, Duplicates::Kept));
            let (_, quiet) = recorded(&mut world, &store).await;
            for to in quiet {
                let (target, before) = (Arc::new(MemoryTarget::new()), objects(&store).await);
                let replayer = || replayer(&store, target.clone(), "r", Until::Tso(to));
                let plan = replayer().plan(to, Depth::Rows, |_, _| {}).await.unwrap();
                assert_eq!((target.calls(), objects(&store).await), (0, before));
                assert_eq!((planned(&plan), plan.conflicts.len()), (names(&world.oracle.at(to)), 0));
                let replaying = replay(replayer());
                let progress = replaying.progress.clone();
                replaying.end().await.unwrap();
                let done = progress.borrow().clone();
                assert_eq!(plan.inserted, done.rows.inserted + done.rows.upserted, "seed {seed}, to {to}");
                assert!(
                    plan.deleted >= done.rows.deleted && plan.bytes == done.bytes,
                    "seed {seed}, to {to}"
                );
                let again = replayer().plan(to, Depth::Rows, |_, _| {}).await.unwrap();
                assert!(again.done && again.commits == 0 && again.conflicts.is_empty(), "{again:?}");
                forget(&store, "r").await;
            }
        });
    }
}

#[test]
fn a_plan_names_everything_that_is_in_the_way_at_once_and_so_does_what_follows_a_replay() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, 0, Duplicates::Kept));
        for name in ["docs", "first", "free"] {
            world.create(CollectionSpec::new(name));
            let partition = world.tables.last().unwrap().default_partition();
            world.insert(world.tables.len() - 1, partition, &[1, 2]);
        }
        record_all(&mut world, &store).await;
        world.rename(1, 1, "second");
        record_all(&mut world, &store).await;
        let to = world.oracle.last();
        let target = Arc::new(MemoryTarget::new());
        replay(replayer(&store, target.clone(), "other", Until::Latest)).end().await.unwrap();
        let dropped = CollectionName::new("default", "free");
        target.define(&DefinitionChange::DropCollection { name: dropped }).await.unwrap();
        let (calls, before) = (target.calls(), objects(&store).await);
        let plan = replayer(&store, target.clone(), "r", Until::Tso(to))
            .plan(to, Depth::Definitions, |_, _| {})
            .await;
        let said = plan.unwrap().conflicts.into_iter().map(|conflict| conflict.message).collect::<Vec<_>>();
        assert_eq!((target.calls(), objects(&store).await), (calls, before));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("default.docs") && said[1].contains("default.second"), "{said:?}");
    });
}

#[test]
fn a_name_or_an_alias_that_others_have_in_the_target_is_found_before_anything_is_sent() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        record_all(&mut world, &store).await;
        world.set_alias(0, "x");
        record_all(&mut world, &store).await;
        world.create(CollectionSpec::new("later"));
        record_all(&mut world, &store).await;
        world.rename(1, 1, "at_last");
        record_all(&mut world, &store).await;
        let to = world.oracle.last();
        for taken in ["x", "later", "at_last"] {
            let target = Arc::new(MemoryTarget::new());
            let theirs = CollectionName::new("default", "theirs");
            let others = [
                DefinitionChange::CreateCollection(new_collection(&theirs)),
                DefinitionChange::CreateAlias { name: theirs.clone(), alias: taken.to_owned() },
            ];
            for change in others {
                target.define(&change).await.unwrap();
            }
            let replayer = || replayer(&store, target.clone(), "r", Until::Tso(to));
            let plan = replayer().plan(to, Depth::Definitions, |_, _| {}).await.unwrap();
            let says = format!("default.{taken} is an alias of theirs");
            assert_eq!(plan.conflicts.len(), 1, "{plan:?}");
            assert!(plan.conflicts[0].message.contains(&says), "{plan:?}");
            let error = replay(replayer()).error().await;
            assert!(error.message.contains(&says), "{error}");
            let alias = ("default".to_owned(), taken.to_owned());
            assert_eq!(target.contents().aliases.get(&alias), Some(&theirs));
            forget(&store, "r").await;
        }
    });
}

#[test]
fn a_plan_says_whether_the_log_has_anything_that_is_selected() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        record_all(&mut world, &store).await;
        world.drop_collection(0);
        record_all(&mut world, &store).await;
        let to = world.oracle.last();
        for (pattern, matches) in [("default.docs", true), ("default.typo", false)] {
            let selection = Selection::new(&[pattern.to_owned()], &[]).unwrap();
            let target = Arc::new(MemoryTarget::new());
            let replayer = Replayer { selection, ..replayer(&store, target, "r", Until::Tso(to)) };
            let plan = replayer.plan(to, Depth::Definitions, |_, _| {}).await.unwrap();
            assert_eq!(plan.matches, matches, "{pattern}");
        }
    });
}

#[test]
fn what_a_finished_replay_brought_and_the_target_has_lost_is_named() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(1, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        record_all(&mut world, &store).await;
        let reader = LogReader::open(store.clone()).await.unwrap();
        let tail = reader.tail().await.unwrap().unwrap();
        let to = Tso(reader.commit(tail).await.unwrap().unwrap().commit.watermark);
        replay(replayer(&store, Arc::new(MemoryTarget::new()), "r", Until::Tso(to))).end().await.unwrap();
        let emptied = replayer(&store, Arc::new(MemoryTarget::new()), "r", Until::Tso(to));
        let plan = emptied.plan(to, Depth::Definitions, |_, _| {}).await.unwrap();
        assert!(plan.done && plan.conflicts.len() == 1, "{plan:?}");
        assert!(plan.conflicts[0].message.contains("the target lacks default.docs"), "{plan:?}");
    });
}

#[test]
fn what_a_replay_that_died_has_brought_is_not_in_its_own_way() {
    let (store, mut world) = (Store::memory(), World::new(2, seed(), Duplicates::Avoided));
    let (_, quiet) = process(recorded(&mut world, &store));
    let to = *quiet.last().unwrap();
    for at in 1..60 {
        let target = Arc::new(MemoryTarget::new());
        let doomed = Doomed::new(&target, at, Fault::After);
        process(async {
            let replaying = replay(replayer(&store, doomed.clone(), "r", Until::Tso(to)));
            let dead = async {
                while !doomed.is_dead() {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            };
            tokio::select! { _ = replaying.end() => {}, () = dead => {} }
        });
        process(async {
            let plan = replayer(&store, target.clone(), "r", Until::Tso(to))
                .plan(to, Depth::Definitions, |_, _| {})
                .await;
            assert_eq!(plan.unwrap().conflicts, [], "dead at call {at}");
            forget(&store, "r").await;
        });
    }
}

/// Adds a commit that records a hole. Returns its watermark.
async fn add_hole(store: &Store) -> Tso {
    let reader = LogReader::open(store.clone()).await.unwrap();
    let last = reader.commit(reader.tail().await.unwrap().unwrap()).await.unwrap().unwrap();
    let mut channels = last.commit.channels.clone();
    for range in &mut channels {
        (range.start, range.opened) = (range.end, false);
    }
    let range = &mut channels[0];
    let mut start = range.end.unwrap();
    start.offset += 5;
    let hole = Hole {
        channel: range.channel.clone(),
        start: range.end,
        end: Some(start),
        reason: "retention".into(),
    };
    (range.start, range.end) = (Some(start), Some(start));
    let next = Commit {
        seq: last.commit.seq + 1,
        previous_digest: last.digest.to_vec().into(),
        segments: vec![],
        channels,
        watermark: last.commit.watermark + 1000,
        holes: vec![hole],
        fence: false,
        ..last.commit.clone()
    };
    let (bytes, sealed) = commit::seal(next);
    commit::follows(Some(&last), &sealed.commit).unwrap();
    store.put(&layout::commit(sealed.seq()), bytes).await.unwrap();
    Tso(sealed.commit.watermark)
}

#[test]
fn an_instant_that_the_log_does_not_hold_is_refused_with_the_window_that_there_is() {
    process(async {
        let (store, mut world) = (Store::memory(), World::new(2, 0, Duplicates::Kept));
        let (opens_at, _) = recorded(&mut world, &store).await;
        let reader = LogReader::open(store.clone()).await.unwrap();
        let tail = reader.tail().await.unwrap().unwrap();
        let ends_at = Tso(reader.commit(tail).await.unwrap().unwrap().commit.watermark);
        let beyond_hole = async |store: &Store| add_hole(store).await;
        let target = Arc::new(MemoryTarget::new());
        let plan = async |to: Tso| {
            replayer(&store, target.clone(), "r", Until::Tso(to))
                .plan(to, Depth::Definitions, |_, _| {})
                .await
        };
        for to in [opens_at, ends_at] {
            plan(to).await.unwrap();
        }
        let outside = async |to: Tso, says: &str| {
            let error = plan(to).await.unwrap_err();
            assert_eq!(error.verdict, Verdict::Refused, "{error}");
            assert!(error.message.contains(says), "{error}");
            let window = format!("from {} ({opens_at}) to {} ({ends_at})", opens_at.time(), ends_at.time());
            assert!(error.advice.as_ref().unwrap().contains(&window), "{:?}", error.advice);
        };
        outside(Tso(opens_at.0 - 1), "the log opens at").await;
        outside(ends_at.next(), "the log ends at").await;
        outside(Tso::MAX, "the log ends at").await;
        let in_hole = beyond_hole(&store).await;
        plan(ends_at).await.unwrap();
        outside(in_hole, "a hole on channel").await;
        outside(in_hole.next(), "the log ends at").await;
        assert_eq!((target.calls(), store.list("readers", None).await.unwrap()), (0, vec![]));
    });
}
