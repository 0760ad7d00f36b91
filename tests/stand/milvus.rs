//! A small client of Milvus with methods that read like the tests. It never tries twice.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tapedeck::change::{CollectionName, Keys, Rows as Columns};
use tapedeck::grpc::{Credential, endpoint};
use tapedeck::pb::milvus::proto::common::{KeyValuePair, Status};
use tapedeck::pb::milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use tapedeck::pb::milvus::proto::milvus::*;
use tapedeck::pb::milvus::proto::schema::scalar_field::Data;
use tapedeck::pb::milvus::proto::schema::{FieldData, ScalarField, field_data::Field};
use tonic::Request;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::rows::{Key, Rows, rows};
use super::table::{TENANTS, Table, pair};
use super::{Failure, Instance, Outcome, ensure, eventually, fail};

/// The most rows that one query may return.
const PAGE: usize = 16384;
const MESSAGE_LIMIT: usize = 64 << 20;
/// How long a query may take.
const QUERY: Duration = Duration::from_secs(30);
/// What is said of one that takes longer.
const LATE: [&str; 3] = ["Timeout expired", "context deadline exceeded", "TaskCondition context Done"];
const STRONG: i32 = 0;
const LOADED: i32 = 3;
const FLUSHED: i32 = 4;
/// Of an operation on roles.
const ADDS: i32 = 0;

/// One Milvus. Clones share a connection, which comes back by itself when the server does.
#[derive(Clone)]
pub struct Milvus {
    /// For what has no method here.
    pub client: MilvusServiceClient<InterceptedService<Channel, Credential>>,
    /// For messages.
    pub uri: String,
}

/// The answer, or the server's words and the call that they answer.
fn accepted(call: &str, status: Option<&Status>) -> Outcome {
    let status = status.cloned().unwrap_or_default();
    let good = status.code == 0 && status.error_code == 0;
    ensure(good, || format!("{call}: {} (code {}/{})", status.reason, status.code, status.error_code))
}

/// Sends one request and returns the answer if its status is good.
macro_rules! call {
    ($milvus:expr, $method:ident, $request:expr) => {{
        let call = format!("{} at {}", stringify!($method), $milvus.uri);
        let answer = $milvus.client.clone().$method($request).await;
        let answer = answer.map_err(|status| Failure(format!("{call}: {status}")))?.into_inner();
        accepted(&call, HasStatus::status(&answer))?;
        answer
    }};
}

trait HasStatus {
    fn status(&self) -> Option<&Status>;
}
impl HasStatus for Status {
    fn status(&self) -> Option<&Status> {
        Some(self)
    }
}
macro_rules! has_status {
    ($($answer:ty)*) => { $(impl HasStatus for $answer {
        fn status(&self) -> Option<&Status> {
            self.status.as_ref()
        }
    })* };
}
has_status! { BoolResponse DescribeCollectionResponse DescribeIndexResponse FlushResponse GetFlushStateResponse
GetLoadStateResponse ListDatabasesResponse MutationResult QueryResults SegmentInfoResponse ShowCollectionsResponse
ShowPartitionsResponse }

impl Milvus {
    /// A Milvus of the stand; connects with the first call.
    pub fn at(instance: &Instance) -> Outcome<Milvus> {
        let endpoint = endpoint(&instance.uri, &instance.uri, instance.tls.as_ref())?;
        let endpoint = endpoint.timeout(Duration::from_secs(60));
        let credential = Credential::new(&instance.uri, instance.token.as_deref())?;
        let client = MilvusServiceClient::with_interceptor(endpoint.connect_lazy(), credential)
            .max_decoding_message_size(MESSAGE_LIMIT);
        Ok(Milvus { client, uri: instance.uri.clone() })
    }

    // users

