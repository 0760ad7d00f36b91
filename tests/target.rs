//! What `tapedeck::target::milvus` does to a real Milvus 2.3.5. Runs where `TAPEDECK_STAND` names the directory of a
//! running stand (`deploy/stand up --dir DIR --services etcd,target`); elsewhere it says that it was skipped.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tapedeck::change::{CollectionName, DefinitionChange as Change, Keys, NewCollection, RowChange, Rows};
use tapedeck::error::Verdict;
use tapedeck::pb::milvus::proto::common::KeyValuePair;
use tapedeck::pb::milvus::proto::milvus as pb;
use tapedeck::pb::milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use tapedeck::pb::milvus::proto::schema::field_data::Field;
use tapedeck::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use tapedeck::pb::milvus::proto::schema::vector_field::Data as Vector;
use tapedeck::pb::milvus::proto::schema::*;
use tapedeck::target::milvus::{MilvusOptions, MilvusTarget};
use tapedeck::target::{Mode, Target};
use tonic::transport::Channel;

/// A real target, asked through the adapter and, for what is in it, directly.
struct Stand {
    target: MilvusTarget,
    client: MilvusServiceClient<Channel>,
    /// Makes names that no run before has used.
    run: u128,
}

impl Stand {
    async fn found() -> Option<Stand> {
        let Ok(directory) = std::env::var("TAPEDECK_STAND") else {
            println!("skipped: no stand");
            return None;
        };
        let text = std::fs::read_to_string(format!("{directory}/stand.json")).unwrap();
        let stand: serde_json::Value = serde_json::from_str(&text).unwrap();
        let uri = stand["target"]["uri"].as_str().unwrap().to_owned();
        let channel = tonic::transport::Endpoint::from_shared(uri.clone()).unwrap().connect().await.unwrap();
        let client = MilvusServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        Some(Stand { target: MilvusTarget::new(MilvusOptions::new(uri)).unwrap(), client, run })
    }

    fn name(&self, name: &str) -> CollectionName {
        CollectionName::new("default", format!("{name}_{}", self.run))
    }

    /// Every definition is given twice: the second time changes nothing and succeeds.
    async fn define(&self, change: Change) {
        for time in ["first", "second"] {
            self.target.define(&change).await.unwrap_or_else(|error| panic!("{time} time: {error}"));
        }
    }

    async fn write(&self, name: &CollectionName, change: RowChange, mode: Mode) {
        self.target.write(name, &change, mode).await.unwrap_or_else(|error| panic!("{error}"));
    }

