use super::*;
use crate::change::{Keys, NewCollection};
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::{
    CollectionSchema, DataType, FieldData, FieldSchema, LongArray, ScalarField,
};
use crate::rows::Key;

fn name() -> CollectionName {
    CollectionName::new("default", "docs")
}

fn field(name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema { name: name.to_owned(), data_type: data_type.into(), ..Default::default() }
}

fn new_collection() -> NewCollection {
    let key = FieldSchema { is_primary_key: true, ..field("id", DataType::Int64) };
    let fields = vec![key, field("age", DataType::Int64)];
    NewCollection {
        name: name(),
        schema: CollectionSchema { fields, ..Default::default() },
        shards: 1,
        consistency_level: 1,
        properties: vec![],
        partitions: vec!["_default".to_owned(), "p".to_owned()],
    }
}

fn longs(name: &str, data: Vec<i64>) -> FieldData {
    let field = Some(Field::Scalars(ScalarField { data: Some(Scalar::LongData(LongArray { data })) }));
    FieldData { r#type: DataType::Int64.into(), field_name: name.to_owned(), field, ..Default::default() }
}

fn rows(rows: &[(i64, i64)]) -> Rows {
    let (ids, ages) = rows.iter().copied().unzip();
    Rows { columns: vec![longs("id", ids), longs("age", ages)], count: rows.len() }
}

fn insert(list: &[(i64, i64)]) -> RowChange {
    RowChange::Insert { partition: None, rows: rows(list) }
}

fn insert_into(partition: &str, list: &[(i64, i64)]) -> RowChange {
    RowChange::Insert { partition: Some(partition.to_owned()), rows: rows(list) }
}

fn delete(partition: Option<&str>, keys: &[i64]) -> RowChange {
    let (partition, key_field) = (partition.map(str::to_owned), "id".to_owned());
    RowChange::Delete { partition, key_field, keys: Keys::Int(keys.to_vec()) }
}

async fn target() -> MemoryTarget {
    let target = MemoryTarget::new();
    target.define(&DefinitionChange::CreateCollection(new_collection())).await.unwrap();
    target
}

fn keys(target: &MemoryTarget) -> Vec<i64> {
    let contents = target.contents();
    let keys = contents.collections[&name()].rows().map(|(key, _)| key.clone());
    keys.map(|key| if let Key::Int(key) = key { key } else { panic!() }).collect()
}

#[tokio::test]
async fn insert_doubles_upsert_replaces_and_delete_removes_all() {
    let target = target().await;
    let write = async |change, mode| target.write(&name(), &change, mode).await.unwrap();
    write(insert(&[(1, 10), (2, 20)]), Mode::Plain).await;
    write(insert(&[(1, 11)]), Mode::Plain).await;
    assert_eq!(keys(&target), [1, 1, 2]);
    write(RowChange::Upsert { partition: None, rows: rows(&[(1, 12)]) }, Mode::Plain).await;
    assert_eq!(keys(&target), [1, 2]);
    write(insert(&[(2, 21)]), Mode::Plain).await;
    write(delete(None, &[2, 3]), Mode::Plain).await;
    assert_eq!(keys(&target), [1]);
}

#[tokio::test]
async fn a_change_repeated_in_safe_mode_leaves_what_it_leaves_once() {
    for fault in [Fault::Before, Fault::Half, Fault::After] {
        let change = insert(&[(1, 10), (1, 10), (2, 20), (3, 30)]);
        let once = target().await;
        once.write(&name(), &change, Mode::Plain).await.unwrap();

        let twice = target().await;
        twice.fail_at(2, fault);
        assert!(twice.write(&name(), &change, Mode::Plain).await.unwrap_err().is_retry());
        twice.write(&name(), &change, Mode::Safe).await.unwrap();
        assert_eq!(twice.contents(), once.contents(), "{fault:?}");
    }
}

#[tokio::test]
async fn faults_strike_once_before_within_or_after_a_call() {
    for (fault, left) in [(Fault::Before, vec![]), (Fault::Half, vec![1]), (Fault::After, vec![1, 2])] {
        let target = target().await;
        target.fail_at(2, fault);
        assert!(target.write(&name(), &insert(&[(1, 1), (2, 2)]), Mode::Plain).await.is_err());
        assert_eq!((keys(&target), target.calls()), (left, 2));
        target.write(&name(), &delete(None, &[1, 2]), Mode::Plain).await.unwrap();
    }
}

#[tokio::test]
async fn equality_does_not_see_the_order_of_rows_but_their_number() {
    let (one, other) = (target().await, target().await);
    one.write(&name(), &insert(&[(1, 10), (1, 11), (2, 20)]), Mode::Plain).await.unwrap();
    other.write(&name(), &insert(&[(2, 20), (1, 11), (1, 10)]), Mode::Plain).await.unwrap();
    assert_eq!(one.contents(), other.contents());
    other.write(&name(), &insert(&[(1, 11)]), Mode::Plain).await.unwrap();
    assert_ne!(one.contents(), other.contents());
}

#[tokio::test]
async fn a_partition_keeps_its_rows_for_itself() {
    let target = target().await;
    let write = async |change| target.write(&name(), &change, Mode::Plain).await;
    write(insert(&[(1, 10)])).await.unwrap();
    write(insert_into("p", &[(1, 11)])).await.unwrap();
    write(RowChange::Upsert { partition: Some("p".to_owned()), rows: rows(&[(1, 12)]) }).await.unwrap();
    assert_eq!(keys(&target), [1, 1]);
    write(delete(Some("p"), &[1])).await.unwrap();
    assert_eq!(keys(&target), [1]);
    write(insert_into("p", &[(1, 13)])).await.unwrap();
    write(delete(None, &[1])).await.unwrap();
    assert!(keys(&target).is_empty());
    assert!(write(insert_into("nowhere", &[(1, 1)])).await.unwrap_err().to_string().contains("nowhere"));
}

#[tokio::test]
async fn rows_of_another_schema_are_refused() {
    let target = target().await;
    let mut other = rows(&[(1, 1)]);
    other.columns.pop();
    let change = RowChange::Insert { partition: None, rows: other };
    assert!(target.write(&name(), &change, Mode::Plain).await.unwrap_err().to_string().contains("age"));
    let elsewhere = CollectionName::new("default", "nowhere");
    assert!(target.write(&elsewhere, &insert(&[(1, 1)]), Mode::Plain).await.is_err());
}

fn definitions() -> Vec<DefinitionChange> {
    use DefinitionChange as Change;
    let moved = CollectionName::new("db", "moved");
    let pair = |key: &str, value: &str| vec![KeyValuePair { key: key.to_owned(), value: value.to_owned() }];
    let some = |partition: &str| Some(vec![partition.to_owned()]);
    vec![
        Change::CreateDatabase { database: "db".to_owned() },
        Change::CreateCollection(new_collection()),
        Change::CreatePartition { name: name(), partition: "q".to_owned() },
        Change::CreateIndex {
            name: name(),
            field: "age".to_owned(),
            index: "by_age".to_owned(),
            params: pair("index_type", "STL_SORT"),
        },
        Change::CreateAlias { name: name(), alias: "a".to_owned() },
        Change::Load { name: name(), partitions: some("q"), replicas: 1 },
        Change::Load { name: name(), partitions: None, replicas: 1 },
        Change::Release { name: name(), partitions: some("p") },
        Change::DropPartition { name: name(), partition: "q".to_owned() },
        Change::AlterCollection {
            name: name(),
            properties: pair("collection.ttl.seconds", "60"),
            removed: vec![],
        },
        Change::RenameCollection { from: name(), to: moved.clone() },
        Change::Flush { name: moved.clone() },
        Change::Release { name: moved.clone(), partitions: None },
        Change::DropIndex { name: moved.clone(), field: "age".to_owned(), index: "by_age".to_owned() },
        Change::CreateAlias { name: moved.clone(), alias: "b".to_owned() },
        Change::DropAlias { name: moved.clone(), alias: "b".to_owned() },
        Change::AlterAlias { from: name(), name: moved.clone(), alias: "c".to_owned() },
        Change::DropCollection { name: moved },
        Change::DropDatabase { database: "db".to_owned() },
    ]
}

#[tokio::test]
async fn a_definition_given_twice_is_as_given_once() {
    let (once, twice) = (MemoryTarget::new(), MemoryTarget::new());
    for change in definitions() {
        once.define(&change).await.unwrap();
        twice.define(&change).await.unwrap();
        twice.define(&change).await.unwrap();
        assert_eq!(once.contents(), twice.contents(), "{change:?}");
    }
    assert_eq!(once.contents(), MemoryTarget::new().contents());
}

#[tokio::test]
async fn aliases_follow_a_rename_and_go_with_the_collection() {
    let target = target().await;
    let to = CollectionName::new("default", "papers");
    target.define(&DefinitionChange::CreateAlias { name: name(), alias: "a".to_owned() }).await.unwrap();
    target.define(&DefinitionChange::RenameCollection { from: name(), to: to.clone() }).await.unwrap();
    assert_eq!(target.contents().aliases.values().collect::<Vec<_>>(), [&to]);
    target.define(&DefinitionChange::DropCollection { name: to }).await.unwrap();
    assert!(target.contents().aliases.is_empty());
}

#[tokio::test]
async fn another_definition_of_the_same_name_is_for_a_person() {
    let target = target().await;
    let mut other = new_collection();
    other.schema.fields[1].data_type = DataType::VarChar.into();
    let error = target.define(&DefinitionChange::CreateCollection(other)).await.unwrap_err();
    assert!(!error.is_retry() && error.to_string().contains("docs"));
}

#[tokio::test]
async fn a_vector_field_without_index_cannot_be_loaded() {
    let target = MemoryTarget::new();
    let mut new = new_collection();
    new.schema.fields.push(field("vector", DataType::FloatVector));
    target.define(&DefinitionChange::CreateCollection(new)).await.unwrap();
    let load = DefinitionChange::Load { name: name(), partitions: None, replicas: 1 };
    assert!(target.define(&load).await.unwrap_err().to_string().contains("vector"));
}

#[tokio::test]
async fn an_alias_of_another_collection_is_left_alone() {
    let target = target().await;
    let (alias, other) = ("a".to_owned(), CollectionName::new("default", "other"));
    let mut new = new_collection();
    new.name = other.clone();
    target.define(&DefinitionChange::CreateCollection(new)).await.unwrap();
    target.define(&DefinitionChange::CreateAlias { name: name(), alias: alias.clone() }).await.unwrap();
    target.define(&DefinitionChange::DropAlias { name: other.clone(), alias: alias.clone() }).await.unwrap();
    let from = CollectionName::new("default", "third");
    let taken = DefinitionChange::AlterAlias { from, name: other, alias };
    assert!(!target.define(&taken).await.unwrap_err().is_retry());
    assert_eq!(target.contents().aliases.values().collect::<Vec<_>>(), [&name()]);
}
