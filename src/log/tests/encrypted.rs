//! A small encrypted log, damaged in every way: found, named, and nothing of it is replayed.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::sample::{Replayed, log_id, record, replay, take_base};
use crate::error::Verdict;
use crate::log::checkpoint::Checkpoints;
use crate::log::layout;
use crate::log::prune::{Keep, prune};
use crate::log::store::encryption::{Encryption, Identity, Keys};
use crate::log::store::{Store, Unreadable};
use crate::log::verify::{Report, Scope, verify};
use crate::pb::log::Checkpoint;
use crate::position::Seq;

const MESSAGES: i64 = 5;

/// One log, by those who look at it.
struct Log {
    raw: Store,
    recorder: Store,
    reader: Store,
    /// A reader who writes for the recorder too.
    pruner: Store,
    stranger: Store,
}

impl Log {
    fn new() -> Log {
        let [reader, recorder, stranger] = [(); 3].map(|()| Identity::generate());
        let inner = Arc::new(InMemory::new());
        let raw = || Store::new(inner.clone(), Path::ROOT, "memory://log".into());
        let view = |keys| raw().encrypted(Encryption::new(keys, layout::ROWS).unwrap());
        let recipients = vec![reader.to_public()];
        let reads = |key| view(Keys { identities: vec![key], ..Keys::default() });
        let all = vec![reader.to_public(), recorder.to_public()];
        Log {
            pruner: view(Keys { recipients: all, identities: vec![reader.clone()], ..Keys::default() }),
            raw: raw(),
            recorder: view(Keys { recipients, recorder: vec![recorder], ..Keys::default() }),
            reader: reads(reader),
            stranger: reads(stranger),
        }
    }

    /// Three commits, a fence and one more, by recorders that open no row; checkpoints of two readers.
    async fn recorded() -> Log {
        let log = Log::new();
        record(&log.recorder, 4).await.unwrap();
        record(&log.recorder, MESSAGES).await.unwrap();
        for reader in ["a", "b"] {
            let (mut checkpoints, _) = Checkpoints::open(log.reader.clone(), reader).await.unwrap();
            let log_id = log_id(&log.reader).await;
            checkpoints.save(Checkpoint { log_id, applied_tso: 7, ..Default::default() }).await.unwrap();
        }
        log.is_well().await;
        log
    }

    async fn is_well(&self) {
        assert_eq!(self.verified().await.damages, []);
        assert_eq!(replay(&self.reader).await.unwrap(), Replayed::all(MESSAGES));
    }

    async fn verified(&self) -> Report {
        verify(self.reader.clone(), Scope::Whole, |_, _| ready(())).await.unwrap()
    }

    /// Keys and stored bytes. The raw view reads no encrypted object.
    async fn objects(&self) -> Vec<(String, Bytes)> {
        let inner = self.raw.inner();
        let mut objects = Vec::new();
        for (key, _) in self.raw.list("", None).await.unwrap() {
            let got = inner.get_opts(&Path::parse(&key).unwrap(), Default::default()).await.unwrap();
            objects.push((key, got.bytes().await.unwrap()));
        }
        objects
    }

    async fn store(&self, key: &str, stored: impl Into<Bytes>) {
        self.raw.put(key, stored.into()).await.unwrap();
    }

    /// The damage is found and named, and no replay ends as if nothing were.
    async fn must_be_found(&self, key: &str, how: &str) {
        match verify(self.reader.clone(), Scope::Whole, |_, _| ready(())).await {
            Ok(report) => {
                let named = report.damages.iter().any(|damage| damage.object == key);
                // Of a checkpoint it may be another reader's.
                assert!(named || report.unopened == [key], "{key} {how}: {:?}", report.damages);
            }
            // Of the first object the keys' fault cannot be told from damage.
            Err(error) => {
                assert_eq!((key, error.verdict), (layout::IDENTITY, Verdict::Refused), "{how}: {error}");
                assert!(error.message.contains(key), "{error}");
            }
        }
        let error = if key.starts_with(layout::READERS) {
            let reader = key.split('/').nth(1).unwrap();
            Checkpoints::open(self.reader.clone(), reader).await.expect_err(how)
        } else {
            replay(&self.reader).await.expect_err(how)
        };
        assert_eq!(error.verdict, Verdict::Refused, "{key} {how}: {error}");
        assert!(error.message.contains(key) && error.advice.is_some(), "{key} {how}: {error}");
    }
}