    /// A user who may do everything.
    pub async fn create_admin(&self, user: &str, password: &str) -> Outcome {
        let request =
            CreateCredentialRequest { username: user.into(), password: BASE64_STANDARD.encode(password) };
        call!(self, create_credential, request);
        let request =
            OperateUserRoleRequest { username: user.into(), role_name: "admin".into(), r#type: ADDS };
        call!(self, operate_user_role, request);
        Ok(())
    }

    pub async fn change_password(&self, user: &str, old: &str, new: &str) -> Outcome {
        let request = UpdateCredentialRequest {
            username: user.into(),
            old_password: BASE64_STANDARD.encode(old),
            new_password: BASE64_STANDARD.encode(new),
        };
        call!(self, update_credential, request);
        Ok(())
    }

    // databases

    pub async fn create_database(&self, database: &str) -> Outcome {
        call!(
            self,
            create_database,
            DatabaseRequest { db_name: database.into(), ..DatabaseRequest::default() }
        );
        Ok(())
    }

    pub async fn drop_database(&self, database: &str) -> Outcome {
        call!(
            self,
            drop_database,
            DatabaseRequest { db_name: database.into(), ..DatabaseRequest::default() }
        );
        Ok(())
    }

    pub async fn databases(&self) -> Outcome<Vec<String>> {
        Ok(call!(self, list_databases, ListDatabasesRequest {}).db_names)
    }

    /// The names of a database's collections.
    pub async fn collections(&self, database: &str) -> Outcome<Vec<CollectionName>> {
        let request =
            ShowCollectionsRequest { db_name: database.into(), ..ShowCollectionsRequest::default() };
        let names = call!(self, show_collections, request).collection_names;
        Ok(names.into_iter().map(|name| CollectionName::new(database, name)).collect())
    }

    // collections

    pub async fn create(&self, table: &Table) -> Outcome {
        call!(
            self,
            create_collection,
            CreateCollectionRequest {
                db_name: table.name.database.clone(),
                collection_name: table.name.collection.clone(),
                schema: prost::Message::encode_to_vec(&table.schema()).into(),
                shards_num: table.shards,
                consistency_level: 1,
                properties: table.properties.clone(),
                num_partitions: table.partition_count,
            }
        );
        Ok(())
    }

    /// Creates a collection with a FLAT index on its vector and loads it, so that it can be asked.
    pub async fn create_loaded(&self, table: &Table) -> Outcome {
        self.create(table).await?;
        self.index_vector(table).await?;
        self.load(&table.name).await
    }

    pub async fn drop(&self, name: &CollectionName) -> Outcome {
        call!(self, drop_collection, collection_request(name));
        Ok(())
    }

    pub async fn exists(&self, name: &CollectionName) -> Outcome<bool> {
        Ok(call!(self, has_collection, collection_request(name)).value)
    }

    pub async fn describe(&self, name: &CollectionName) -> Outcome<DescribeCollectionResponse> {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let request =
            DescribeCollectionRequest { db_name, collection_name, ..DescribeCollectionRequest::default() };
        Ok(call!(self, describe_collection, request))
    }

    pub async fn rename(&self, from: &CollectionName, to: &CollectionName) -> Outcome {
        call!(
            self,
            rename_collection,
            RenameCollectionRequest {
                db_name: from.database.clone(),
                old_name: from.collection.clone(),
                new_name: to.collection.clone(),
                new_db_name: to.database.clone(),
            }
        );
        Ok(())
    }

    pub async fn alter(&self, name: &CollectionName, properties: &[KeyValuePair]) -> Outcome {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let properties = properties.to_vec();
        call!(
            self,
            alter_collection,
            AlterCollectionRequest {
                db_name,
                collection_name,
                properties,
                ..AlterCollectionRequest::default()
            }
        );
        Ok(())
    }

    // aliases

    pub async fn create_alias(&self, name: &CollectionName, alias: &str) -> Outcome {
        call!(self, create_alias, alias_request(name, alias));
        Ok(())
    }

    pub async fn alter_alias(&self, name: &CollectionName, alias: &str) -> Outcome {
        call!(self, alter_alias, alias_request(name, alias));
        Ok(())
    }

    pub async fn drop_alias(&self, database: &str, alias: &str) -> Outcome {
        call!(self, drop_alias, DropAliasRequest { db_name: database.into(), alias: alias.into() });
        Ok(())
    }

    // partitions

    pub async fn create_partition(&self, name: &CollectionName, partition: &str) -> Outcome {
        call!(self, create_partition, partition_request(name, partition));
        Ok(())
    }

    pub async fn drop_partition(&self, name: &CollectionName, partition: &str) -> Outcome {
        call!(self, drop_partition, partition_request(name, partition));
        Ok(())
    }

    pub async fn partitions(&self, name: &CollectionName) -> Outcome<Vec<String>> {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        Ok(call!(self, show_partitions, ShowPartitionsRequest { db_name, collection_name }).partition_names)
    }

    // indexes

    pub async fn index_vector(&self, table: &Table) -> Outcome {
        let binary = table.fields.iter().any(|field| field.data_type == 100);
        let params = if binary { ["BIN_FLAT", "HAMMING"] } else { ["FLAT", "L2"] };
        let params = [pair("index_type", params[0]), pair("metric_type", params[1]), pair("params", "{}")];
        self.create_index(&table.name, "vector", "", &params).await
    }

    /// An empty `index` leaves the name to the server.
    pub async fn create_index(
        &self,
        name: &CollectionName,
        field: &str,
        index: &str,
        params: &[KeyValuePair],
    ) -> Outcome {
        call!(
            self,
            create_index,
            CreateIndexRequest {
                db_name: name.database.clone(),
                collection_name: name.collection.clone(),
                field_name: field.into(),
                index_name: index.into(),
                extra_params: params.to_vec(),
                ..CreateIndexRequest::default()
            }
        );
        Ok(())
    }

    pub async fn drop_index(&self, name: &CollectionName, index: &str) -> Outcome {
        call!(self, drop_index, IndexRequest { index_name: index.into(), ..index_request(name) });
        Ok(())
    }

    /// All indexes, also those still being built.
    pub async fn indexes(&self, name: &CollectionName) -> Outcome<Vec<IndexDescription>> {
        const NO_INDEX: i32 = 700;
        let answer = self.client.clone().describe_index(index_request(name)).await?.into_inner();
        if answer.status.as_ref().is_some_and(|status| status.code == NO_INDEX) {
            return Ok(Vec::new());
        }
        accepted("describe_index", answer.status())?;
        Ok(answer.index_descriptions)
    }

    // serving

    /// Returns when the collection is loaded.
    pub async fn load(&self, name: &CollectionName) -> Outcome {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let request =
            LoadCollectionRequest { db_name, collection_name, replica_number: 1, ..Default::default() };
        call!(self, load_collection, request);
        self.loaded(name, &[]).await
    }

    /// Returns when the partitions are loaded.
    pub async fn load_partitions(&self, name: &CollectionName, partitions: &[&str]) -> Outcome {
        call!(
            self,
            load_partitions,
            LoadPartitionsRequest {
                db_name: name.database.clone(),
                collection_name: name.collection.clone(),
                partition_names: partitions.iter().map(|&partition| partition.into()).collect(),
                replica_number: 1,
                ..LoadPartitionsRequest::default()
            }
        );
        self.loaded(name, partitions).await
    }

    async fn loaded(&self, name: &CollectionName, partitions: &[&str]) -> Outcome {
        eventually(&format!("load of {name} at {}", self.uri), async || {
            let loaded = self.is_loaded(name, partitions).await?;
            Ok((!loaded).then(|| "not loaded".into()))
        })
        .await
    }

    /// Of partitions, or with none named of the collection.
    pub async fn is_loaded(&self, name: &CollectionName, partitions: &[&str]) -> Outcome<bool> {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let partition_names = partitions.iter().map(|&partition| partition.into()).collect();
        let request = LoadProgressRequest { db_name, collection_name, partition_names };
        Ok(call!(self, get_load_state, request).state == LOADED)
    }

    pub async fn release(&self, name: &CollectionName) -> Outcome {
        call!(self, release_collection, collection_request(name));
        Ok(())
    }

    pub async fn release_partitions(&self, name: &CollectionName, partitions: &[&str]) -> Outcome {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let partition_names = partitions.iter().map(|&partition| partition.into()).collect();
        let request = ReleasePartitionsRequest { db_name, collection_name, partition_names, base: None };
        call!(self, release_partitions, request);
        Ok(())
    }

    /// Returns when the rows are persisted.
    pub async fn flush(&self, name: &CollectionName) -> Outcome {
        let (db_name, collection_names) = (name.database.clone(), vec![name.collection.clone()]);
        let answer = call!(self, flush, FlushRequest { db_name, collection_names, base: None });
        let request = GetFlushStateRequest {
            segment_i_ds: answer
                .coll_seg_i_ds
                .get(&name.collection)
                .map(|ids| ids.data.clone())
                .unwrap_or_default(),
            flush_ts: answer.coll_flush_ts.get(&name.collection).copied().unwrap_or_default(),
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
        };
        eventually(&format!("flush of {name} at {}", self.uri), async || {
            Ok((!call!(self, get_flush_state, request.clone()).flushed).then(|| "not flushed".into()))
        })
        .await
    }

    /// Rows in segments that are flushed.
    pub async fn flushed_rows(&self, name: &CollectionName) -> Outcome<i64> {
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let answer =
            call!(self, get_persistent_segment_info, SegmentInfoRequest { db_name, collection_name });
        Ok(answer
            .infos
            .iter()
            .filter(|segment| segment.state == FLUSHED)
            .map(|segment| segment.num_rows)
            .sum())
    }

    // rows

    pub async fn insert(&self, name: &CollectionName, rows: Columns) -> Outcome<MutationResult> {
        self.insert_into(name, "", rows).await
    }

    /// Inserts into one partition.
    pub async fn insert_into(
        &self,
        name: &CollectionName,
        partition: &str,
        rows: Columns,
    ) -> Outcome<MutationResult> {
        Ok(call!(self, insert, rows_request(name, partition, rows)))
    }

    pub async fn upsert(&self, name: &CollectionName, rows: Columns) -> Outcome<MutationResult> {
        Ok(call!(self, upsert, rows_request(name, "", rows)))
    }

    pub async fn delete(&self, name: &CollectionName, keys: &Keys) -> Outcome<MutationResult> {
        self.delete_from(name, "", keys).await
    }

    /// Deletes from one partition. The key field must be `id`.
    pub async fn delete_from(
        &self,
        name: &CollectionName,
        partition: &str,
        keys: &Keys,
    ) -> Outcome<MutationResult> {
        let list = match keys {
            Keys::Int(keys) => keys.iter().map(i64::to_string).collect::<Vec<_>>(),
            Keys::Text(keys) => keys.iter().map(|key| quoted(key)).collect(),
        };
        let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
        let expr = format!("id in [{}]", list.join(","));
        Ok(call!(
            self,
            delete,
            DeleteRequest { db_name, collection_name, partition_name: partition.into(), expr }
        ))
    }

    /// `count(*)`: rows that were inserted twice count twice. `partitions` must be loaded; none: all.
    pub async fn count(&self, name: &CollectionName, partitions: &[String]) -> Outcome<i64> {
        self.count_where(name, partitions, String::new()).await
    }

    /// How many rows have one of these keys. The key field must be `id`.
    pub async fn count_of(&self, name: &CollectionName, partitions: &[String], keys: &[Key]) -> Outcome<i64> {
        let value = |key: &Key| match key {
            Key::Int(key) => key.to_string(),
            Key::Text(key) => quoted(key),
        };
        let values = keys.iter().map(value).collect::<Vec<_>>().join(", ");
        self.count_where(name, partitions, format!("id in [{values}]")).await
    }

    /// How many rows are found by their partition key: Milvus looks for them in the partition of that key alone.
    pub async fn count_by_tenant(&self, name: &CollectionName) -> Outcome<i64> {
        let mut count = 0;
        for tenant in TENANTS {
            count += self.count_where(name, &[], format!("tenant == {tenant}")).await?;
        }
        Ok(count)
    }

    async fn count_where(&self, name: &CollectionName, partitions: &[String], expr: String) -> Outcome<i64> {
        let columns = self.query(name, partitions, expr, vec!["count(*)".into()], vec![]).await?;
        match columns.into_iter().next().and_then(|column| column.field) {
            Some(Field::Scalars(ScalarField { data: Some(Data::LongData(counts)) }))
                if counts.data.len() == 1 =>
            {
                Ok(counts.data[0])
            }
            other => fail(format!("count(*) of {name} is {other:?}")),
        }
    }

    /// All rows, each key once, read strongly consistent and page by page.
    pub async fn rows(&self, name: &CollectionName, partitions: &[String]) -> Outcome<Rows> {
        let schema = self.describe(name).await?.schema.unwrap_or_default();
        let Some(key) = schema.fields.iter().find(|field| field.is_primary_key) else {
            return fail(format!("{name} has no primary key"));
        };
        let mut fields = schema.fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
        fields.extend(schema.enable_dynamic_field.then(|| "$meta".into()));
        let mut all = Rows::new();
        loop {
            let expr = match all.last_key_value() {
                Some((Key::Int(last), _)) => format!("{} > {last}", key.name),
                Some((Key::Text(last), _)) => format!("{} > {}", key.name, quoted(last)),
                None if key.data_type == 5 => format!("{} >= {}", key.name, i64::MIN + 1),
                None => format!("{} >= \"\"", key.name),
            };
            let limit = vec![pair("limit", PAGE)];
            let page = rows(self.query(name, partitions, expr, fields.clone(), limit).await?, &key.name)?;
            let full = page.len() == PAGE;
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }

    async fn query(
        &self,
        name: &CollectionName,
        partitions: &[String],
        expr: String,
        fields: Vec<String>,
        params: Vec<KeyValuePair>,
    ) -> Outcome<Vec<FieldData>> {
        let request = QueryRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            partition_names: partitions.to_vec(),
            expr,
            output_fields: fields,
            query_params: params,
            consistency_level: STRONG,
            ..QueryRequest::default()
        };
        let mut request = Request::new(request);
        request.set_timeout(QUERY);
        let answer = async { Ok(call!(self, query, request).fields_data) };
        let answer: Outcome<_> = answer.await;
        let is_late = |text: &str| LATE.iter().any(|late| text.contains(late));
        if answer.as_ref().is_err_and(|Failure(text)| is_late(text)) {
            // Milvus 2.3.5 may read no further on a channel of what it has just loaded, until it is loaded again
            eprintln!(
                "{name} at {}: a query was not answered within {QUERY:?}; it is loaded again",
                self.uri
            );
            self.load_again(name, partitions).await?;
        }
        answer
    }

    async fn load_again(&self, name: &CollectionName, partitions: &[String]) -> Outcome {
        if partitions.is_empty() {
            self.release(name).await?;
            return self.load(name).await;
        }
        let partitions = partitions.iter().map(String::as_str).collect::<Vec<_>>();
        self.release_partitions(name, &partitions).await?;
        self.load_partitions(name, &partitions).await
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn collection_request(name: &CollectionName) -> CollectionRequest {
    let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
    CollectionRequest { db_name, collection_name, base: None }
}

fn alias_request(name: &CollectionName, alias: &str) -> AliasRequest {
    let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
    AliasRequest { db_name, collection_name, alias: alias.into() }
}

fn partition_request(name: &CollectionName, partition: &str) -> PartitionRequest {
    let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
    PartitionRequest { db_name, collection_name, partition_name: partition.into() }
}

fn index_request(name: &CollectionName) -> IndexRequest {
    let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
    IndexRequest { db_name, collection_name, ..IndexRequest::default() }
}

fn rows_request(name: &CollectionName, partition: &str, rows: Columns) -> RowsRequest {
    RowsRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        partition_name: partition.into(),
        fields_data: rows.columns,
        num_rows: rows.count as u32,
        ..RowsRequest::default()
    }
}
