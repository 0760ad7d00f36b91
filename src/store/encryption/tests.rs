use super::*;
use crate::error::Verdict;
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::store::{Created, Store};
use object_store::memory::InMemory;
use object_store::path::Path;

const ROWS: &[&str] = &["rows"];

fn encryption(recipients: &[&Identity], recorder: &[&Identity], identities: &[&Identity]) -> Encryption {
    let own = |keys: &[&Identity]| keys.iter().map(|key| (*key).clone()).collect();
    let recipients = recipients.iter().map(|key| key.to_public()).collect();
    let keys = Keys { recipients, recorder: own(recorder), identities: own(identities) };
    Encryption::new(keys, ROWS).unwrap_or_else(|error| panic!("{error}"))
}

/// Views of one store: as it is, and by the keys.
fn views<const N: usize>(encryptions: [Encryption; N]) -> (Store, [Store; N]) {
    let inner = Arc::new(InMemory::new());
    let view = || Store::new(inner.clone(), Path::ROOT, "memory://log".into());
    (view(), encryptions.map(|encryption| view().encrypted(encryption)))
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn recipients_read_everything_and_a_recorder_everything_but_rows() {
    let [one, two, own] = [(); 3].map(|()| Identity::generate());
    let record = encryption(&[&one, &two], &[&own], &[]);
    let (raw, [recorder, first, second]) =
        views([record, encryption(&[], &[], &[&one]), encryption(&[], &[], &[&two])]);
    for key in ["rows/1", "rows/a/b", "commits/1", "log.json", "rowsish/1"] {
        recorder.put(key, bytes("the content")).await.unwrap();
        for reader in [&first, &second] {
            assert_eq!(reader.get(key).await.unwrap().unwrap(), "the content", "{key}");
        }
        let again = recorder.read(key).await.unwrap().unwrap();
        match key.starts_with("rows/") {
            true => assert_eq!(again, Err(Unreadable::NoKeyFits), "{key}"),
            false => assert_eq!(again.unwrap(), "the content", "{key}"),
        }
        let error = raw.get(key).await.unwrap_err();
        assert_eq!((error.verdict, error.exit_code()), (Verdict::Refused, 3));
        assert!(error.message.contains(key) && error.message.contains("is encrypted (age)"), "{error}");
        assert!(error.advice.unwrap().contains("--identity"));
    }
}

#[tokio::test]
async fn an_encrypted_store_is_probed_and_creates_once_by_what_is_in_clear() {
    let key = Identity::generate();
    for fault in [Fault::None, Fault::LoseAnswer(1)] {
        let store = FaultyStore::new(Arc::new(InMemory::new()), fault);
        let store = Store::new(Arc::new(store), Path::ROOT, "memory://".into());
        let store = store.encrypted(encryption(&[], &[], &[&key]));
        assert_eq!(store.create("k", bytes("x")).await.unwrap(), Created::Yes);
        assert_eq!(store.create("k", bytes("x")).await.unwrap(), Created::Yes);
        assert_eq!(store.create("k", bytes("y")).await.unwrap(), Created::No(bytes("x")));
        store.probe().await.unwrap();
    }
}

#[tokio::test]
async fn a_slot_that_holds_what_cannot_be_read_is_refused_and_not_tried_for_ever() {
    let [ours, theirs] = [(); 2].map(|()| Identity::generate());
    let (raw, [store, other]) = views([encryption(&[], &[], &[&ours]), encryption(&[], &[], &[&theirs])]);
    raw.put("clear", bytes("x")).await.unwrap();
    other.put("other", bytes("x")).await.unwrap();
    for (key, why) in [("clear", "is not encrypted"), ("other", "none of the keys")] {
        let error = store.create(key, bytes("x")).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Refused, "{error}");
        assert!(error.message.contains(key) && error.message.contains(why), "{error}");
    }
}