    async fn describe(&self, name: &CollectionName) -> pb::DescribeCollectionResponse {
        let request = pb::DescribeCollectionRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            ..Default::default()
        };
        self.client.clone().describe_collection(request).await.unwrap().into_inner()
    }

    async fn exists(&self, name: &CollectionName) -> bool {
        self.describe(name).await.status.unwrap_or_default().code == 0
    }

    async fn state(&self, name: &CollectionName, partitions: &[&str]) -> i32 {
        let request = pb::LoadProgressRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            partition_names: partitions.iter().map(ToString::to_string).collect(),
        };
        self.client.clone().get_load_state(request).await.unwrap().into_inner().state
    }

    /// Every row that a query shows: one of each key.
    async fn query(&self, name: &CollectionName, expr: &str, fields: &[&str]) -> Vec<FieldData> {
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
    async fn count(&self, name: &CollectionName) -> i64 {
        match scalars(&self.query(name, "", &["count(*)"]).await[0]) {
            Scalar::LongData(count) => count.data[0],
            other => panic!("{other:?}"),
        }
    }

    async fn texts(&self, name: &CollectionName, expr: &str, key: &str) -> Vec<String> {
        let columns = self.query(name, expr, &[key]).await;
        let column = columns.iter().find(|column| column.field_name == key).unwrap();
        match scalars(column) {
            Scalar::StringData(texts) => texts.data.clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn ages(&self, name: &CollectionName) -> BTreeMap<i64, i64> {
        let columns = self.query(name, "id > -1000000", &["id", "age"]).await;
        let longs =
            |name: &str| match scalars(columns.iter().find(|column| column.field_name == name).unwrap()) {
                Scalar::LongData(longs) => longs.data.clone(),
                other => panic!("{other:?}"),
            };
        longs("id").into_iter().zip(longs("age")).collect()
    }

    /// A collection with an Int64 key, an age and a vector, indexed and loaded.
    async fn people(&self, name: &CollectionName) {
        self.define(Change::CreateCollection(people(name))).await;
        self.define(index(name, "vector")).await;
        self.define(load(name, None)).await;
    }
}

fn scalars(column: &FieldData) -> &Scalar {
    match &column.field {
        Some(Field::Scalars(ScalarField { data: Some(data) })) => data,
        other => panic!("{other:?}"),
    }
}

/// An empty array as Milvus gives it back: without a type.
fn without_empty(field: &Field) -> Field {
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

fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.to_owned(), value: value.to_owned() }
}

fn field(id: i64, name: &str, data_type: DataType, params: &[(&str, &str)]) -> FieldSchema {
    FieldSchema {
        field_id: id,
        name: name.to_owned(),
        data_type: data_type.into(),
        type_params: params.iter().map(|(key, value)| pair(key, value)).collect(),
        ..Default::default()
    }
}

fn key(field: FieldSchema) -> FieldSchema {
    FieldSchema { is_primary_key: true, ..field }
}

fn collection(name: &CollectionName, fields: Vec<FieldSchema>) -> NewCollection {
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
fn people(name: &CollectionName) -> NewCollection {
    let mut id = key(field(100, "id", DataType::Int64, &[]));
    id.auto_id = true;
    let vector = field(102, "vector", DataType::FloatVector, &[("dim", "4")]);
    collection(name, vec![id, field(101, "age", DataType::Int64, &[]), vector])
}

fn index(name: &CollectionName, field: &str) -> Change {
    let params = vec![
        pair("index_type", "HNSW"),
        pair("metric_type", "L2"),
        pair("params", r#"{"M":8,"efConstruction":64}"#),
    ];
    Change::CreateIndex { name: name.clone(), field: field.to_owned(), index: format!("by_{field}"), params }
}

fn load(name: &CollectionName, partitions: Option<&[&str]>) -> Change {
    let partitions = partitions.map(|some| some.iter().map(ToString::to_string).collect());
    Change::Load { name: name.clone(), partitions, replicas: 1 }
}

fn release(name: &CollectionName, partitions: Option<&[&str]>) -> Change {
    let partitions = partitions.map(|some| some.iter().map(ToString::to_string).collect());
    Change::Release { name: name.clone(), partitions }
}

fn scalar_column(name: &str, data_type: DataType, data: Scalar) -> FieldData {
    let field = Some(Field::Scalars(ScalarField { data: Some(data) }));
    FieldData {
        r#type: data_type.into(),
        field_name: name.to_owned(),
        field,
        field_id: 7,
        ..Default::default()
    }
}

fn vector_column(name: &str, data_type: DataType, dim: i64, data: Vector) -> FieldData {
    let field = Some(Field::Vectors(VectorField { dim, data: Some(data) }));
    FieldData { r#type: data_type.into(), field_name: name.to_owned(), field, ..Default::default() }
}

fn longs(name: &str, data: Vec<i64>) -> FieldData {
    scalar_column(name, DataType::Int64, Scalar::LongData(LongArray { data }))
}

fn texts(name: &str, data: &[&str]) -> FieldData {
    let data = data.iter().map(ToString::to_string).collect();
    scalar_column(name, DataType::VarChar, Scalar::StringData(StringArray { data }))
}

fn vectors(name: &str, dim: usize, count: usize) -> FieldData {
    let numbers = (0..dim * count).flat_map(|number| (number as f32).to_le_bytes());
    let data = Vector::FloatVector(FloatArray { data: numbers.collect::<Vec<_>>().into() });
    vector_column(name, DataType::FloatVector, dim as i64, data)
}

fn people_rows(rows: &[(i64, i64)]) -> Rows {
    let (ids, ages) = rows.iter().copied().unzip();
    let columns = vec![longs("id", ids), longs("age", ages), vectors("vector", 4, rows.len())];
    Rows { columns, count: rows.len() }
}

fn insert(partition: Option<&str>, rows: Rows) -> RowChange {
    RowChange::Insert { partition: partition.map(str::to_owned), rows }
}

fn upsert(partition: Option<&str>, rows: Rows) -> RowChange {
    RowChange::Upsert { partition: partition.map(str::to_owned), rows }
}

fn delete(partition: Option<&str>, keys: Keys) -> RowChange {
    RowChange::Delete { partition: partition.map(str::to_owned), key_field: "id".to_owned(), keys }
}

#[tokio::test]
async fn it_says_what_it_is() {
    let Some(stand) = Stand::found().await else { return };
    assert!(stand.target.hello().await.unwrap().starts_with("Milvus v2.3.5"));
}

#[tokio::test]
async fn a_target_that_is_not_there_may_come() {
    let target = MilvusTarget::new(MilvusOptions::new("http://127.0.0.1:1")).unwrap();
    let error = target.hello().await.unwrap_err();
    assert!(error.is_retry() && error.advice.is_some(), "{error}");
}

#[tokio::test]
async fn databases_come_and_go() {
    let Some(stand) = Stand::found().await else { return };
    let database = format!("db_{}", stand.run);
    let drop = || Change::DropDatabase { database: database.clone() };
    stand.define(Change::CreateDatabase { database: database.clone() }).await;
    let name = CollectionName::new(&database, "people");
    stand.define(Change::CreateCollection(people(&name))).await;

    let error = stand.target.define(&drop()).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    assert!(error.to_string().contains("people"), "{error}");

    stand.define(Change::DropCollection { name }).await;
    stand.define(drop()).await;
    let left = stand.client.clone().list_databases(pb::ListDatabasesRequest {}).await.unwrap().into_inner();
    assert!(!left.db_names.contains(&database));

    let name = CollectionName::new(&database, "people");
    let error = stand.target.define(&Change::CreateCollection(people(&name))).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator, "{error}");
    for change in [
        Change::DropCollection { name: name.clone() },
        Change::DropPartition { name: name.clone(), partition: "p".to_owned() },
        Change::DropIndex { name: name.clone(), field: "vector".to_owned(), index: "by_vector".to_owned() },
        Change::DropAlias { database, alias: "a".to_owned() },
        release(&name, None),
        release(&name, Some(&["p"])),
    ] {
        stand.define(change).await; // nothing there: nothing to do
    }
}

#[tokio::test]
async fn a_collection_is_created_as_the_source_has_it_but_keeps_its_keys() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    let mut new = people(&name);
    new.schema.fields.insert(0, field(0, "RowID", DataType::Int64, &[]));
    new.schema.fields.insert(1, field(1, "Timestamp", DataType::Int64, &[]));
    new.schema.fields.push(FieldSchema { is_dynamic: true, ..field(103, "$meta", DataType::Json, &[]) });
    new.schema.enable_dynamic_field = true;
    new.shards = 2;
    stand.define(Change::CreateCollection(new)).await;
    let found = stand.describe(&name).await;
    let schema = found.schema.unwrap();
    let fields = schema.fields.iter().map(|field| (field.name.as_str(), field.auto_id)).collect::<Vec<_>>();
    assert_eq!(fields, [("id", false), ("age", false), ("vector", false)]);
    assert!(schema.enable_dynamic_field);
    assert_eq!((found.shards_num, found.consistency_level), (2, 0));
    assert_eq!(found.properties, [pair("collection.ttl.seconds", "86400")]);
    let partitions = pb::ShowPartitionsRequest { db_name: name.database, collection_name: name.collection };
    let mut names =
        stand.client.clone().show_partitions(partitions).await.unwrap().into_inner().partition_names;
    names.sort();
    assert_eq!(names, ["_default", "p"]);
}

#[tokio::test]
async fn another_collection_of_the_name_is_refused_with_the_differences() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    stand.define(Change::CreateCollection(people(&name))).await;
    let mut other = people(&name);
    other.shards = 2;
    other.schema.enable_dynamic_field = true;
    other.schema.fields[1].data_type = DataType::VarChar.into();
    other.schema.fields[1].type_params = vec![pair("max_length", "10")];
    other.schema.fields[2].type_params[0].value = "8".to_owned();
    other.schema.fields.push(field(0, "more", DataType::Bool, &[]));
    let error = stand.target.define(&Change::CreateCollection(other)).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    for difference in [
        "shards: source 2, target 1",
        "dynamic fields: source true, target false",
        "field age, type: source VarChar, target Int64",
        "field age, parameters: source {max_length=10}, target {}",
        "field vector, parameters: source {dim=8}, target {dim=4}",
        "field more: source present, target absent",
    ] {
        assert!(error.to_string().contains(difference), "{difference} is not in: {error}");
    }
}

#[tokio::test]
async fn what_the_version_drops_in_silence_is_named() {
    let Some(stand) = Stand::found().await else { return };
    let mut new = people(&stand.name("people"));
    new.schema.fields[1].nullable = true;
    let error = stand.target.define(&Change::CreateCollection(new)).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    assert!(error.to_string().contains("field age, nullable: source true, target false"), "{error}");
}

#[tokio::test]
async fn collections_are_renamed_within_and_across_databases() {
    let Some(stand) = Stand::found().await else { return };
    let (from, to) = (stand.name("people"), stand.name("humans"));
    stand.define(Change::CreateCollection(people(&from))).await;
    stand.define(Change::RenameCollection { from: from.clone(), to: to.clone() }).await;
    assert!(!stand.exists(&from).await && stand.exists(&to).await);

    let database = format!("db_{}", stand.run);
    stand.define(Change::CreateDatabase { database: database.clone() }).await;
    let away = CollectionName::new(&database, "people");
    stand.define(Change::RenameCollection { from: to.clone(), to: away.clone() }).await;
    assert!(!stand.exists(&to).await && stand.exists(&away).await);

    let nothing = Change::RenameCollection { from: stand.name("x"), to: stand.name("y") };
    assert_eq!(stand.target.define(&nothing).await.unwrap_err().verdict, Verdict::Operator);
    stand.define(Change::CreateCollection(people(&to))).await;
    let taken = Change::RenameCollection { from: away.clone(), to: to.clone() };
    assert_eq!(stand.target.define(&taken).await.unwrap_err().verdict, Verdict::Operator);
    stand.define(Change::DropCollection { name: away }).await;
    stand.define(Change::DropDatabase { database }).await;
}

#[tokio::test]
async fn aliases_do_not_outlive_their_collection() {
    let Some(stand) = Stand::found().await else { return };
    let (one, other) = (stand.name("one"), stand.name("other"));
    let alias = stand.name("alias");
    let of = |name: &CollectionName| (name.clone(), alias.collection.clone());
    for name in [&one, &other] {
        stand.define(Change::CreateCollection(people(name))).await;
    }
    let (name, text) = of(&one);
    stand.define(Change::CreateAlias { name, alias: text }).await;
    let (name, text) = of(&other);
    let taken = Change::CreateAlias { name, alias: text };
    assert_eq!(stand.target.define(&taken).await.unwrap_err().verdict, Verdict::Operator);

    // an alias is no collection
    stand.define(Change::DropCollection { name: alias.clone() }).await;
    assert!(stand.exists(&one).await);
    let error = stand.target.define(&Change::CreateCollection(people(&alias))).await.unwrap_err();
    assert!(error.to_string().contains("alias"), "{error}");

    let (name, text) = of(&other);
    stand.define(Change::AlterAlias { name, alias: text }).await;
    assert_eq!(stand.describe(&alias).await.schema.unwrap().name, other.collection);

    stand.define(Change::DropCollection { name: other.clone() }).await;
    stand.define(Change::CreateCollection(people(&alias))).await; // its name is free again
    stand.define(Change::DropCollection { name: alias.clone() }).await;

    let (name, text) = of(&one);
    stand.define(Change::AlterAlias { name, alias: text }).await;
    assert_eq!(stand.describe(&alias).await.schema.unwrap().name, one.collection);
    stand.define(Change::DropAlias { database: "default".to_owned(), alias: alias.collection.clone() }).await;
    assert!(!stand.exists(&alias).await);
}

#[tokio::test]
async fn an_alias_of_a_collection_that_others_dropped_is_taken_over() {
    let Some(stand) = Stand::found().await else { return };
    let (one, other, alias) = (stand.name("one"), stand.name("other"), stand.name("alias"));
    for name in [&one, &other] {
        stand.define(Change::CreateCollection(people(name))).await;
    }
    stand.define(Change::CreateAlias { name: one.clone(), alias: alias.collection.clone() }).await;
    let request = pb::CollectionRequest {
        db_name: one.database.clone(),
        collection_name: one.collection.clone(),
        ..Default::default()
    };
    stand.client.clone().drop_collection(request).await.unwrap();
    stand.define(Change::CreateAlias { name: other.clone(), alias: alias.collection.clone() }).await;
    assert_eq!(stand.describe(&alias).await.schema.unwrap().name, other.collection);
}

#[tokio::test]
async fn partitions_are_loaded_released_and_dropped_one_by_one() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    stand.define(Change::CreateCollection(people(&name))).await;
    let error = stand.target.define(&load(&name, None)).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator, "{error}"); // no index
    stand.define(index(&name, "vector")).await;
    stand.define(Change::CreatePartition { name: name.clone(), partition: "q".to_owned() }).await;

    stand.define(load(&name, Some(&["p"]))).await;
    assert_eq!((stand.state(&name, &["p"]).await, stand.state(&name, &["q"]).await), (3, 1));
    stand.define(load(&name, Some(&["q"]))).await; // more of a partly loaded collection
    assert_eq!((stand.state(&name, &["p", "q"]).await, stand.state(&name, &["_default"]).await), (3, 1));
    stand.define(load(&name, None)).await; // the whole of a partly loaded collection
    assert_eq!(stand.state(&name, &["p", "q", "_default"]).await, 3);

    stand.define(Change::DropPartition { name: name.clone(), partition: "q".to_owned() }).await;
    assert_eq!(stand.state(&name, &["p", "_default"]).await, 3);
    stand.define(release(&name, Some(&["p"]))).await;
    assert_eq!((stand.state(&name, &["p"]).await, stand.state(&name, &["_default"]).await), (1, 3));
    stand.define(release(&name, None)).await;
    assert_eq!(stand.state(&name, &[]).await, 1);

    let replicas = Change::Load { name: name.clone(), partitions: None, replicas: 2 };
    stand.define(replicas).await; // with one node: one replica
    assert_eq!(stand.state(&name, &["p", "_default"]).await, 3);
}

