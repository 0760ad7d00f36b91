//! Changes of what exists.

use tapedeck::change::{CollectionName, DefinitionChange as Change};
use tapedeck::error::Verdict;
use tapedeck::pb::milvus::proto::milvus as pb;
use tapedeck::pb::milvus::proto::schema::*;
use tapedeck::target::milvus::{MilvusOptions, MilvusTarget};
use tapedeck::target::{Mode, Shortfall, Target};

use crate::stand::*;

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

    // not empty: it stays
    stand.define(drop()).await;
    assert!(stand.target.has_database(&database).await.unwrap());

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
        Change::DropAlias { name: name.clone(), alias: "a".to_owned() },
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
    stand.define(Change::AlterAlias { from: one.clone(), name, alias: text }).await;
    assert_eq!(stand.describe(&alias).await.schema.unwrap().name, other.collection);

    stand.define(Change::DropCollection { name: other.clone() }).await;
    stand.define(Change::CreateCollection(people(&alias))).await; // its name is free again
    stand.define(Change::DropCollection { name: alias.clone() }).await;

    let (name, text) = of(&one);
    stand.define(Change::AlterAlias { from: other.clone(), name, alias: text }).await;
    // what stands for another collection belongs to others
    let (name, text) = of(&other);
    stand.define(Change::DropAlias { name, alias: text.clone() }).await;
    let stolen = Change::AlterAlias { from: other.clone(), name: stand.name("third"), alias: text };
    assert!(stand.target.define(&stolen).await.unwrap_err().to_string().contains("is an alias of"));
    assert_eq!(stand.describe(&alias).await.schema.unwrap().name, one.collection);
    let (name, text) = of(&one);
    stand.define(Change::DropAlias { name, alias: text }).await;
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
    let ttl = || pair("collection.ttl.seconds", "60");
    let altered = |properties, removed: &[&str]| Change::AlterCollection {
        name: name.clone(),
        properties,
        removed: removed.iter().map(|key| (*key).to_owned()).collect(),
    };
    stand.define(altered(vec![ttl(), pair("replicate.id", "y")], &[])).await;
    stand.define(altered(vec![], &["never.there", "replicate.id"])).await;
    assert_eq!(stand.describe(&name).await.properties, [ttl()]);
    // Milvus 2.3 can remove none.
    let kept = stand.target.define(&altered(vec![], &[&ttl().key])).await.unwrap();
    assert!(matches!(kept, Some(Shortfall::Lacks(what)) if what.contains(&ttl().key)));
    assert_eq!(stand.describe(&name).await.properties, [ttl()]);
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
