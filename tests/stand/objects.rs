//! The objects of a log, looked at and damaged from outside.

use futures::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Outcome, RUN, Stand};

/// The store of the stand.
pub fn store(stand: &Stand) -> Outcome<AmazonS3> {
    let builder = AmazonS3Builder::new()
        .with_endpoint(&stand.minio.endpoint)
        .with_allow_http(true)
        .with_bucket_name(&stand.minio.bucket)
        .with_access_key_id(&stand.minio.access_key)
        .with_secret_access_key(&stand.minio.secret_key);
    Ok(builder.build()?)
}

/// The objects of a log of this run below a part such as `segments`, sorted.
pub async fn list(stand: &Stand, log: &str, part: &str) -> Outcome<Vec<Path>> {
    let prefix = Path::from(format!("{}/{log}/{part}", *RUN));
    let objects: Vec<_> = store(stand)?.list(Some(&prefix)).try_collect().await?;
    let mut paths = objects.into_iter().map(|object| object.location).collect::<Vec<_>>();
    paths.sort();
    Ok(paths)
}

/// Flips one bit in the middle of an object.
pub async fn flip(stand: &Stand, path: &Path) -> Outcome {
    let store = store(stand)?;
    let mut bytes = store.get(path).await?.bytes().await?.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.put(path, bytes.into()).await?;
    Ok(())
}

/// Removes an object.
pub async fn remove(stand: &Stand, path: &Path) -> Outcome {
    Ok(store(stand)?.delete(path).await?)
}
