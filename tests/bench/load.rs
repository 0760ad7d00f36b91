//! The plain client that replication is compared with: batches of 1,000 rows, two requests at once, a connection for
//! each, rows made beforehand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tapedeck::change::{CollectionName, Rows};
use tapedeck::pb::milvus::proto::schema::field_data::Field;
use tapedeck::pb::milvus::proto::schema::scalar_field::Data;
use tapedeck::pb::milvus::proto::schema::{DataType, LongArray, ScalarField};
use tokio::time::{MissedTickBehavior, interval_at};

use crate::stand::{Instance, Milvus, Outcome, RUN, Table, rng};

/// Rows in one request.
pub const BATCH: u64 = 1000;
/// Requests at once.
const AT_ONCE: u32 = 2;
const DIM: usize = 128;
const SHARDS: i32 = 2;
/// So many batches differ, lest they be compressed as a repetition.
const BATCHES: usize = 16;

/// A client that fills one collection: an Int64 key and a float vector of 128 dimensions, two shards, not loaded.
pub struct Load {
    /// Where the rows go.
    pub table: Table,
    connections: Vec<Milvus>,
    batches: Vec<Rows>,
    batch_rows: u64,
    next_key: AtomicU64,
}

/// A batch that was accepted.
pub struct Acked {
    /// Its TSO.
    pub tso: u64,
    /// When the answer came.
    pub at: Instant,
}

impl Load {
    /// Creates the collection.
    pub async fn create(instance: &Instance, name: &str) -> Outcome<Load> {
        let table = Table::empty(&CollectionName::new("default", format!("{name}_{}", *RUN)));
        let table = table.key(DataType::Int64).vector(DIM).shards(SHARDS);
        let connections = (0..AT_ONCE).map(|_| Milvus::at(instance)).collect::<Outcome<Vec<_>>>()?;
        let load =
            Load { connections, batches: Vec::new(), batch_rows: 0, next_key: AtomicU64::new(0), table };
        load.connections[0].create(&load.table).await?;
        Ok(load.in_batches_of(BATCH))
    }

    /// The same with other batches.
    pub fn in_batches_of(mut self, rows: u64) -> Load {
        let mut rng = rng("load");
        self.batches = (0..BATCHES).map(|_| self.table.rows(&mut rng, 0..rows as i64)).collect();
        self.batch_rows = rows;
        self
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.next_key.load(Ordering::Relaxed)
    }

    /// Inserts as fast as the server lets it; returns rows a second.
    pub async fn insert(&self, rows: u64) -> Outcome<f64> {
        let (begin, from) = (Instant::now(), self.rows());
        let work = self.connections.iter().map(async |milvus| {
            while self.rows() < from + rows {
                self.insert_batch(milvus).await?;
            }
            Outcome::Ok(())
        });
        try_join_all(work).await?;
        Ok((self.rows() - from) as f64 / begin.elapsed().as_secs_f64())
    }

    /// Upserts its first rows, one time after the other.
    pub async fn upsert_again(&self, rows: u64, times: u64) -> Outcome {
        let next = AtomicU64::new(0);
        let work = self.connections.iter().map(async |milvus| {
            loop {
                let at = next.fetch_add(self.batch_rows, Ordering::Relaxed);
                if at >= rows * times {
                    return Outcome::Ok(());
                }
                milvus.upsert(&self.table.name, self.batch_at(at, at % rows)).await?;
            }
        });
        try_join_all(work).await.map(drop)
    }

    /// Inserts into both as fast as the slower one lets it; returns rows a second.
    pub async fn insert_twice(&self, other: &Load, rows: u64) -> Outcome<f64> {
        let (begin, from) = (Instant::now(), self.rows());
        let work = self.connections.iter().zip(&other.connections).map(async |(here, there)| {
            while self.rows() < from + rows {
                tokio::try_join!(self.insert_batch(here), other.insert_batch(there))?;
            }
            Outcome::Ok(())
        });
        try_join_all(work).await?;
        Ok((self.rows() - from) as f64 / begin.elapsed().as_secs_f64())
    }

    /// Inserts so many rows a second while `going` says so. A batch that is late does not delay those after it.
    pub async fn insert_paced(&self, rows_per_s: f64, going: impl Fn() -> bool) -> Outcome<Vec<Acked>> {
        let pace = Duration::from_secs_f64(self.batch_rows as f64 / rows_per_s);
        let begin = tokio::time::Instant::now();
        let work = (0..).zip(&self.connections).map(async |(turn, milvus)| {
            let mut turns = interval_at(begin + pace * turn, pace * AT_ONCE);
            turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut acked = Vec::new();
            while going() {
                turns.tick().await;
                acked.push(self.insert_batch(milvus).await?);
            }
            Outcome::Ok(acked)
        });
        let mut acked = try_join_all(work).await?.into_iter().flatten().collect::<Vec<_>>();
        acked.sort_by_key(|acked| acked.at);
        Ok(acked)
    }

    async fn insert_batch(&self, milvus: &Milvus) -> Outcome<Acked> {
        let first = self.next_key.fetch_add(self.batch_rows, Ordering::Relaxed);
        let answer = milvus.insert(&self.table.name, self.batch_at(first, first)).await?;
        Ok(Acked { tso: answer.timestamp, at: Instant::now() })
    }

    /// The batch after so many rows, under keys from `first` on.
    fn batch_at(&self, rows: u64, first: u64) -> Rows {
        with_keys(&self.batches[(rows / self.batch_rows) as usize % BATCHES], first)
    }
}

/// The rows under other keys.
fn with_keys(batch: &Rows, first: u64) -> Rows {
    let mut rows = batch.clone();
    let data = (first..first + rows.count as u64).map(|key| key as i64).collect();
    if let Some(column) = rows.columns.iter_mut().find(|column| column.field_name == "id") {
        column.field = Some(Field::Scalars(ScalarField { data: Some(Data::LongData(LongArray { data })) }));
    }
    rows
}
