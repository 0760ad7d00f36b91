//! Load, release, flush: done when the target says that it is done.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::change::CollectionName;
use crate::error::{Error, Result};
use crate::pb::milvus::proto::milvus as pb;
use crate::target::Shortfall;
use crate::target::milvus::MilvusTarget;
use crate::target::milvus::collections::Behind;
use crate::target::milvus::connection::call;
use crate::target::milvus::failure::{Failure, PARTITION_NOT_FOUND};
use crate::target::request;

const LOADING: i32 = 2;
const LOADED: i32 = 3;

/// Asks at growing intervals until a time is over. The wait ends with the call that waits.
struct Polling {
    backoff: Backoff,
    until: Instant,
}

impl Polling {
    fn new(patience: Duration) -> Polling {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        Polling { backoff, until: Instant::now() + patience }
    }

    /// Waits; false when the time is over.
    async fn wait(&mut self) -> bool {
        Instant::now() < self.until && self.backoff.wait(&CancellationToken::new()).await
    }
}

impl MilvusTarget {
    pub(super) async fn load(
        &self,
        name: &CollectionName,
        partitions: Option<&[String]>,
        replicas: i32,
    ) -> Result<Option<Shortfall>> {
        let wanted = match partitions {
            Some([]) => return Ok(None),
            Some(some) => some.to_vec(),
            None => self.all_partitions(name).await?,
        };
        if self.load_state(name, &wanted).await? == LOADED {
            return Ok(None);
        }
        let fewer = match self.ask_to_load(name, partitions, replicas).await {
            // the second refusal is about partitions that were loaded so before
            Err(failure)
                if replicas > 1
                    && (failure.says("not enough") || failure.says("change the replica number")) =>
            {
                self.ask_to_load(name, partitions, 1).await?;
                true
            }
            asked => asked.map(|()| false)?,
        };
        let mut polling = Polling::new(self.options.patience);
        loop {
            match self.load_state(name, &wanted).await? {
                LOADED => break,
                LOADING if polling.wait().await => {}
                _ => return Err(self.not_loaded(name, wanted).await),
            }
        }
        let note =
            || format!("{name}: one replica is loaded, not {replicas}: the target has too few query nodes");
        Ok(fewer.then(|| Shortfall::Note(note())))
    }

    /// The partitions whose states tell whether the whole collection is loaded: to a question about the collection
    /// Milvus answers "loaded" when one partition is. A key spreads rows over all partitions; they have one state.
    async fn all_partitions(&self, name: &CollectionName) -> Result<Vec<String>> {
        match self.behind(name).await? {
            Behind::Collection(found) if found.schema.as_ref().is_some_and(request::has_partition_key) => {
                Ok(vec![])
            }
            _ => self.partitions(name).await,
        }
    }

    async fn ask_to_load(
        &self,
        name: &CollectionName,
        partitions: Option<&[String]>,
        replicas: i32,
    ) -> Result<(), Failure> {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        if let Some(partitions) = partitions {
            let partition_names = partitions.to_vec();
            let replica_number = replicas;
            let request = pb::LoadPartitionsRequest {
                db_name,
                collection_name,
                partition_names,
                replica_number,
                ..Default::default()
            };
            call!(self.connection, load_partitions, request).map(drop)
        } else {
            let request = pb::LoadCollectionRequest {
                db_name,
                collection_name,
                replica_number: replicas,
                ..Default::default()
            };
            call!(self.connection, load_collection, request).map(drop)
        }
    }

    async fn load_state(&self, name: &CollectionName, partitions: &[String]) -> Result<i32> {
        Ok(call!(self.connection, get_load_state, progress_request(name, partitions.to_vec()))?.state)
    }

    /// Why a load has not ended.
    async fn not_loaded(&self, name: &CollectionName, partitions: Vec<String>) -> Error {
        match call!(self.connection, get_loading_progress, progress_request(name, partitions)) {
            Ok(answer) => Error::retry(format!("the target has loaded {} % so far", answer.progress))
                .advice("see the target's query nodes: memory, and their log"),
            // "not loaded": the load was accepted and then given up
            Err(Failure::Refusal { reason, .. }) => {
                Error::retry(format!("the target gave the load up: {reason}"))
                    .advice("see the target's query nodes: memory, and their log")
            }
            Err(failure) => failure.into(),
        }
    }

    pub(super) async fn release(&self, name: &CollectionName, partitions: Option<&[String]>) -> Result<()> {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let released = match partitions {
            Some([]) => return Ok(()),
            Some(some) => {
                let partition_names = some.to_vec();
                let request = pb::ReleasePartitionsRequest {
                    db_name,
                    collection_name,
                    partition_names,
                    ..Default::default()
                };
                call!(self.connection, release_partitions, request)
            }
            None => {
                let request = pb::CollectionRequest { db_name, collection_name, ..Default::default() };
                call!(self.connection, release_collection, request)
            }
        };
        match released {
            Err(failure) if failure.is_missing() || failure.is(PARTITION_NOT_FOUND) => Ok(()),
            released => released.map(drop).map_err(Error::from),
        }
    }

    pub(super) async fn flush(&self, name: &CollectionName) -> Result<()> {
        let mut polling = Polling::new(self.options.patience);
        let started = loop {
            let request = pb::FlushRequest {
                db_name: name.database.clone(),
                collection_names: vec![name.collection.clone()],
                ..Default::default()
            };
            match call!(self.connection, flush, request) {
                // newer versions allow one flush of a collection in ten seconds
                Err(failure) if failure.is_rate_limit() && polling.wait().await => {}
                started => break started?,
            }
        };
        let segments =
            started.coll_seg_i_ds.get(&name.collection).map(|ids| ids.data.clone()).unwrap_or_default();
        let request = pb::GetFlushStateRequest {
            segment_i_ds: segments,
            flush_ts: started.coll_flush_ts.get(&name.collection).copied().unwrap_or_default(),
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
        };
        loop {
            if call!(self.connection, get_flush_state, request.clone())?.flushed {
                return Ok(());
            }
            if !polling.wait().await {
                return Err(Error::retry("the target has not persisted the rows yet"));
            }
        }
    }
}

fn progress_request(name: &CollectionName, partition_names: Vec<String>) -> pb::LoadProgressRequest {
    pb::LoadProgressRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        partition_names,
    }
}