#[test]
fn every_flipped_byte_and_every_cut_is_found() {
    let [one, two] = [(); 2].map(|()| Identity::generate());
    let encryption = encryption(&[&one, &two], &[], &[&two]);
    let stored = encryption.encrypt("commits/1", b"the content").unwrap();
    assert_eq!(encryption.decrypt("commits/1", &stored).unwrap(), "the content");
    for at in 0..stored.len() {
        let mut damaged = stored.to_vec();
        damaged[at] ^= 1 << (at % 8);
        assert!(encryption.decrypt("commits/1", &damaged).is_err(), "byte {at}");
        assert!(encryption.decrypt("commits/1", &stored[..at]).is_err(), "cut to {at}");
    }
    let longer = [&stored[..], b"x"].concat();
    assert!(matches!(encryption.decrypt("commits/1", &longer), Err(Unreadable::Damaged(_))));
}

#[test]
fn an_object_in_the_place_of_another_is_not_opened() {
    let key = Identity::generate();
    let encryption = encryption(&[], &[], &[&key]);
    let stored = encryption.encrypt("commits/1", b"x").unwrap();
    let why = encryption.decrypt("commits/2", &stored).unwrap_err();
    assert!(why.to_string().contains("it was written as another object"), "{why}");
    // Made by age alone, by whoever knows the public key.
    let stored = age::encrypt(&key.to_public(), b"x").unwrap();
    assert!(matches!(encryption.decrypt("commits/1", &stored), Err(Unreadable::Damaged(_))));
}

#[test]
fn what_is_stored_is_an_age_file_that_age_itself_opens() {
    let key = Identity::generate();
    let large = vec![7; 200_000];
    for clear in [&b""[..], &large] {
        let stored = encryption(&[], &[], &[&key]).encrypt("rows/1", clear).unwrap();
        assert_eq!(age::decrypt(&key, &stored).unwrap(), clear);
        assert!(stored.len() < clear.len() + 1024, "{}", stored.len());
    }
}

#[test]
fn a_header_without_end_is_not_parsed() {
    let key = Identity::generate();
    let mut endless = b"age-encryption.org/v1\n".to_vec();
    endless.extend("-> a\n\n".repeat(1 << 20).bytes());
    let why = encryption(&[], &[], &[&key]).decrypt("k", &endless).unwrap_err();
    assert_eq!(why, Unreadable::Damaged("its header has no end".into()));
}

#[test]
fn as_many_recipients_as_may_be_fit_into_a_header() {
    let keys = (0..MOST_RECIPIENTS).map(|_| Identity::generate()).collect::<Vec<_>>();
    let last = keys.last().unwrap();
    let encryption = encryption(&keys.iter().collect::<Vec<_>>(), &[], &[last]);
    let stored = encryption.encrypt("k", b"x").unwrap();
    assert_eq!(encryption.decrypt("k", &stored).unwrap(), "x");
}

#[test]
fn keys_that_do_not_fit_each_other_are_refused() {
    let [one, two] = [(); 2].map(|()| Identity::generate());
    let keys = |recipients: &[&Identity], recorder: &[&Identity], identities: &[&Identity]| Keys {
        recipients: recipients.iter().map(|key| key.to_public()).collect(),
        recorder: recorder.iter().map(|key| (*key).clone()).collect(),
        identities: identities.iter().map(|key| (*key).clone()).collect(),
    };
    for (keys, why) in [
        (keys(&[&one], &[], &[]), "no key is given"),
        (keys(&[&one], &[&one], &[]), "it would open rows"),
        (keys(&[&one], &[&two], &[&two]), "it would open rows"),
        (keys(&[&one], &[], &[&two]), "none of the recipients'"),
    ] {
        let error = Encryption::new(keys, ROWS).err().unwrap();
        assert!(error.message.contains(why) && error.advice.is_some(), "{error}");
    }
}

#[test]
fn files_of_keys_are_read_as_age_reads_them_and_never_repeated() {
    let (public, text) = new_key(jiff::Timestamp::UNIX_EPOCH);
    let (_, more) = new_key(jiff::Timestamp::UNIX_EPOCH);
    let keys = read_keys(&format!("{text}\n{more}")).unwrap();
    assert_eq!((keys.len(), keys[0].to_public()), (2, public.clone()));
    assert_eq!(age::IdentityFile::from_buffer(text.as_bytes()).unwrap().into_identities().unwrap().len(), 1);
    for wrong in ["", "# nothing\n", "hunter2", &public.to_string()] {
        assert!(!read_keys(wrong).err().unwrap().contains("hunter2"));
    }
}