#[tokio::test]
async fn indexes_are_created_compared_and_dropped_even_while_loaded() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    stand.people(&name).await;
    let params = vec![pair("index_type", "STL_SORT")];
    let scalar = Change::CreateIndex {
        name: name.clone(),
        field: "age".to_owned(),
        index: "by_age".to_owned(),
        params,
    };
    stand.define(scalar).await;

    let Change::CreateIndex { name: _, field, index, mut params } = index(&name, "vector") else { panic!() };
    params[1].value = "IP".to_owned();
    let other = Change::CreateIndex { name: name.clone(), field, index, params };
    let error = stand.target.define(&other).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    assert!(
        error.to_string().contains("metric_type=L2") && error.to_string().contains("metric_type=IP"),
        "{error}"
    );

    for field in ["vector", "age"] {
        let (field, index) = (field.to_owned(), format!("by_{field}"));
        stand.define(Change::DropIndex { name: name.clone(), field, index }).await;
    }
    stand.define(other).await;
}

#[tokio::test]
async fn properties_are_altered() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    stand.define(Change::CreateCollection(people(&name))).await;
    let properties = vec![pair("collection.ttl.seconds", "60"), pair("replicate.id", "y")];
    stand.define(Change::AlterCollection { name: name.clone(), properties }).await;
    stand.define(Change::AlterCollection { name: name.clone(), properties: vec![] }).await;
    assert_eq!(stand.describe(&name).await.properties, [pair("collection.ttl.seconds", "60")]);
}