#[tokio::test]
async fn every_object_of_an_encrypted_log_is_an_age_file_and_shows_nothing() {
    let log = Log::recorded().await;
    let objects = log.objects().await;
    assert!(objects.len() > 10);
    for (key, stored) in objects {
        assert!(stored.starts_with(b"age-encryption.org/v1\n"), "{key}");
        for word in ["docs", "kafka", "TDCM", "TDSG", "log_id", super::sample::CHANNEL] {
            assert!(!stored.windows(word.len()).any(|part| part == word.as_bytes()), "{word} in {key}");
        }
    }
}

#[tokio::test]
async fn every_flipped_byte_and_every_cut_of_an_encrypted_log_is_found_and_named() {
    let log = Log::recorded().await;
    for (key, stored) in log.objects().await {
        let damaged = |at: usize| {
            let mut damaged = stored.to_vec();
            damaged[at] ^= 1 << (at % 8);
            damaged
        };
        for at in 0..stored.len() {
            for (how, bytes) in [("flipped at", damaged(at)), ("cut to", stored[..at].to_vec())] {
                log.store(&key, bytes).await;
                let error = log.reader.get(&key).await.expect_err(&key);
                assert_eq!(error.verdict, Verdict::Refused, "{key} {how} {at}: {error}");
                assert!(error.message.contains(&key), "{key} {how} {at}: {error}");
            }
        }
        // What follows from that, for some of them.
        for at in (0..stored.len()).step_by(61) {
            log.store(&key, damaged(at)).await;
            log.must_be_found(&key, &format!("byte {at}")).await;
        }
        log.store(&key, stored).await;
    }
    log.is_well().await;
}

#[tokio::test]
async fn every_two_swapped_objects_of_an_encrypted_log_are_found_and_named() {
    let log = Log::recorded().await;
    let objects = log.objects().await;
    for (at, (a, stored_a)) in objects.iter().enumerate() {
        for (b, stored_b) in &objects[at + 1..] {
            log.store(a, stored_b.clone()).await;
            log.store(b, stored_a.clone()).await;
            for key in [a, b] {
                let found = log.reader.read(key).await.unwrap().unwrap();
                assert!(matches!(found, Err(Unreadable::Damaged(_))), "{a} and {b}: {found:?}");
            }
            // An object of which a damaged one speaks is not looked at.
            let report = log.verified().await;
            assert!(
                report.damages.iter().any(|damage| damage.object == *a || damage.object == *b),
                "{a} and {b}"
            );
            log.store(a, stored_a.clone()).await;
            log.store(b, stored_b.clone()).await;
        }
    }
    log.is_well().await;
}

#[tokio::test]
async fn positions_that_are_for_another_reader_alone_are_no_damage() {
    let log = Log::recorded().await;
    let (mut checkpoints, _) = Checkpoints::open(log.stranger.clone(), "c").await.unwrap();
    checkpoints.save(Checkpoint::default()).await.unwrap();
    let report = log.verified().await;
    assert_eq!((report.damages, report.unopened), (vec![], vec!["readers/c/00000000000000000001.pb".into()]));
}

/// By whoever has the public key: its digest, number or id must be right all the same.
#[tokio::test]
async fn objects_that_were_encrypted_for_the_place_of_another_are_found_by_what_is_in_them() {
    let log = Log::recorded().await;
    let objects = log.objects().await;
    for (a, stored_a) in objects.iter().filter(|(key, _)| !key.starts_with(layout::READERS)) {
        for (b, _) in objects.iter().filter(|(key, _)| key != a) {
            let (clear_a, clear_b) =
                (log.reader.get(a).await.unwrap(), log.reader.get(b).await.unwrap().unwrap());
            if clear_a.is_some_and(|clear| clear == clear_b) {
                continue;
            }
            log.reader.put(a, clear_b).await.unwrap();
            log.must_be_found(a, &format!("with what is in {b}")).await;
            log.store(a, stored_a.clone()).await;
        }
    }
    log.is_well().await;
}

#[tokio::test]
async fn a_clear_object_among_encrypted_ones_is_found_and_named() {
    let log = Log::recorded().await;
    for (key, stored) in log.objects().await {
        let clear = log.reader.get(&key).await.unwrap().unwrap();
        log.store(&key, clear).await;
        log.must_be_found(&key, "in clear").await;
        assert!(log.reader.get(&key).await.unwrap_err().message.contains("is not encrypted"));
        log.store(&key, stored).await;
    }
}

