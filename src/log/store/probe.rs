//! Stub.
use super::Store;
use crate::error::Result;

pub async fn probe(store: &Store) -> Result<()> {
    store.list("", None).await.map(drop)
}