#[tokio::test]
async fn a_flush_returns_when_the_rows_are_persisted() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    stand.people(&name).await;
    stand.define(Change::Flush { name: name.clone() }).await; // nothing there
    stand.write(&name, insert(None, people_rows(&[(1, 1), (2, 2)])), Mode::Plain).await;
    stand.define(Change::Flush { name: name.clone() }).await;
    let request = pb::SegmentInfoRequest { db_name: name.database, collection_name: name.collection };
    let segments =
        stand.client.clone().get_persistent_segment_info(request).await.unwrap().into_inner().infos;
    assert_eq!(
        segments.iter().filter(|segment| segment.state == 4).map(|segment| segment.num_rows).sum::<i64>(),
        2
    );
}

#[tokio::test]
async fn plain_inserts_double_and_safe_ones_do_not() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    stand.people(&name).await;
    let rows = || insert(None, people_rows(&[(1, 10), (2, 20), (2, 21), (3, 30)]));
    stand.write(&name, rows(), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 4);
    for _ in 0..2 {
        stand.write(&name, rows(), Mode::Safe).await;
        assert_eq!(stand.count(&name).await, 4, "a key that stands twice keeps both rows");
    }
    stand.write(&name, rows(), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 8);
    stand.write(&name, upsert(None, people_rows(&[(1, 11), (2, 22), (4, 40), (4, 41)])), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 2 + 1 + 1 + 2);
    stand.write(&name, delete(None, Keys::Int(vec![2, 3, 4, 5])), Mode::Plain).await;
    assert_eq!(stand.ages(&name).await, BTreeMap::from([(1, 11)]));
    stand.write(&name, insert(None, people_rows(&[])), Mode::Plain).await;
    stand.write(&name, delete(None, Keys::Int(vec![])), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 1);
}

