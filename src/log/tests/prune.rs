//! Prunes that are stopped, that meet others, and that have something in their way.

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::poll_immediate;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::pruned::{NOTHING, is_typed, pruned_with};
use super::sample::{Replayed, commit, log_id, record, replay, source, take_base, tso};
use crate::error::{Error, Result, Verdict};
use crate::log::checkpoint::Checkpoints;
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::log::floor;
use crate::log::layout::{self, Named};
use crate::log::points;
use crate::log::prune::{Keep, Removed, Report, prune};
use crate::log::reader::{Follower, LogReader};
use crate::log::store::Store;
use crate::log::verify::{Scope, verify};
use crate::log::writer::LogWriter;
use crate::pb::log as pb;
use crate::position::Seq;
use crate::tick::Tso;

/// Eight commits of two messages each: commit n goes up to `tso(2n - 1)`.
const MESSAGES: i64 = 16;
/// Up to the base of commit 4 of three.
pub const KEEP: Keep = Keep { window: Duration::from_millis(8), bases: 2 };
/// Keys that are none of the log's.
const STRANGE: [&str; 5] =
    ["commits/1.pb", "segments/1-1.seg", "catalogs/notes.txt", "bases/0/x.seg", "archive/manifests/1.pb"];

fn keep(millis: u64) -> Keep {
    Keep { window: Duration::from_millis(millis), bases: 1 }
}

/// Two stores of the log below: the first with a fault, at which its users take turns.
pub async fn stores(fault: Fault) -> (Store, Store, Arc<AtomicU64>) {
    copies(&*filled().await, fault)
}

async fn filled() -> Arc<InMemory> {
    let inner = Arc::new(InMemory::new());
    fill(&Store::new(inner.clone(), Path::from("a/log"), "memory://".into())).await;
    inner
}

fn copies(filled: &InMemory, fault: Fault) -> (Store, Store, Arc<AtomicU64>) {
    let inner = Arc::new(filled.fork());
    let faulty = FaultyStore::new(inner.clone(), fault);
    let calls = faulty.calls();
    let store = |inner| Store::new(inner, Path::from("a/log"), "memory://".into());
    (store(Arc::new(faulty)), store(inner), calls)
}

/// The log, pruned once to the base of commit 2, with bases of 4 and 6, what crashed writers have left, and strange keys.
async fn fill(store: &Store) {
    record(store, MESSAGES).await.unwrap();
    for seq in [2, 4, 6] {
        take_base(store, Seq(seq)).await.unwrap();
    }
    let lost = Bytes::from_static(b"lost");
    for seq in [1, 3, 9] {
        let named = Named::new(1, Seq(seq), &[7; 32]);
        store.put(&layout::segment(named), lost.clone()).await.unwrap();
        store.put(&layout::catalog(named), lost.clone()).await.unwrap();
    }
    store.put(&layout::base_segment(Seq(3), &[7; 32]), lost.clone()).await.unwrap();
    for key in STRANGE {
        store.put(key, lost.clone()).await.unwrap();
    }
    let report = pruned_with(store, keep(12)).await;
    assert_eq!((report.raised, report.first_commit), (true, 3));
}

async fn stand_at(store: &Store, reader: &str, ack: u64) {
    let (mut checkpoints, last) = Checkpoints::open(store.clone(), reader).await.unwrap();
    let ack = Some(pb::LogPosition { seq: ack, ..Default::default() });
    let log_id = log_id(store).await;
    checkpoints.save(pb::Checkpoint { ack, log_id, ..last.unwrap_or_default() }).await.unwrap();
}

async fn keys(store: &Store) -> Vec<String> {
    store.list("", None).await.unwrap().into_iter().map(|(key, _)| key).collect()
}

/// What a restore to an instant gives: from the newest base that is not later, or from the first commit.
async fn restored(store: &Store, until: Tso) -> Result<Replayed> {
    let reader = LogReader::open(store.clone()).await?;
    let mut newest = None;
    for seq in reader.bases().await? {
        let base = reader.base(seq).await?.expect("a base");
        newest = if base.watermark() <= until { Some(base) } else { newest };
    }
    let mut replayed = Replayed::default();
    let from = newest.as_ref().map_or(Seq(0), |base| base.seq());
    let mut follower = Follower::after(reader, from).await?;
    if let Some(base) = newest {
        replayed.take(follower.reader(), &base.as_commit()).await?;
    }
    while let Some(sealed) = follower.next().await? {
        if sealed.commit.watermark > until.0 {
            break;
        }
        replayed.take(follower.reader(), &sealed.commit).await?;
    }
    Ok(replayed)
}

