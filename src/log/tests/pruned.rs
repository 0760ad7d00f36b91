//! Logs that begin with a base: who reads them, who goes on with them, and who comes too late.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use super::sample::{Replayed, commit, log_id, record, replay, source, take_base, tso};
use crate::error::{Error, Verdict};
use crate::log::commit::Sealed;
use crate::log::coverage::Coverage;
use crate::log::prune::{Keep, Report, prune};
use crate::log::reader::{Follower, LogReader};
use crate::log::store::Store;
use crate::log::timeline::{Entry, Part, timeline};
use crate::log::verify::{Scope, verify};
use crate::log::writer::LogWriter;
use crate::log::{inspect, layout};
use crate::position::Seq;
use crate::tick::Tso;
use bytes::Bytes;

/// Nothing before the newest base is kept.
pub const NOTHING: Keep = Keep { window: Duration::ZERO, bases: 1 };
/// Messages of the log below.
pub const MESSAGES: i64 = 10;

pub async fn pruned_with(store: &Store, keep: Keep) -> Report {
    prune(store.clone(), keep, false, |_| {}).await.unwrap()
}

/// Five commits of two messages each.
pub async fn recorded() -> Store {
    let store = Store::memory();
    record(&store, MESSAGES).await.unwrap();
    store
}

/// The same, pruned up to and including commit 3.
async fn pruned() -> Store {
    let store = recorded().await;
    take_base(&store, Seq(3)).await.unwrap();
    let report = pruned_with(&store, NOTHING).await;
    assert_eq!((report.raised, report.first_commit), (true, 4));
    assert_eq!((report.removed.commits, report.removed.segments, report.removed.catalogs), (3, 3, 2));
    store
}

async fn is_well(store: &Store) {
    let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap();
    assert_eq!((&report.damages, &report.orphans), (&vec![], &vec![]));
}

/// Who wants what was pruned is told so, and not of damage.
pub fn is_typed(error: &Error) {
    let Error { verdict, message, advice, .. } = error;
    let told = message.contains("was pruned: what lies below commit") && message.contains("is gone since");
    assert!(told && *verdict == Verdict::Refused && advice.is_some(), "{message}");
}

#[tokio::test]
async fn a_pruned_log_is_read_from_its_base_on() {
    let store = pruned().await;
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES));
    is_well(&store).await;
    let reader = LogReader::open(store.clone()).await.unwrap();
    assert_eq!((reader.last().await.unwrap(), reader.bases().await.unwrap()), (Seq(5), vec![Seq(3)]));

    let mut shown = Vec::new();
    let see = |row: inspect::Row| {
        shown.push(row.seq);
        Ok(())
    };
    inspect::ls(reader.clone(), Seq(0)..Seq(u64::MAX), see).await.unwrap();
    assert_eq!(shown, [4, 5]);
    let mut records = 0;
    let see = |_| {
        records += 1;
        Ok(())
    };
    inspect::cat(reader.clone(), Seq(0)..Seq(5), see).await.unwrap();
    assert_eq!(records, 2);

    let all = Part { from: Tso::ZERO, to: Tso::MAX, period: Duration::from_secs(3600) };
    for part in [all, Part { from: tso(6), ..all }, Part { from: tso(2), ..all }] {
        let (mut windows, mut source) = (Vec::new(), String::new());
        let show = |entry| {
            match entry {
                Entry::Window(span) => windows.push((span.from.tso, span.to.tso)),
                Entry::Log { queue, .. } => source = queue,
                Entry::Total(total) => assert_eq!(total.commits, 2),
                _ => {}
            }
            ready(Ok(()))
        };
        timeline(&reader, part, show, |_, _| {}).await.unwrap();
        assert_eq!((windows, source.as_str()), (vec![(tso(5).0, tso(9).0)], "kafka:abc"));
    }
    for scope in [Scope::Since(tso(1)), Scope::Since(tso(7)), Scope::After(Seq(1)), Scope::After(Seq(4))] {
        let report = verify(store.clone(), scope, |_, _| ready(())).await.unwrap();
        assert_eq!((report.damages, report.to), (vec![], 5), "{scope:?}");
        assert!(report.from >= 4, "{scope:?}");
    }
}