#[tokio::test]
async fn a_partition_that_is_named_is_the_only_one_touched() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    stand.people(&name).await;
    let rows = || people_rows(&[(1, 10), (2, 20)]);
    stand.write(&name, insert(None, rows()), Mode::Plain).await;
    stand.write(&name, insert(Some("p"), rows()), Mode::Plain).await;
    stand.write(&name, upsert(Some("p"), rows()), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 4);
    stand.write(&name, delete(Some("p"), Keys::Int(vec![1])), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 3);
    stand.write(&name, delete(None, Keys::Int(vec![1, 2])), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 0);
}

#[tokio::test]
async fn drift_on_a_write_is_for_a_person() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("people");
    let write = async |change| stand.target.write(&name, &change, Mode::Plain).await.unwrap_err();
    for change in [insert(None, people_rows(&[(1, 1)])), delete(None, Keys::Int(vec![1]))] {
        let error = write(change).await;
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.advice.is_some() && error.to_string().contains(&name.collection), "{error}");
    }
    stand.define(Change::CreateCollection(people(&name))).await;
    let mut narrow = people_rows(&[(1, 1)]);
    narrow.columns.remove(1);
    for change in [insert(Some("nowhere"), people_rows(&[(1, 1)])), insert(None, narrow)] {
        let error = write(change).await;
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.advice.is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_partition_key_spreads_the_rows_itself() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("tenants");
    let tenant = FieldSchema { is_partition_key: true, ..field(101, "tenant", DataType::Int64, &[]) };
    let vector = field(102, "vector", DataType::FloatVector, &[("dim", "4")]);
    let mut new = collection(&name, vec![key(field(100, "id", DataType::Int64, &[])), tenant, vector]);
    new.partitions = (0..7).map(|number| format!("_default_{number}")).collect();
    stand.define(Change::CreateCollection(new.clone())).await;
    assert_eq!(stand.describe(&name).await.num_partitions, 7);
    stand.define(index(&name, "vector")).await;
    stand.define(load(&name, None)).await;
    let rows = |tenant: i64| Rows {
        columns: vec![
            longs("id", (0..50).collect()),
            longs("tenant", (0..50).map(|number| number * tenant).collect()),
            vectors("vector", 4, 50),
        ],
        count: 50,
    };
    stand.write(&name, insert(None, rows(1)), Mode::Plain).await;
    stand.write(&name, insert(None, rows(3)), Mode::Safe).await;
    assert_eq!(stand.count(&name).await, 50);
    stand.write(&name, delete(None, Keys::Int((0..49).collect())), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 1);
    new.partitions.pop();
    let error = stand.target.define(&Change::CreateCollection(new)).await.unwrap_err();
    assert!(error.to_string().contains("partitions by key: source 6, target 7"), "{error}");
}

