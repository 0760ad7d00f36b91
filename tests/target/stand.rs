//! The stand, and what the tests put into it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tapedeck::change::{CollectionName, DefinitionChange as Change, Keys, NewCollection, RowChange, Rows};
use tapedeck::grpc::Credential;
use tapedeck::pb::milvus::proto::common::KeyValuePair;
use tapedeck::pb::milvus::proto::milvus as pb;
use tapedeck::pb::milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use tapedeck::pb::milvus::proto::schema::field_data::Field;
use tapedeck::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use tapedeck::pb::milvus::proto::schema::vector_field::Data as Vector;
use tapedeck::pb::milvus::proto::schema::*;
use tapedeck::target::milvus::{MilvusOptions, MilvusTarget};
use tapedeck::target::{Mode, Target};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// A real target, asked through the adapter and, for what is in it, directly.
pub struct Stand {
    pub target: MilvusTarget,
    pub client: MilvusServiceClient<InterceptedService<Channel, Credential>>,
    /// Makes names that no run before has used.
    pub run: u128,
}

impl Stand {
    pub async fn found() -> Option<Stand> {
        let Ok(directory) = std::env::var("TAPEDECK_STAND") else {
            println!("skipped: no stand");
            return None;
        };
        let text = std::fs::read_to_string(format!("{directory}/stand.json")).unwrap();
        let stand: serde_json::Value = serde_json::from_str(&text).unwrap();
        let uri = stand["target"]["uri"].as_str().unwrap().to_owned();
        let channel = tonic::transport::Endpoint::from_shared(uri.clone()).unwrap().connect().await.unwrap();
        let token = stand["target"]["token"].as_str().map(str::to_owned);
        let credential = Credential::new("target", token.as_deref()).unwrap();
        let client =
            MilvusServiceClient::with_interceptor(channel, credential).max_decoding_message_size(64 << 20);
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let target = MilvusTarget::new(MilvusOptions { token, ..MilvusOptions::new(uri) }).unwrap();
        Some(Stand { target, client, run })
    }

    pub fn name(&self, name: &str) -> CollectionName {
        CollectionName::new("default", format!("{name}_{}", self.run))
    }

    /// Every definition is given twice: the second time changes nothing and succeeds.
    pub async fn define(&self, change: Change) {
        for time in ["first", "second"] {
            self.target.define(&change).await.unwrap_or_else(|error| panic!("{time} time: {error}"));
        }
    }

    pub async fn write(&self, name: &CollectionName, change: RowChange, mode: Mode) {
        self.target.write(name, &change, mode).await.unwrap_or_else(|error| panic!("{error}"));
    }

    pub async fn describe(&self, name: &CollectionName) -> pb::DescribeCollectionResponse {
        let request = pb::DescribeCollectionRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            ..Default::default()
        };
        self.client.clone().describe_collection(request).await.unwrap().into_inner()
    }

    pub async fn exists(&self, name: &CollectionName) -> bool {
        self.describe(name).await.status.unwrap_or_default().code == 0
    }

    pub async fn state(&self, name: &CollectionName, partitions: &[&str]) -> i32 {
        let request = pb::LoadProgressRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            partition_names: partitions.iter().map(ToString::to_string).collect(),
        };
        self.client.clone().get_load_state(request).await.unwrap().into_inner().state
    }

    /// Every row that a query shows: one of each key.
    pub async fn query(&self, name: &CollectionName, expr: &str, fields: &[&str]) -> Vec<FieldData> {
        let request = pb::QueryRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            expr: expr.to_owned(),
            output_fields: fields.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let answer = self.client.clone().query(request).await.unwrap().into_inner();
        let status = answer.status.unwrap_or_default();
        assert_eq!(status.code, 0, "{}", status.reason);
        answer.fields_data
    }

    /// How many rows are there, duplicates counted.
    pub async fn count(&self, name: &CollectionName) -> i64 {
        self.count_of(name, "").await
    }

    /// How many rows are shown by an expression, duplicates counted.
    pub async fn count_of(&self, name: &CollectionName, expr: &str) -> i64 {
        match scalars(&self.query(name, expr, &["count(*)"]).await[0]) {
            Scalar::LongData(count) => count.data[0],
            other => panic!("{other:?}"),
        }
    }

    pub async fn texts(&self, name: &CollectionName, expr: &str, key: &str) -> Vec<String> {
        let columns = self.query(name, expr, &[key]).await;
        let column = columns.iter().find(|column| column.field_name == key).unwrap();
        match scalars(column) {
            Scalar::StringData(texts) => texts.data.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn ages(&self, name: &CollectionName) -> BTreeMap<i64, i64> {
        let columns = self.query(name, "id > -1000000", &["id", "age"]).await;
        let longs =
            |name: &str| match scalars(columns.iter().find(|column| column.field_name == name).unwrap()) {
                Scalar::LongData(longs) => longs.data.clone(),
                other => panic!("{other:?}"),
            };
        longs("id").into_iter().zip(longs("age")).collect()
    }

    /// A collection with an Int64 key, an age and a vector, indexed and loaded.
    pub async fn people(&self, name: &CollectionName) {
        self.define(Change::CreateCollection(people(name))).await;
        self.define(index(name, "vector")).await;
        self.define(load(name, None)).await;
    }
}

pub fn scalars(column: &FieldData) -> &Scalar {
    match &column.field {
        Some(Field::Scalars(ScalarField { data: Some(data) })) => data,
        other => panic!("{other:?}"),
    }
}

/// An empty array as Milvus gives it back: without a type.
pub fn without_empty(field: &Field) -> Field {
    let mut field = field.clone();
    if let Field::Scalars(ScalarField { data: Some(Scalar::ArrayData(arrays)) }) = &mut field {
        for array in &mut arrays.data {
            if *array == (ScalarField { data: Some(Scalar::StringData(StringArray::default())) }) {
                array.data = None;
            }
        }
    }
    field
}

pub fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.to_owned(), value: value.to_owned() }
}

