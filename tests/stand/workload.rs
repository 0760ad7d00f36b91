//! A client that inserts, deletes and upserts without pause, whatever breaks meanwhile.
//!
//! The source is the oracle: a request whose answer never came may have happened or not, and the copy must agree.
//! Inserts use fresh keys or keys deleted before, and are sent once, so that no key stands twice: of two rows of one
//! key a crash may keep the younger only.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tapedeck::change::Keys;
use tapedeck::pb::milvus::proto::schema::DataType;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::table::text_key;
use super::{Milvus, Outcome, Table, ensure, rng};

/// What a workload has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub inserts: u64,
    pub deletes: u64,
    pub upserts: u64,
    pub refused: u64,
}

/// A running workload.
pub struct Workload {
    stop: CancellationToken,
    task: JoinHandle<Done>,
}

impl Workload {
    /// Starts to change the rows of a collection, whose key must be Int64 or VarChar. Workloads of one collection
    /// need distinct numbers: each has keys of its own.
    pub fn start(milvus: Milvus, table: Table, number: u32) -> Workload {
        let stop = CancellationToken::new();
        let rng = rng(&format!("workload {} {number}", table.fields.len()));
        let client = Client { milvus, table, rng, next: i64::from(number) << 32, live: vec![], free: vec![] };
        let task = tokio::spawn(client.run(stop.clone()));
        Workload { stop, task }
    }

    /// Ends it; there must have been something of everything.
    pub async fn stop(self) -> Outcome<Done> {
        self.stop.cancel();
        let done = self.task.await?;
        let some = done.inserts > 0 && done.deletes > 0 && done.upserts > 0;
        ensure(some, || format!("the workload did not get to everything: {done:?}"))?;
        Ok(done)
    }
}

struct Client {
    milvus: Milvus,
    table: Table,
    rng: StdRng,
    next: i64,
    live: Vec<i64>,
    free: Vec<i64>,
}

impl Client {
    async fn run(mut self, stop: CancellationToken) -> Done {
        let mut done = Done::default();
        while !stop.is_cancelled() {
            if self.step(&mut done).await.is_err() {
                done.refused += 1;
                // a source that is down answers at once
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
        done
    }

    async fn step(&mut self, done: &mut Done) -> Outcome {
        let name = self.table.name.clone();
        match self.rng.random_range(0..5) {
            0 | 1 => {
                let keys = self.new_keys();
                let rows = self.table.rows(&mut self.rng, keys.iter().copied());
                self.milvus.insert(&name, rows).await?;
                self.live.extend(keys);
                done.inserts += 1;
            }
            2 if !self.live.is_empty() => {
                let keys = self.some_live();
                self.live.retain(|key| !keys.contains(key));
                self.milvus.delete(&name, &self.as_keys(&keys)).await?;
                self.free.extend(keys);
                done.deletes += 1;
            }
            _ if !self.live.is_empty() => {
                let keys = self.some_live();
                let rows = self.table.rows(&mut self.rng, keys);
                self.milvus.upsert(&name, rows).await?;
                done.upserts += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// Keys that no row has: some were deleted a moment ago.
    fn new_keys(&mut self) -> Vec<i64> {
        let again = self.rng.random_range(0..=self.free.len().min(5));
        let mut keys = self.free.drain(..again).collect::<Vec<_>>();
        for _ in 0..self.rng.random_range(1..20) {
            keys.push(self.next);
            self.next += 1;
        }
        keys
    }

    /// Distinct living keys.
    fn some_live(&mut self) -> Vec<i64> {
        let count = self.rng.random_range(1..=self.live.len().min(8));
        let begin = self.rng.random_range(0..=self.live.len() - count);
        self.live[begin..begin + count].to_vec()
    }

    fn as_keys(&self, keys: &[i64]) -> Keys {
        match self.table.fields[0].data_type() {
            DataType::VarChar => Keys::Text(keys.iter().map(|key| text_key(*key)).collect()),
            _ => Keys::Int(keys.to_vec()),
        }
    }
}