#[tokio::test]
async fn whoever_wants_what_was_pruned_is_told_what_is_gone_since_when_and_where_the_log_begins() {
    let (stale, store) = {
        let store = recorded().await;
        let stale = LogReader::open(store.clone()).await.unwrap();
        take_base(&store, Seq(3)).await.unwrap();
        pruned_with(&store, NOTHING).await;
        (stale, store)
    };
    let fresh = LogReader::open(store.clone()).await.unwrap();
    for reader in [stale, fresh] {
        for first in [1, 2, 3] {
            is_typed(&inspect::ls(reader.clone(), Seq(first)..Seq(9), |_| Ok(())).await.unwrap_err());
            is_typed(&inspect::cat(reader.clone(), Seq(first)..Seq(9), |_| Ok(())).await.unwrap_err());
            is_typed(&inspect::cat(reader.clone(), Seq(0)..Seq(first + 1), |_| Ok(())).await.unwrap_err());
        }
        for after in [1, 2] {
            is_typed(&Follower::after(reader.clone(), Seq(after)).await.unwrap_err());
            is_typed(&reader.existing(Seq(after)).await.unwrap_err());
        }
        let mut follower = Follower::after(reader.clone(), Seq(0)).await.unwrap();
        is_typed(&follower.next().await.unwrap_err());
        assert_eq!(reader.existing(Seq(3)).await.unwrap().seq(), Seq(3));
        assert_eq!(
            Follower::after(reader.clone(), Seq(3)).await.unwrap().next().await.unwrap().unwrap().seq(),
            Seq(4)
        );
        assert!(is_beyond(inspect::ls(reader, Seq(9)..Seq(10), |_| Ok(())).await));
    }
}

fn is_beyond(shown: Result<(), Error>) -> bool {
    shown.is_err_and(|error| error.verdict == Verdict::Usage && error.message.contains("ends at commit 5"))
}

#[tokio::test]
async fn a_reader_that_is_overtaken_is_told_so_and_finds_the_tail() {
    for read in 0..3u64 {
        let store = recorded().await;
        let reader = LogReader::open(store.clone()).await.unwrap();
        let mut follower = Follower::after(reader.clone(), Seq(0)).await.unwrap();
        let mut last: Option<Sealed> = None;
        for _ in 0..read {
            last = follower.next().await.unwrap();
        }
        take_base(&store, Seq(4)).await.unwrap();
        pruned_with(&store, NOTHING).await;
        is_typed(&follower.next().await.unwrap_err());
        if let Some(sealed) = last {
            let commit = &sealed.commit;
            is_typed(&reader.segment(&commit.segments[0]).await.unwrap_err());
            is_typed(&reader.catalog(commit.catalog.as_ref().unwrap()).await.unwrap_err());
        }
        assert_eq!(reader.tail().await.unwrap(), Some(Seq(5)), "after {read}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_slept_at_the_tail_does_not_take_what_was_pruned_for_the_tail() {
    let store = Store::memory();
    record(&store, 4).await.unwrap();
    let mut follower = Follower::after(LogReader::open(store.clone()).await.unwrap(), Seq(2)).await.unwrap();
    assert_eq!(follower.next().await.unwrap(), None);
    record(&store, 20).await.unwrap();
    take_base(&store, Seq(8)).await.unwrap();
    pruned_with(&store, NOTHING).await;
    // Neither the next commit nor the one after it is there.
    tokio::time::advance(Duration::from_secs(11)).await;
    is_typed(&follower.next().await.unwrap_err());
}

#[tokio::test]
async fn a_lost_commit_of_a_pruned_log_is_damage_all_the_same() {
    let store = pruned().await;
    store.delete(&layout::commit(Seq(4))).await.unwrap();
    let error = replay(&store).await.unwrap_err();
    assert!(error.message.contains("commits/00000000000000000004.pb is missing"), "{error}");
    let store = pruned().await;
    store.delete(&layout::base(Seq(3))).await.unwrap();
    let error = replay(&store).await.unwrap_err();
    assert!(error.message.contains("bases/00000000000000000003.pb is missing"), "{error}");
    let report = verify(store, Scope::Whole, |_, _| ready(())).await.unwrap();
    assert!(report.damages.iter().any(|damage| damage.object == layout::base(Seq(3))));
}

#[tokio::test]
async fn every_flipped_byte_of_a_pruned_log_is_found_and_named() {
    let store = pruned().await;
    let (mut checkpoints, _) = crate::log::checkpoint::Checkpoints::open(store.clone(), "a").await.unwrap();
    let log_id = log_id(&store).await;
    checkpoints.save(crate::pb::log::Checkpoint { log_id, ..Default::default() }).await.unwrap();
    let reader = LogReader::open(store.clone()).await.unwrap();
    crate::log::points::keep(&reader, "release", None, |_, _| {}).await.unwrap();
    is_well(&store).await;
    let (mut folders, mut objects) = (std::collections::BTreeSet::new(), 0);
    for (key, _) in store.list("", None).await.unwrap() {
        folders.extend(key.split_once('/').map(|(folder, _)| folder.to_owned()));
        objects += 1;
        let whole = store.get(&key).await.unwrap().unwrap();
        for at in 0..=whole.len() {
            // Each byte flipped, then the object cut.
            let mut damaged = whole.to_vec();
            match damaged.get_mut(at) {
                Some(byte) => *byte ^= 1 << (at % 8),
                None => damaged.truncate(at / 2),
            }
            store.put(&key, Bytes::from(damaged)).await.unwrap();
            let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap();
            let named = report.damages.iter().any(|damage| damage.object == key);
            assert!(named, "{key} at {at}: {:?}", report.damages);
        }
        let apart = ["readers/", "points/"].iter().any(|folder| key.starts_with(folder));
        assert!(apart || replay(&store).await.is_err_and(|error| error.message.contains(&key)), "{key}");
        store.put(&key, whole).await.unwrap();
    }
    let all = ["bases", "catalogs", "commits", "floor", "points", "readers", "segments"];
    assert_eq!((folders.iter().map(String::as_str).collect::<Vec<_>>(), objects), (all.to_vec(), 13));
}

#[tokio::test]
async fn a_log_of_which_nothing_but_a_base_is_left_is_gone_on_with() {
    let store = recorded().await;
    take_base(&store, Seq(5)).await.unwrap();
    pruned_with(&store, NOTHING).await;
    assert_eq!(store.list(layout::COMMITS, None).await.unwrap(), []);
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES));
    is_well(&store).await;
    assert_eq!(record(&store, 14).await.unwrap(), 2);
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(14));
    is_well(&store).await;
    assert_eq!(LogReader::open(store).await.unwrap().last().await.unwrap(), Seq(8));
}