/// Everything in the window can be restored, and nothing of the log is damaged.
async fn is_whole(store: &Store, from: i64, what: &str) {
    for last in (from..MESSAGES).step_by(2) {
        assert_eq!(restored(store, tso(last)).await.unwrap(), Replayed::all(last + 1), "{what}: to {last}");
    }
    let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap();
    assert_eq!(report.damages, [], "{what}");
}

#[tokio::test]
async fn wherever_a_prune_is_stopped_the_window_is_whole_and_the_next_one_ends_it() {
    let filled = filled().await;
    let (counting, store, calls) = copies(&filled, Fault::None);
    let report = prune(counting, KEEP, false, |_| {}).await.unwrap();
    assert_eq!((report.raised, report.first_commit, report.in_the_way.len()), (true, 5, 0));
    let removed =
        Removed { commits: 2, segments: 3, catalogs: 3, bases: 1, base_segments: 2, ..Removed::default() };
    assert_eq!(report.removed, removed);
    let (end, calls) = (keys(&store).await, calls.load(Ordering::SeqCst));
    assert!(STRANGE.iter().all(|key| end.contains(&key.to_string())) && calls > 30, "{calls}");
    for k in 1..=calls {
        for fault in [Fault::StopBefore(k), Fault::StopAfter(k), Fault::FailOnce(k), Fault::LoseAnswer(k)] {
            let (dying, store, _) = copies(&filled, fault);
            let died = prune(dying, KEEP, false, |_| {}).await;
            assert!(died.is_err() || matches!(fault, Fault::FailOnce(_) | Fault::LoseAnswer(_)), "{fault:?}");
            is_whole(&store, 7, &format!("{fault:?}")).await;
            pruned_with(&store, KEEP).await;
            assert_eq!(keys(&store).await, end, "{fault:?}");
            is_whole(&store, 7, &format!("{fault:?}, pruned again")).await;
        }
    }
}

#[tokio::test]
async fn a_dry_run_counts_what_would_go_and_changes_nothing() {
    let (_, store, _) = stores(Fault::None).await;
    let before = keys(&store).await;
    let dry = prune(store.clone(), KEEP, true, |_| {}).await.unwrap();
    assert_eq!(keys(&store).await, before);
    let done = pruned_with(&store, KEEP).await;
    assert_eq!(dry, Report { dry_run: true, ..done });
    let dry = prune(store.clone(), KEEP, true, |_| {}).await.unwrap();
    assert_eq!((dry.raised, dry.removed), (false, Removed::default()));
}

#[tokio::test]
async fn nothing_goes_that_a_replayer_or_a_restore_point_needs_and_it_says_who() {
    let (_, store, _) = stores(Fault::None).await;
    let before = keys(&store).await;
    let reader = LogReader::open(store.clone()).await.unwrap();
    stand_at(&store, "slow", 3).await;
    let report = pruned_with(&store, KEEP).await;
    assert!(
        report.held && report.in_the_way[0].contains("reader slow needs what follows commit 3"),
        "{report:?}"
    );
    stand_at(&store, "slow", 4).await;
    points::keep(&reader, "before", Some(tso(6)), |_, _| {}).await.unwrap();
    let report = pruned_with(&store, KEEP).await;
    assert!(report.held && report.in_the_way[0].contains("restore point before is at"), "{report:?}");
    points::release(&reader, "before").await.unwrap();
    for (keep, says) in [(Keep { bases: 3, ..KEEP }, "3 are to be kept"), (keep(9), "older than the window")]
    {
        let report = pruned_with(&store, keep).await;
        assert!(!report.raised && report.in_the_way[0].contains(says), "{report:?}");
        assert!(!report.held, "{report:?}");
    }
    let now = keys(&store).await;
    assert!(before.iter().all(|key| now.contains(key)));
    points::keep(&reader, "at_the_base", Some(tso(7)), |_, _| {}).await.unwrap();
    assert_eq!(pruned_with(&store, KEEP).await.first_commit, 5);
    assert!(restored(&store, tso(7)).await.is_ok());
}