pub fn field(id: i64, name: &str, data_type: DataType, params: &[(&str, &str)]) -> FieldSchema {
    FieldSchema {
        field_id: id,
        name: name.to_owned(),
        data_type: data_type.into(),
        type_params: params.iter().map(|(key, value)| pair(key, value)).collect(),
        ..Default::default()
    }
}

pub fn key(field: FieldSchema) -> FieldSchema {
    FieldSchema { is_primary_key: true, ..field }
}

pub fn collection(name: &CollectionName, fields: Vec<FieldSchema>) -> NewCollection {
    NewCollection {
        name: name.clone(),
        schema: CollectionSchema { name: name.collection.clone(), fields, ..Default::default() },
        shards: 1,
        consistency_level: 0,
        properties: vec![pair("collection.ttl.seconds", "86400"), pair("replicate.id", "x")],
        partitions: vec!["_default".to_owned(), "p".to_owned()],
    }
}

/// As a source shows it: with ids, and with a key that the source generates.
pub fn people(name: &CollectionName) -> NewCollection {
    let mut id = key(field(100, "id", DataType::Int64, &[]));
    id.auto_id = true;
    let vector = field(102, "vector", DataType::FloatVector, &[("dim", "4")]);
    collection(name, vec![id, field(101, "age", DataType::Int64, &[]), vector])
}

pub fn index(name: &CollectionName, field: &str) -> Change {
    let params = vec![
        pair("index_type", "HNSW"),
        pair("metric_type", "L2"),
        pair("params", r#"{"M":8,"efConstruction":64}"#),
    ];
    Change::CreateIndex { name: name.clone(), field: field.to_owned(), index: format!("by_{field}"), params }
}

pub fn load(name: &CollectionName, partitions: Option<&[&str]>) -> Change {
    let partitions = partitions.map(|some| some.iter().map(ToString::to_string).collect());
    Change::Load { name: name.clone(), partitions, replicas: 1 }
}

pub fn release(name: &CollectionName, partitions: Option<&[&str]>) -> Change {
    let partitions = partitions.map(|some| some.iter().map(ToString::to_string).collect());
    Change::Release { name: name.clone(), partitions }
}

pub fn scalar_column(name: &str, data_type: DataType, data: Scalar) -> FieldData {
    let field = Some(Field::Scalars(ScalarField { data: Some(data) }));
    FieldData {
        r#type: data_type.into(),
        field_name: name.to_owned(),
        field,
        field_id: 7,
        ..Default::default()
    }
}

pub fn vector_column(name: &str, data_type: DataType, dim: i64, data: Vector) -> FieldData {
    let field = Some(Field::Vectors(VectorField { dim, data: Some(data) }));
    FieldData { r#type: data_type.into(), field_name: name.to_owned(), field, ..Default::default() }
}

pub fn longs(name: &str, data: Vec<i64>) -> FieldData {
    scalar_column(name, DataType::Int64, Scalar::LongData(LongArray { data }))
}

pub fn texts(name: &str, data: &[&str]) -> FieldData {
    let data = data.iter().map(ToString::to_string).collect();
    scalar_column(name, DataType::VarChar, Scalar::StringData(StringArray { data }))
}

pub fn vectors(name: &str, dim: usize, count: usize) -> FieldData {
    let numbers = (0..dim * count).flat_map(|number| (number as f32).to_le_bytes());
    let data = Vector::FloatVector(FloatArray { data: numbers.collect::<Vec<_>>().into() });
    vector_column(name, DataType::FloatVector, dim as i64, data)
}

pub fn people_rows(rows: &[(i64, i64)]) -> Rows {
    let (ids, ages) = rows.iter().copied().unzip();
    let columns = vec![longs("id", ids), longs("age", ages), vectors("vector", 4, rows.len())];
    Rows { columns, count: rows.len() }
}

pub fn insert(partition: Option<&str>, rows: Rows) -> RowChange {
    RowChange::Insert { partition: partition.map(str::to_owned), rows }
}

pub fn upsert(partition: Option<&str>, rows: Rows) -> RowChange {
    RowChange::Upsert { partition: partition.map(str::to_owned), rows }
}

pub fn delete(partition: Option<&str>, keys: Keys) -> RowChange {
    RowChange::Delete { partition: partition.map(str::to_owned), key_field: "id".to_owned(), keys }
}