#[tokio::test]
async fn a_writer_whose_slot_was_taken_and_pruned_while_it_slept_is_fenced_and_removes_nothing() {
    let store = Store::memory();
    let (mut asleep, _) = LogWriter::open(store.clone(), &source()).await.unwrap();
    commit(&mut asleep, 0, 2).await.unwrap();
    // Others fence it off, go on, and its slot is pruned.
    record(&store, MESSAGES).await.unwrap();
    take_base(&store, Seq(4)).await.unwrap();
    pruned_with(&store, NOTHING).await;
    let before = store.list("", None).await.unwrap();
    for _ in 0..2 {
        let error = commit(&mut asleep, 2, 4).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Fenced, "{error}");
    }
    let after = store.list("", None).await.unwrap();
    assert!(before.iter().all(|object| after.contains(object)));
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES));
    is_well(&store).await;
    // What it left is below the floor: the next prune takes it.
    let removed = pruned_with(&store, NOTHING).await.removed;
    assert_eq!((removed.commits, removed.segments, removed.catalogs), (1, 1, 1));
    assert_eq!(store.list("", None).await.unwrap(), before);
}

#[tokio::test]
async fn a_commit_that_a_sleeping_writer_has_put_into_the_slot_of_the_base_is_not_taken_for_the_pruned_one() {
    let store = Store::memory();
    let (mut asleep, _) = LogWriter::open(store.clone(), &source()).await.unwrap();
    commit(&mut asleep, 0, 2).await.unwrap();
    record(&store, MESSAGES).await.unwrap();
    let base = take_base(&store, Seq(2)).await.unwrap();
    let stale = LogReader::open(store.clone()).await.unwrap();
    pruned_with(&store, NOTHING).await;
    assert_eq!(commit(&mut asleep, 2, 4).await.unwrap_err().verdict, Verdict::Fenced);
    assert!(store.exists(&layout::commit(Seq(2))).await.unwrap());
    stale.floors().look().await.unwrap();
    for reader in [stale, LogReader::open(store.clone()).await.unwrap()] {
        assert_eq!(reader.existing(Seq(2)).await.unwrap(), base.after);
        let mut follower = Follower::after(reader, Seq(2)).await.unwrap();
        assert_eq!(follower.next().await.unwrap().unwrap().seq(), Seq(3));
    }
    assert_eq!(replay(&store).await.unwrap(), Replayed::all(MESSAGES));
    let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap();
    assert_eq!(report.damages, []);
}

#[tokio::test]
async fn the_windows_of_a_pruned_log_begin_with_its_base_however_they_are_folded() {
    let store = pruned().await;
    let reader = LogReader::open(store).await.unwrap();
    let base = reader.beginning().await.unwrap().unwrap();
    let coverage = Coverage::after(&base);
    assert!(coverage.holds(tso(5)) && !coverage.holds(tso(4)) && !coverage.holds(tso(6)));
}

#[tokio::test]
async fn two_who_read_one_log_share_what_they_see_of_its_floor() {
    let store = recorded().await;
    let reader = Arc::new(LogReader::open(store.clone()).await.unwrap());
    assert_eq!(reader.floors().seen(), None);
    take_base(&store, Seq(2)).await.unwrap();
    pruned_with(&store, NOTHING).await;
    let other = LogReader::clone(&reader);
    assert_eq!(other.floors().look().await.unwrap().unwrap().first_seq, 3);
    assert_eq!(reader.floors().seen().unwrap().first_seq, 3);
}