#[tokio::test]
async fn a_wrong_or_a_missing_key_is_refused_with_what_to_do_and_writes_nothing() {
    let log = Log::recorded().await;
    let before = log.objects().await;
    for (store, why, advice) in [
        (
            &log.stranger,
            "opened by none of the keys that were given",
            "the secret key of one of its recipients",
        ),
        (&log.raw, "is encrypted (age), and no key was given", "log.encryption in the task document"),
    ] {
        let verified = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.map(drop);
        for error in [replay(store).await.map(drop), record(store, 9).await.map(drop), verified] {
            let error = error.unwrap_err();
            assert_eq!(error.verdict, Verdict::Refused);
            assert!(
                error.message.contains("object log.json in memory://log") && error.message.contains(why),
                "{error}"
            );
            assert!(error.advice.unwrap().contains(advice));
        }
    }
    assert_eq!(log.objects().await, before);
}

#[tokio::test]
async fn a_log_in_clear_is_not_gone_on_with_in_secret() {
    let log = Log::new();
    record(&log.raw, 2).await.unwrap();
    for refused in [record(&log.recorder, 4).await.map(drop), replay(&log.reader).await.map(drop)] {
        let error = refused.unwrap_err();
        assert!(error.message.contains("object log.json in memory://log is not encrypted"), "{error}");
        assert!(error.advice.unwrap().contains("record into a new log"));
    }
}

#[tokio::test]
async fn a_recorders_own_key_opens_no_rows_and_all_else_of_what_it_wrote() {
    let log = Log::recorded().await;
    let mut rows = 0;
    for (key, _) in log.objects().await.into_iter().filter(|(key, _)| !key.starts_with(layout::READERS)) {
        let found = log.recorder.read(&key).await.unwrap().unwrap();
        let has_rows = key.starts_with(layout::SEGMENTS);
        assert_eq!(found.is_err(), has_rows, "{key}");
        rows += usize::from(has_rows);
    }
    assert!(rows >= 3);
    let segment = log.recorder.list(layout::SEGMENTS, None).await.unwrap().swap_remove(0).0;
    let error = replay(&log.recorder).await.unwrap_err();
    assert!(
        error.message.contains("segments/") && error.advice.unwrap().contains("opens no rows"),
        "{segment}"
    );
}

#[tokio::test]
async fn recipients_may_change_from_one_run_to_the_next() {
    let [one, two, recorder] = [(); 3].map(|()| Identity::generate());
    let inner = Arc::new(InMemory::new());
    let view = |recipients: &[&Identity], recorder: &[&Identity], identities: &[&Identity]| {
        let own = |keys: &[&Identity]| keys.iter().map(|key| (*key).clone()).collect();
        let recipients = recipients.iter().map(|key| key.to_public()).collect();
        let keys = Keys { recipients, recorder: own(recorder), identities: own(identities) };
        let encryption = Encryption::new(keys, layout::ROWS).unwrap();
        Store::new(inner.clone(), Path::ROOT, "memory://log".into()).encrypted(encryption)
    };
    record(&view(&[&one], &[&recorder], &[]), 2).await.unwrap();
    record(&view(&[&two], &[&recorder], &[]), 4).await.unwrap();
    assert_eq!(replay(&view(&[], &[], &[&one, &two])).await.unwrap(), Replayed::all(4));
    let error = replay(&view(&[], &[], &[&one])).await.unwrap_err();
    assert!(error.message.contains(&layout::commit(Seq(2))), "{error}");
}

#[tokio::test]
async fn an_encrypted_log_is_pruned_for_its_recorder_too_and_by_nobody_who_cannot_see_all_pins() {
    let log = Log::new();
    record(&log.recorder, 10).await.unwrap();
    take_base(&log.reader, Seq(3)).await.unwrap();
    let (mut checkpoints, _) = Checkpoints::open(log.stranger.clone(), "hidden").await.unwrap();
    checkpoints.save(Checkpoint::default()).await.unwrap();
    let keep = Keep { window: Duration::ZERO, bases: 1 };
    let pruned = || prune(log.pruner.clone(), keep, false, |_| {});
    let error = pruned().await.unwrap_err();
    assert!(error.message.contains("readers/hidden/") && error.verdict != Verdict::Retry, "{error}");
    assert!(log.raw.list(layout::FLOOR, None).await.unwrap().is_empty());
    log.raw.delete(&layout::checkpoint("readers/hidden", 1)).await.unwrap();
    // A base could not be opened by the recorder that goes on after it.
    take_base(&log.reader, Seq(5)).await.unwrap();
    assert_eq!(pruned().await.unwrap().first_commit, 4);
    record(&log.recorder, 14).await.unwrap();
    assert_eq!(replay(&log.reader).await.unwrap(), Replayed::all(14));
    assert_eq!(log.verified().await.damages, []);
}