#[tokio::test]
async fn text_keys_are_deleted_whatever_stands_in_them() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("texts");
    let id = key(field(100, "id", DataType::VarChar, &[("max_length", "200")]));
    let vector = field(101, "vector", DataType::FloatVector, &[("dim", "4")]);
    stand.define(Change::CreateCollection(collection(&name, vec![id, vector]))).await;
    stand.define(index(&name, "vector")).await;
    stand.define(load(&name, None)).await;
    let controls = (1u8..32).map(char::from).collect::<String>();
    let keys = [
        "plain",
        "a\"b",
        "a'b",
        "a\\b",
        "ends with \\",
        "\\n is no newline",
        "new\nline",
        "carriage\rreturn\ttab",
        "nul \0 inside",
        "del \x7f",
        controls.as_str(),
        "日本語 ünïcödé 🦀",
        "\u{2028}\u{feff}",
        "\"] or id in [\"plain",
        "{x} %s $1 [1] `",
        "",
        " ",
    ];
    let kept = "kept";
    let all = keys.iter().copied().chain([kept]).collect::<Vec<_>>();
    let rows = Rows { columns: vec![texts("id", &all), vectors("vector", 4, all.len())], count: all.len() };
    stand.write(&name, insert(None, rows), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, all.len() as i64);
    for (number, key) in keys.iter().enumerate() {
        stand.write(&name, delete(None, Keys::Text(vec![key.to_string()])), Mode::Plain).await;
        assert_eq!(stand.count(&name).await, (all.len() - number - 1) as i64, "{key:?}");
    }
    assert_eq!(stand.texts(&name, "id in [\"kept\"]", "id").await, ["kept"]);
}

