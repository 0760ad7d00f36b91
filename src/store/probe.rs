//! Trying a store out before a log is trusted to it.

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode};
use uuid::Uuid;

use super::Store;
use super::failure::{failure, is_kept};
use crate::error::{Error, Result};

/// A note where all is well but for one thing.
pub(super) async fn probe(store: &Store) -> Result<Option<String>> {
    let key = key();
    let tried = try_out(store, &key).await;
    let deleted = store.inner.delete(&store.path(&key)?).await;
    tried?;
    if deleted.as_ref().is_err_and(is_kept) {
        return Ok(Some(format!("a policy of the store keeps what was written, as {key}")));
    }
    store.absent_is_none(deleted, "delete", &key)?;
    Ok(None)
}

const FOLDER: &str = "probe";
/// Before the key of every probe.
const FIRST: &str = "probe/0";

/// No two probes meet, and nothing stays under it.
pub(super) fn key() -> String {
    format!("{FOLDER}/{}", Uuid::new_v4())
}

async fn try_out(store: &Store, key: &str) -> Result<()> {
    let unfit = |what: &str| {
        Error::operator(format!("{store} cannot hold a log: {what}")).advice(
            "use a store with conditional writes (If-None-Match: *) and listings after a key (start-after), and no \
             proxy that takes them away",
        )
    };
    if store.exists(key).await? {
        return Err(unfit("it has an object that nobody has put there"));
    }
    let create = |bytes: &'static [u8]| store.put_as(PutMode::Create, key, Bytes::from_static(bytes));
    create(b"first").await?.map_err(|error| failure(store, "create", key, &error))?;
    match create(b"second").await? {
        Ok(_) => return Err(unfit("it creates an object that is already there")),
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
        Err(error) => return Err(failure(store, "create", key, &error)),
    }
    if store.get(key).await?.is_none_or(|bytes| bytes != b"first"[..]) {
        return Err(unfit("an object that was there has been overwritten"));
    }
    for (after, missing) in [
        (None, "its listings do not show what has just been written"),
        (Some(FIRST), "its listings after a key (start-after) do not show what comes after it"),
    ] {
        if !store.list(FOLDER, after).await?.iter().any(|(listed, _)| listed == key) {
            return Err(unfit(missing));
        }
    }
    Ok(())
}
