//! The commits of a log of this run.

use std::time::Duration;

use tapedeck::log::reader::{Follower, LogReader};
use tapedeck::log::store::{Store, StoreOptions};
use tapedeck::pb::log::{Commit, ObjectRef};
use tapedeck::position::Seq;

use crate::stand::{Outcome, RUN, Stand};

/// How often the next commit is looked for.
const LOOK: Duration = Duration::from_millis(10);

async fn open(stand: &Stand, log: &str) -> Outcome<LogReader> {
    let options = StoreOptions {
        endpoint: Some(stand.minio.endpoint.clone()),
        access_key_id: Some(stand.minio.access_key.clone()),
        secret_access_key: Some(stand.minio.secret_key.clone()),
        ..StoreOptions::default()
    };
    let store = Store::open(&format!("s3://{}/{}/{log}", stand.minio.bucket, *RUN), &options).await?;
    Ok(LogReader::open(store).await?)
}

/// All that have rows.
pub async fn with_rows(stand: &Stand, log: &str) -> Outcome<Vec<Commit>> {
    let mut follower = Follower::after(open(stand, log).await?, Seq(0)).await?;
    let mut commits = Vec::new();
    while let Some(next) = follower.next().await? {
        if has_rows(&next.commit) {
            commits.push(next.commit);
        }
    }
    Ok(commits)
}

/// Up to where a log in a local folder goes.
pub async fn end(url: &str) -> Outcome<u64> {
    let reader = LogReader::open(Store::open(url, &StoreOptions::default()).await?).await?;
    let tail = reader.tail().await?.unwrap_or_default();
    Ok(reader.commit(tail).await?.map_or(0, |sealed| sealed.commit.watermark))
}

/// Waits for a commit with rows by a later writer than the present one. Call before that one is killed.
pub async fn of_next_writer(stand: &Stand, log: &str) -> Outcome<impl Future<Output = Outcome<Commit>>> {
    let reader = open(stand, log).await?;
    let tail = reader.tail().await?.unwrap_or_default();
    let epoch = reader.commit(tail).await?.map_or(0, |sealed| sealed.commit.epoch);
    let mut follower = Follower::after(reader, tail).await?;
    Ok(async move {
        loop {
            match follower.next().await? {
                Some(next) if next.commit.epoch > epoch && has_rows(&next.commit) => return Ok(next.commit),
                Some(_) => {}
                None => tokio::time::sleep(LOOK).await,
            }
        }
    })
}

/// Bytes of what a commit added.
pub fn bytes(commit: &Commit) -> u64 {
    commit.segments.iter().map(|segment| segment.length).sum()
}

fn has_rows(commit: &Commit) -> bool {
    commit.segments.iter().any(|ObjectRef { rows, .. }| *rows > 0)
}