#[tokio::test]
async fn a_replay_that_has_come_to_its_end_holds_nothing() {
    let (_, store, _) = stores(Fault::None).await;
    let (mut checkpoints, _) = Checkpoints::open(store.clone(), "restore").await.unwrap();
    let log_id = log_id(&store).await;
    let at = |applied_tso| {
        let log_id = log_id.clone();
        pb::Checkpoint { log_id, applied_tso, intent_tso: tso(6).0, ..Default::default() }
    };
    checkpoints.save(at(tso(5).0)).await.unwrap();
    assert!(!pruned_with(&store, KEEP).await.raised);
    checkpoints.save(at(tso(6).0)).await.unwrap();
    assert!(pruned_with(&store, KEEP).await.raised);
}

#[tokio::test]
async fn what_cannot_be_read_may_be_needed_and_stops_a_prune_with_its_name() {
    let (_, whole, _) = stores(Fault::None).await;
    stand_at(&whole, "a", 7).await;
    points::keep(&LogReader::open(whole.clone()).await.unwrap(), "p", None, |_, _| {}).await.unwrap();
    let base = take_base(&whole, Seq(4)).await.unwrap();
    for key in [
        layout::checkpoint("readers/a", 1),
        layout::point("p").unwrap(),
        layout::base(Seq(4)),
        layout::base(Seq(6)),
        layout::floor(1),
    ] {
        let bytes = whole.get(&key).await.unwrap().unwrap();
        whole.put(&key, bytes.slice(1..)).await.unwrap();
        let before = keys(&whole).await;
        let error = prune(whole.clone(), KEEP, false, |_| {}).await.unwrap_err();
        assert!(error.message.contains(&key) && error.verdict == Verdict::Refused, "{error}");
        assert_eq!(keys(&whole).await, before);
        whole.put(&key, bytes).await.unwrap();
    }
    // A base that is not whole is none to begin with; nor is that of another commit.
    let segment = &base.segments[0].key;
    let bytes = whole.get(segment).await.unwrap().unwrap();
    let flipped = [&bytes[..bytes.len() - 1], &[!bytes[bytes.len() - 1]]].concat();
    for damaged in [None, Some(bytes.slice(1..)), Some(flipped.into())] {
        match damaged {
            Some(damaged) => whole.put(segment, damaged).await.unwrap(),
            None => whole.delete(segment).await.unwrap(),
        }
        let error = prune(whole.clone(), KEEP, false, |_| {}).await.unwrap_err();
        assert!(error.message.contains(segment) && error.verdict == Verdict::Refused, "{error}");
    }
    whole.put(segment, bytes).await.unwrap();
    let mut other = base.clone();
    other.after.digest = [7; 32];
    let log_id = log_id(&whole).await;
    whole.put(&layout::base(Seq(4)), crate::log::base::seal(&log_id, &other)).await.unwrap();
    let error = prune(whole.clone(), KEEP, false, |_| {}).await.unwrap_err();
    assert!(error.message.contains("is the base of another commit 4"), "{error}");
    assert_eq!(whole.get(&layout::floor(2)).await.unwrap(), None);
}

/// Goes on with `work` until it has given way so many times; its outcome if it has one by then.
pub async fn steps<F: Future + Unpin>(work: &mut F, count: u64) -> Option<F::Output> {
    for _ in 0..count {
        if let Some(done) = poll_immediate(&mut *work).await {
            return Some(done);
        }
        // Whom it has told to wake is woken now.
        tokio::task::yield_now().await;
    }
    None
}

/// As a replayer starts after a commit: it stores where it stands, then looks at the floor.
async fn start_after(store: &Store, seq: u64) -> Result<()> {
    let reader = LogReader::open(store.clone()).await?;
    let (mut checkpoints, _) = Checkpoints::open(store.clone(), "new").await?;
    reader.floors().check_after(Seq(seq)).await?;
    let ack = Some(pb::LogPosition { seq, ..Default::default() });
    let log_id = reader.log_id().to_owned();
    checkpoints.save(pb::Checkpoint { ack, log_id, ..Default::default() }).await?;
    reader.floors().check_after(Seq(seq)).await
}