#[tokio::test]
async fn every_type_of_field_arrives() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("types");
    let array = FieldSchema {
        element_type: DataType::VarChar.into(),
        ..field(107, "array", DataType::Array, &[("max_capacity", "8"), ("max_length", "20")])
    };
    let fields = vec![
        key(field(100, "id", DataType::Int64, &[])),
        field(101, "bool", DataType::Bool, &[]),
        field(102, "int8", DataType::Int8, &[]),
        field(103, "int32", DataType::Int32, &[]),
        field(104, "float", DataType::Float, &[]),
        field(105, "double", DataType::Double, &[]),
        field(106, "json", DataType::Json, &[]),
        array,
        field(108, "text", DataType::VarChar, &[("max_length", "100")]),
        field(109, "vector", DataType::BinaryVector, &[("dim", "16")]),
    ];
    let mut new = collection(&name, fields);
    new.schema.enable_dynamic_field = true;
    stand.define(Change::CreateCollection(new)).await;
    let params = vec![pair("index_type", "BIN_FLAT"), pair("metric_type", "HAMMING"), pair("params", "{}")];
    let (field, index) = ("vector".to_owned(), "by_vector".to_owned());
    stand.define(Change::CreateIndex { name: name.clone(), field, index, params }).await;
    stand.define(load(&name, None)).await;
    let array = |data: &[&str]| {
        let data = data.iter().map(ToString::to_string).collect();
        ScalarField { data: Some(Scalar::StringData(StringArray { data })) }
    };
    let arrays =
        ArrayArray { data: vec![array(&["x", "y"]), array(&[])], element_type: DataType::VarChar.into() };
    let floats = [1.5f32, -2.5].iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let doubles = [1e300f64, -0.0].iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let json =
        |data: [&'static str; 2]| Scalar::JsonData(JsonArray { data: data.map(|text| text.into()).to_vec() });
    let columns = vec![
        longs("id", vec![1, 2]),
        scalar_column("bool", DataType::Bool, Scalar::BoolData(BoolArray { data: vec![true, false] })),
        scalar_column("int8", DataType::Int8, Scalar::IntData(IntArray { data: vec![-128, 127] })),
        scalar_column("int32", DataType::Int32, Scalar::IntData(IntArray { data: vec![i32::MIN, i32::MAX] })),
        scalar_column("float", DataType::Float, Scalar::FloatData(FloatArray { data: floats.into() })),
        scalar_column("double", DataType::Double, Scalar::DoubleData(DoubleArray { data: doubles.into() })),
        scalar_column("json", DataType::Json, json([r#"{"a":[1]}"#, "null"])),
        scalar_column("array", DataType::Array, Scalar::ArrayData(arrays)),
        texts("text", &["one", ""]),
        vector_column("vector", DataType::BinaryVector, 16, Vector::BinaryVector(vec![1, 2, 3, 4].into())),
        scalar_column("$meta", DataType::Json, json([r#"{"free":"x"}"#, "{}"])),
    ];
    let rows = Rows { columns, count: 2 };
    stand.write(&name, insert(None, rows.clone()), Mode::Plain).await;
    stand.write(&name, insert(None, rows.clone()), Mode::Safe).await;
    let names = rows.columns.iter().map(|column| column.field_name.as_str()).collect::<Vec<_>>();
    let found = stand.query(&name, "id in [1,2]", &names).await;
    for column in &rows.columns {
        let found = found.iter().find(|found| found.field_name == column.field_name).unwrap();
        assert_eq!(found.field.as_ref().map(without_empty), column.field.as_ref().map(without_empty));
    }
}

#[tokio::test]
async fn a_change_above_the_limit_goes_out_in_parts() {
    let Some(stand) = Stand::found().await else { return };
    let name = stand.name("large");
    let vector = field(101, "vector", DataType::FloatVector, &[("dim", "1024")]);
    let new = collection(&name, vec![key(field(100, "id", DataType::Int64, &[])), vector]);
    stand.define(Change::CreateCollection(new)).await;
    stand.define(index(&name, "vector")).await;
    stand.define(load(&name, None)).await;
    let count = 20_000; // 80 MB: Milvus itself refuses more than 64 MiB
    let columns = vec![longs("id", (0..count as i64).collect()), vectors("vector", 1024, count)];
    stand.write(&name, insert(None, Rows { columns, count }), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, count as i64);
    stand.write(&name, delete(None, Keys::Int((1..count as i64).collect())), Mode::Plain).await;
    assert_eq!(stand.count(&name).await, 1);
    stand.define(Change::DropCollection { name }).await;
}
