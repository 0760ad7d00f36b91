//! Single rows in a loaded collection, looked for at the target until they can be read.

use std::time::{Duration, Instant};

use tapedeck::change::CollectionName;
use tapedeck::pb::milvus::proto::milvus::QueryRequest;
use tapedeck::pb::milvus::proto::schema::DataType;
use tapedeck::pb::milvus::proto::schema::field_data::Field;
use tapedeck::pb::milvus::proto::schema::scalar_field::Data;

use crate::stand::{Milvus, Outcome, RUN, Stand, Table, ensure, eventually, rng};

const LOOK: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(60);
/// Milvus' enum ConsistencyLevel: what the node has, without waiting for its ticks.
const EVENTUALLY: i32 = 3;

/// A small collection, loaded at source and target.
pub struct Probe {
    /// It.
    pub table: Table,
    source: Milvus,
    target: Milvus,
    reader: Milvus,
}

impl Probe {
    /// Creates and loads it at the source.
    pub async fn create(stand: &Stand) -> Outcome<Probe> {
        let table = Table::empty(&CollectionName::new("default", format!("probe_{}", *RUN)));
        let table = table.key(DataType::Int64).vector(8);
        // a connection of its own: nothing of the other waits in it
        let (source, target, reader) = (stand.source()?, stand.target()?, stand.target()?);
        source.create_loaded(&table).await?;
        Ok(Probe { table, source, target, reader })
    }

    /// Waits until replication has loaded it at the target.
    pub async fn loaded(&self) -> Outcome {
        eventually("load of the probe at the target", async || {
            let loaded = self.target.is_loaded(&self.table.name, &[]).await?;
            Ok((!loaded).then(|| "not loaded".into()))
        })
        .await
    }

    /// Inserts row after row while `going` says so: seconds from the source's answer to the first read at the target.
    pub async fn lags(&self, going: impl Fn() -> bool) -> Outcome<Vec<f64>> {
        let (mut rng, mut lags) = (rng("probe"), Vec::new());
        for key in (0..).take_while(|_| going()) {
            self.source.insert(&self.table.name, self.table.rows(&mut rng, [key])).await?;
            let acked = Instant::now();
            while !self.is_readable(key).await? {
                ensure(acked.elapsed() < PATIENCE, || {
                    format!("row {key} is not at the target after {PATIENCE:?}")
                })?;
                tokio::time::sleep(LOOK).await;
            }
            lags.push(acked.elapsed().as_secs_f64());
            tokio::time::sleep(PAUSE).await;
        }
        Ok(lags)
    }

    async fn is_readable(&self, key: i64) -> Outcome<bool> {
        let request = QueryRequest {
            db_name: self.table.name.database.clone(),
            collection_name: self.table.name.collection.clone(),
            expr: format!("id == {key}"),
            output_fields: vec!["id".into()],
            consistency_level: EVENTUALLY,
            ..QueryRequest::default()
        };
        let answer = self.reader.client.clone().query(request).await?.into_inner();
        let status = answer.status.unwrap_or_default();
        ensure(status.code == 0 && status.error_code == 0, || {
            format!("query of the probe: {}", status.reason)
        })?;
        let keys = answer.fields_data.into_iter().find(|column| column.field_name == "id");
        Ok(match keys.and_then(|column| column.field) {
            Some(Field::Scalars(scalars)) => {
                matches!(scalars.data, Some(Data::LongData(keys)) if keys.data.contains(&key))
            }
            _ => false,
        })
    }
}
