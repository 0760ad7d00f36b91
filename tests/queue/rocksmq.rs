//! A RocksMQ that the test writes as Milvus does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rocksdb::{DB, Options, WriteBatch};
use tapedeck::position::{Channel, Position};
use tapedeck::source::Queue;
use tapedeck::source::rocksmq::RocksmqQueue;
use tempfile::TempDir;

use crate::stand::broker::Broker;
use crate::stand::{Outcome, fail};

/// What the counter of message ids starts at: a TSO.
const FIRST: i64 = 470_662_645_270_446_081;
const FAMILIES: [&str; 2] = ["default", "properties"];

/// A new one, of a Milvus that runs.
pub async fn broker() -> Outcome<Option<((), Box<dyn Broker>)>> {
    let folder = tempfile::tempdir()?;
    let primary = open(&folder)?;
    let queue = Arc::new(RocksmqQueue::open(folder.path()).await?);
    Ok(Some(((), Box::new(Rocksmq { queue, milvus: Mutex::new((Some(primary), FIRST)), folder }))))
}

fn open(folder: &TempDir) -> Outcome<DB> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    Ok(DB::open_cf(&options, folder.path(), FAMILIES)?)
}

struct Rocksmq {
    queue: Arc<RocksmqQueue>,
    /// None while it is away; and the next message id of all topics.
    milvus: Mutex<(Option<DB>, i64)>,
    folder: TempDir,
}

#[async_trait(?Send)]
impl Broker for Rocksmq {
    fn queue(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    fn largest(&self) -> usize {
        5 << 20
    }

    async fn write(&self, topic: &Channel, messages: Vec<Vec<u8>>) -> Outcome<Vec<Position>> {
        let mut milvus = self.milvus.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(db), next) = &mut *milvus else { return fail("Milvus is away") };
        let (mut batch, mut positions) = (WriteBatch::default(), Vec::new());
        for message in messages {
            batch.put(format!("{topic}/{next}"), message);
            positions.push(Position::offset(*next));
            *next += 1;
        }
        *next += 1; // another topic's
        db.write(batch)?;
        Ok(positions)
    }

    async fn write_with(&self, _: &Channel, _: Vec<u8>, _: HashMap<String, String>) -> Outcome<Position> {
        fail("messages in a RocksMQ have no properties")
    }

    async fn expire(&self, topic: &Channel) -> Outcome {
        let milvus = self.milvus.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(db), next) = &*milvus else { return fail("Milvus is away") };
        let Some(family) = db.cf_handle(FAMILIES[0]) else { return fail("a database without its family") };
        Ok(db.delete_range_cf(family, format!("{topic}/0"), format!("{topic}/{next}"))?)
    }

    async fn remove(&self, topic: &Channel) -> Outcome {
        self.expire(topic).await
    }

    /// It starts anew, and its log becomes a table.
    async fn disturb(&self, _: &Channel) -> Outcome {
        self.away().await?;
        self.back().await
    }

    async fn away(&self) -> Outcome {
        self.milvus.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
        Ok(())
    }

    async fn back(&self) -> Outcome {
        self.milvus.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(open(&self.folder)?);
        Ok(())
    }
}
