//! The golden log as an encrypted one, made once: its objects are opened for ever, by the keys in `formats/golden/keys`,
//! which are for nothing else.
//!
//! `TAPEDECK_WRITE_GOLDEN=1` writes those that are missing: no two encryptions are the same.

use std::path::PathBuf;

use super::golden::golden;
use crate::log::layout;
use crate::log::store::encryption::{Encryption, Identity, Keys, read_keys};
use crate::log::store::{Store, StoreOptions, Unreadable};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("formats/golden")
}

fn keys(name: &str) -> Vec<Identity> {
    read_keys(&std::fs::read_to_string(folder().join("keys").join(name)).unwrap()).unwrap()
}

async fn stored(keys: Keys) -> Store {
    let url = format!("file://{}/v1-encrypted", folder().display());
    let store = Store::open(&url, &StoreOptions::default()).await.unwrap();
    store.encrypted(Encryption::new(keys, layout::ROWS).unwrap())
}

#[tokio::test]
async fn golden_encrypted_objects_are_opened_by_the_keys_that_they_were_written_for() {
    let reader = stored(Keys { identities: keys("reader.key"), ..Keys::default() }).await;
    let recipients = keys("reader.key").iter().map(Identity::to_public).collect();
    let recorder = stored(Keys { recipients, recorder: keys("recorder.key"), ..Keys::default() }).await;
    for (key, bytes) in golden() {
        let missing = !folder().join("v1-encrypted").join(&key).exists();
        if missing && std::env::var_os("TAPEDECK_WRITE_GOLDEN").is_some() {
            recorder.put(&key, bytes.clone()).await.unwrap();
        }
        assert_eq!(reader.read(&key).await.unwrap(), Some(Ok(bytes.clone())), "{key}");
        let expected = if key.starts_with(layout::SEGMENTS) { Err(Unreadable::NoKeyFits) } else { Ok(bytes) };
        assert_eq!(recorder.read(&key).await.unwrap(), Some(expected), "{key}");
    }
}