/// However a prune and another one take turns: the other does some steps, then the prune some, and so on until both ends.
async fn every_interleaving<F, Fut>(other: F, check: impl AsyncFn(&Store, Result<()>, Report))
where
    F: Fn(Store) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let filled = filled().await;
    for before in 0..80 {
        let mut within = 0;
        loop {
            let (turns, store, _) = copies(&filled, Fault::None);
            let mut pruning = Box::pin(prune(turns.clone(), KEEP, false, |_| {}));
            let mut others = Box::pin(other(turns.clone()));
            let early = steps(&mut pruning, before).await;
            let started = steps(&mut others, within).await;
            let report = match early {
                Some(report) => report,
                None => pruning.await,
            };
            let ended = started.is_some();
            let outcome = match started {
                Some(outcome) => outcome,
                None => others.await,
            };
            check(&store, outcome, report.unwrap()).await;
            if ended {
                break;
            }
            within += 1;
        }
    }
}

#[tokio::test]
async fn a_replayer_that_starts_during_a_prune_is_refused_or_keeps_what_it_needs() {
    let (seen, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    every_interleaving(
        |store| async move { start_after(&store, 2).await },
        async |store, outcome, report| {
            is_whole(store, 7, "after both").await;
            match outcome {
                Err(error) => {
                    is_typed(&error);
                    refused.set(refused.get() + 1);
                }
                Ok(()) => {
                    let reader = LogReader::open(store.clone()).await.unwrap();
                    let mut follower = Follower::after(reader, Seq(2)).await.unwrap();
                    while let Some(sealed) = follower.next().await.unwrap() {
                        follower.reader().segment(&sealed.commit.segments[0]).await.unwrap();
                    }
                    let waits = report.waits_for.len() + report.in_the_way.len();
                    assert_eq!((waits, report.removed.commits), (1, 0), "{report:?}");
                    seen.set(seen.get() + u64::from(!report.waits_for.is_empty()));
                    // Once it is above the floor, the rest goes.
                    stand_at(store, "new", 4).await;
                    assert_eq!(pruned_with(store, KEEP).await.first_commit, 5);
                    assert!(!keys(store).await.contains(&layout::commit(Seq(3))));
                }
            }
        },
    )
    .await;
    assert!(seen.get() > 0 && refused.get() > 0, "{seen:?} {refused:?}");
}

#[tokio::test]
async fn a_restore_point_that_is_made_during_a_prune_is_refused_or_nothing_of_it_goes() {
    let (kept, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let keep = |store: Store| async move {
        let reader = LogReader::open(store).await?;
        points::keep(&reader, "p", Some(tso(5)), |_, _| {}).await.map(drop)
    };
    every_interleaving(keep, async |store, outcome, report| match outcome {
        Ok(()) => {
            let waits = report.waits_for.len() + report.in_the_way.len();
            assert_eq!((waits, report.removed), (1, Removed::default()));
            let there = keys(store).await;
            let needed = [layout::base(Seq(2)), layout::commit(Seq(3))];
            assert!(needed.iter().all(|key| there.contains(key)));
            if !report.raised {
                assert_eq!(restored(store, tso(5)).await.unwrap(), Replayed::all(6));
            }
            kept.set(kept.get() + 1);
        }
        Err(error) => {
            assert_eq!(error.verdict, Verdict::Refused, "{error}");
            assert_eq!(store.get("points/p.pb").await.unwrap(), None);
            refused.set(refused.get() + 1);
        }
    })
    .await;
    assert!(kept.get() > 0 && refused.get() > 0, "{kept:?} {refused:?}");
}

#[tokio::test]
async fn a_reader_of_old_commits_during_a_prune_reads_on_or_is_told() {
    let read = |store: Store| async move {
        let mut follower = Follower::after(LogReader::open(store).await?, Seq(2)).await?;
        let mut records = 0;
        while let Some(sealed) = follower.next().await? {
            follower.reader().catalog(sealed.commit.catalog.as_ref().unwrap()).await?;
            records += follower.reader().segment(&sealed.commit.segments[0]).await?.records.len();
        }
        assert_eq!(records, 12);
        Ok(())
    };
    every_interleaving(read, async |_, outcome, report| {
        assert!(report.raised && report.waits_for.is_empty());
        outcome.unwrap_or_else(|error| is_typed(&error));
    })
    .await;
}

#[tokio::test]
async fn a_log_that_is_pruned_while_it_is_verified_is_not_damaged() {
    let verify = |store: Store| async move {
        for scope in [Scope::Whole, Scope::Since(tso(4))] {
            let report = verify(store.clone(), scope, |_, _| ready(())).await?;
            assert_eq!((report.damages, report.to), (vec![], 8), "{scope:?}");
        }
        Ok(())
    };
    every_interleaving(verify, async |_, outcome, report| {
        assert!(report.raised);
        outcome.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_prune_and_a_writer_do_not_disturb_each_other() {
    let write = |store: Store| async move {
        let (mut writer, _) = LogWriter::open(store, &source()).await?;
        for from in [16, 18] {
            commit(&mut writer, from, from + 2).await?;
        }
        Ok(())
    };
    every_interleaving(write, async |store, outcome, report| {
        assert!(report.raised);
        outcome.unwrap();
        assert_eq!(replay(store).await.unwrap(), Replayed::all(20));
        is_whole(store, 7, "after both").await;
    })
    .await;
}

#[tokio::test]
async fn of_two_prunes_at_once_both_end_and_the_higher_floor_counts() {
    let other = |store: Store| async move {
        let report = prune(store, keep(4), false, |_| {}).await?;
        assert!(report.raised && report.first_commit == 7);
        Ok(())
    };
    every_interleaving(other, async |store, outcome, report| {
        outcome.unwrap();
        assert!(matches!(report.first_commit, 5 | 7), "{report:?}");
        is_whole(store, 11, "after both").await;
        let floor = LogReader::open(store.clone()).await.unwrap().floors().seen().unwrap();
        assert_eq!(floor::base(&floor), Seq(6));
        let removed = pruned_with(store, keep(4)).await.removed;
        assert_eq!(removed, Removed::default());
    })
    .await;
}

#[tokio::test]
async fn only_an_instant_that_can_be_restored_gets_a_name_and_a_name_stays_with_it() {
    let (_, store, _) = stores(Fault::None).await;
    let reader = LogReader::open(store.clone()).await.unwrap();
    let keep = async |name: &str, at| points::keep(&reader, name, at, |_, _| {}).await;
    for at in [Tso::ZERO, tso(2), tso(16), Tso::MAX] {
        let error: Error = keep("p", Some(at)).await.unwrap_err();
        let Error { verdict, message, advice, .. } = error;
        assert!(verdict == Verdict::Refused && message.contains("cannot be restored"), "{message}");
        assert!(advice.unwrap().contains(&format!("({}) to ", tso(3))));
    }
    assert_eq!(keep("../p", None).await.unwrap_err().verdict, Verdict::Usage);
    let point = keep("p", Some(tso(3))).await.unwrap();
    assert_eq!(keep("p", Some(tso(3))).await.unwrap(), point);
    assert!(keep("p", Some(tso(4))).await.unwrap_err().message.contains("already"));
    assert_eq!(keep("end", None).await.unwrap().tso, tso(15).0);
    let names = points::all(&reader).await.unwrap().into_iter().map(|point| point.name);
    assert_eq!(names.collect::<Vec<_>>(), ["end", "p"]);
    points::release(&reader, "p").await.unwrap();
    assert_eq!(points::release(&reader, "p").await.unwrap_err().verdict, Verdict::Usage);
}

#[tokio::test]
async fn an_empty_log_and_one_without_bases_have_nothing_to_prune() {
    let store = Store::memory();
    LogWriter::open(store.clone(), &source()).await.unwrap();
    for messages in [0, 6] {
        record(&store, messages).await.unwrap();
        let before = keys(&store).await;
        let report = pruned_with(&store, NOTHING).await;
        assert!(report.in_the_way[0].contains("there is no base above the floor"), "{report:?}");
        assert_eq!((report.first_commit, report.begins_at, report.removed), (1, None, Removed::default()));
        assert_eq!(keys(&store).await, before);
    }
}
