mod versions;

use proptest::prelude::*;
use prost::Message;

use super::mirror::Put;
use super::*;
use crate::error::Verdict;
use crate::pb::milvus::proto::common::{KeyDataPair, KeyValuePair};
use crate::pb::milvus::proto::meta::{
    AliasInfo, CollectionInfo, CollectionLoadInfo, DatabaseInfo, FieldIndex, IndexInfo, PartitionInfo,
    PartitionLoadInfo,
};
use crate::pb::milvus::proto::schema::{CollectionSchema, FieldSchema};
use crate::source::Object;

const TOMBSTONE: &[u8] = &[0xe2, 0x9b, 0xbc];
const CREATED: i32 = 0;
const CREATING: i32 = 1;
const DROPPING: i32 = 2;

/// What root-coord writes, as (key, value) in order.
#[derive(Clone, Default)]
struct Writes(Vec<(String, Vec<u8>)>);

impl Writes {
    fn put(mut self, key: &str, value: impl Into<Vec<u8>>) -> Writes {
        self.0.push((key.into(), value.into()));
        self
    }
    /// A key of root-coord and its snapshot.
    fn snapshot(self, key: &str, tso: u64, value: impl Into<Vec<u8>>) -> Writes {
        let value = value.into();
        self.put(key, value.clone()).put(&format!("snapshots/{key}_ts{tso}"), value)
    }
    fn database(self, id: i64, tso: u64) -> Writes {
        let info = DatabaseInfo { id, name: format!("db{id}"), state: 1, ..Default::default() };
        self.snapshot(&format!("root-coord/database/db-info/{id}"), tso, info.encode_to_vec())
    }
    fn collection(self, database: i64, id: i64, tso: u64, name: &str, state: i32) -> Writes {
        let info = CollectionInfo {
            id,
            schema: Some(CollectionSchema { name: name.into(), ..Default::default() }),
            create_time: 10,
            virtual_channel_names: vec![format!("dml_0_{id}v0")],
            physical_channel_names: vec!["dml_0".into()],
            shards_num: 1,
            start_positions: vec![KeyDataPair {
                key: "dml_0".into(),
                data: 77i64.to_le_bytes().to_vec().into(),
            }],
            state,
            ..Default::default()
        };
        self.snapshot(&collection_key(database, id), tso, info.encode_to_vec())
    }
    fn field(self, collection: i64, id: i64, name: &str) -> Writes {
        let field = FieldSchema { field_id: id, name: name.into(), ..Default::default() };
        self.snapshot(&format!("root-coord/fields/{collection}/{id}"), 10, field.encode_to_vec())
    }
    fn partition(self, collection_id: i64, id: i64, tso: u64, created: u64, state: i32) -> Writes {
        let info = PartitionInfo {
            partition_id: id,
            partition_name: format!("p{id}"),
            partition_created_timestamp: created,
            collection_id,
            state,
        };
        self.snapshot(&format!("root-coord/partitions/{collection_id}/{id}"), tso, info.encode_to_vec())
    }
    fn alias(self, name: &str, tso: u64, collection_id: i64) -> Writes {
        let info = AliasInfo { alias_name: name.into(), collection_id, db_id: 1, ..Default::default() };
        self.snapshot(&format!("root-coord/database/aliases/1/{name}"), tso, info.encode_to_vec())
    }
    /// Collection 5 "docs" in database 1, created at 10 with partition 50.
    fn docs() -> Writes {
        Writes::default()
            .database(1, 1)
            .collection(1, 5, 10, "docs", CREATING)
            .partition(5, 50, 10, 10, CREATED)
            .field(5, 0, "RowID")
            .field(5, 1, "Timestamp")
            .field(5, 101, "$meta")
            .field(5, 100, "id")
            .collection(1, 5, 10, "docs", CREATED)
    }
    fn seen(&self) -> Seen {
        Seen { mirror: Mirror::new(1), written: vec![], live: None }
    }
    /// Everything in one read.
    fn read(&self) -> (Arc<Catalog>, Vec<(u64, String)>) {
        step(&mut self.seen(), self)
    }
    /// What a read says that comes after these writes, and saw `before` earlier.
    fn read_after(&self, before: &Writes) -> (Arc<Catalog>, Vec<(u64, String)>) {
        let mut seen = self.seen();
        step(&mut seen, before);
        step(&mut seen, self)
    }
}

fn collection_key(database: i64, id: i64) -> String {
    format!("root-coord/database/collection-info/{database}/{id}")
}

fn delta(writes: &Writes, gone: &[&str]) -> Delta {
    let puts = writes.0.iter().map(|(key, value)| Put::decode(key, value, 2).unwrap()).collect();
    Delta { revision: 2, bound: Tso::ZERO, puts, gone: gone.iter().map(|name| (*name).to_owned()).collect() }
}

fn step(seen: &mut Seen, writes: &Writes) -> (Arc<Catalog>, Vec<(u64, String)>) {
    let (live, events) = seen.advance(delta(writes, &[])).unwrap();
    let live = live.catalog;
    (live, events.into_iter().map(|event| (event.tso.0, short(event.object))).collect())
}

fn short(object: Object) -> String {
    match object {
        Object::Database { id, .. } => format!("database {id}"),
        Object::DatabaseGone { id } => format!("database {id} gone"),
        Object::Collection(collection) => {
            let fields = collection.schema.unwrap_or_default().fields.len();
            let partitions = collection.partitions.len();
            let (id, database, name) = (collection.id, collection.database_id, collection.name);
            format!("collection {id} {database}.{name} {fields} fields {partitions} partitions")
        }
        Object::CollectionGone { id } => format!("collection {id} gone"),
        Object::Partition { id, .. } => format!("partition {id}"),
        Object::PartitionGone { id, .. } => format!("partition {id} gone"),
        Object::Alias { name, collection_id, .. } => format!("alias {name} {collection_id}"),
        Object::AliasGone { name, .. } => format!("alias {name} gone"),
    }
}

fn events(said: &[(u64, &str)]) -> Vec<(u64, String)> {
    said.iter().map(|(tso, text)| (*tso, (*text).to_owned())).collect()
}

const DOCS: (u64, &str) = (10, "collection 5 1.docs 2 fields 1 partitions");

#[test]
fn a_collection_is_what_its_keys_together_say() {
    let (live, said) = Writes::docs().read();
    assert_eq!(said, events(&[(1, "database 1"), DOCS]));
    let docs = &live.collections[&5];
    let names = docs.schema.iter().flat_map(|schema| &schema.fields).map(|field| field.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["id", "$meta"]);
    assert_eq!((docs.name.as_str(), docs.database_id, docs.create_tso), ("docs", 1, 10));
    assert_eq!(docs.partitions[0].name, "p50");
    assert_eq!(docs.channels[0].start.as_ref().map(|start| start.offset), Some(77));
}

#[test]
fn a_collection_in_creation_does_not_exist_and_one_that_comes_to_nothing_never_did() {
    let database = Writes::default().database(1, 1);
    let creating = Writes::default().field(6, 100, "id").collection(1, 6, 20, "x", CREATING);
    let (live, said) = creating.read_after(&database);
    assert!(live.collections.is_empty() && said.is_empty());
    let given_up = Writes::default().snapshot(&collection_key(1, 6), 21, TOMBSTONE);
    let (_, said) = given_up.read_after(&Writes([database.0, creating.0].concat()));
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn a_collection_is_shown_since_the_write_that_made_it_live_whatever_was_written_later() {
    let info = |database, name, state| Writes::default().collection(database, 5, 10, name, state).0;
    let mut seen = Writes::default().seen();
    let mut shown = |revision, writes: Vec<(String, Vec<u8>)>, gone: &[&str]| {
        let puts = writes.iter().map(|(key, value)| Put::decode(key, value, revision).unwrap()).collect();
        let gone = gone.iter().map(|name| (*name).to_owned()).collect();
        let delta = Delta { revision, bound: Tso::ZERO, puts, gone };
        seen.advance(delta).unwrap().0.shown_since.get(&5).copied()
    };
    assert_eq!(shown(3, info(1, "docs", CREATING), &[]), None);
    assert_eq!(shown(4, info(1, "docs", CREATED), &[]), Some(4));
    let renamed = Writes::default().collection(1, 5, 20, "papers", CREATED).0;
    assert_eq!(shown(5, renamed, &[]), Some(4));
    let moved = Writes::default().database(2, 2).collection(2, 5, 30, "papers", CREATED).0;
    assert_eq!(shown(6, moved, &[&collection_key(1, 5)]), Some(4));
    let swept = format!("snapshots/{}_ts10", collection_key(1, 5));
    assert_eq!(shown(7, vec![], &[&swept]), None);
}

#[test]
fn a_drop_is_told_once_though_it_is_written_twice() {
    let dropping = Writes::default().collection(1, 5, 30, "docs", DROPPING);
    let (live, said) = dropping.read_after(&Writes::docs());
    assert_eq!(said, events(&[(30, "collection 5 gone")]));
    assert!(live.collections.is_empty());
    let before = Writes([Writes::docs().0, dropping.0].concat());
    let swept = Writes::default()
        .snapshot("root-coord/partitions/5/50", 31, TOMBSTONE)
        .snapshot("root-coord/fields/5/100", 31, TOMBSTONE)
        .snapshot(&collection_key(1, 5), 31, TOMBSTONE);
    assert_eq!(swept.read_after(&before).1, events(&[]));
    let same_tso = Writes::default().snapshot(&collection_key(1, 5), 30, TOMBSTONE);
    assert_eq!(same_tso.read_after(&before).1, events(&[(30, "collection 5 gone")]));
}

#[test]
fn a_dropped_collection_stands_beside_a_new_one_of_its_name() {
    let again = Writes::docs()
        .collection(1, 5, 30, "docs", DROPPING)
        .field(7, 100, "id")
        .collection(1, 7, 40, "docs", CREATED);
    let (live, said) = again.read();
    assert_eq!(live.collections.keys().collect::<Vec<_>>(), [&7]);
    let new = (40, "collection 7 1.docs 1 fields 0 partitions");
    assert_eq!(said, events(&[(1, "database 1"), DOCS, (30, "collection 5 gone"), new]));
}

#[test]
fn a_move_to_another_database_is_no_drop() {
    let moved = Writes::docs().database(2, 11).collection(2, 5, 30, "papers", CREATED).snapshot(
        &collection_key(1, 5),
        30,
        TOMBSTONE,
    );
    let (live, said) = moved.read();
    let renamed = (30, "collection 5 2.papers 2 fields 1 partitions");
    assert_eq!(said, events(&[(1, "database 1"), DOCS, (11, "database 2"), renamed]));
    assert_eq!(live.collections[&5].database_id, 2);
    let back = Writes::default().collection(1, 5, 50, "docs", CREATED).snapshot(
        &collection_key(2, 5),
        50,
        TOMBSTONE,
    );
    let (live, said) = back.read_after(&moved);
    assert_eq!(said, events(&[(50, "collection 5 1.docs 2 fields 1 partitions")]));
    assert_eq!(live.collections[&5].database_id, 1);
    let dropped = Writes::default().collection(1, 5, 60, "docs", DROPPING);
    let said = dropped.read_after(&Writes([moved.0, back.0].concat())).1;
    assert_eq!(said, events(&[(60, "collection 5 gone")]));
}

#[test]
fn a_collection_whose_fields_are_swept_away_gives_no_event() {
    let swept =
        Writes::default().collection(1, 5, 10, "docs", CREATED).collection(1, 5, 30, "docs", DROPPING);
    assert_eq!(swept.read().1, events(&[(30, "collection 5 gone")]));
}

#[test]
fn partitions_come_and_go_on_their_own() {
    let added = Writes::default().partition(5, 51, 20, 20, CREATING);
    assert_eq!(added.read_after(&Writes::docs()).1, events(&[]));
    let added = added.partition(5, 51, 20, 20, CREATED);
    let (live, said) = added.read_after(&Writes::docs());
    assert_eq!(said, events(&[(20, "partition 51")]));
    assert_eq!(live.collections[&5].partitions.len(), 2);
    let dropped = Writes::default().partition(5, 51, 30, 20, DROPPING);
    let before = Writes([Writes::docs().0, added.0].concat());
    let (live, said) = dropped.read_after(&before);
    assert_eq!(said, events(&[(30, "partition 51 gone")]));
    assert_eq!(live.collections[&5].partitions.len(), 1);
    let swept = Writes::default().snapshot("root-coord/partitions/5/51", 31, TOMBSTONE);
    assert_eq!(swept.read_after(&Writes([before.0, dropped.0].concat())).1, events(&[]));
}

#[test]
fn an_alias_dies_with_its_collection() {
    let aliased = Writes::docs().alias("a", 20, 5);
    let (live, said) = aliased.read();
    assert_eq!(said.last().unwrap(), &(20, "alias a 5".into()));
    assert_eq!(live.aliases.get(&(1, "a".into())), Some(&5));
    let dropping = Writes::default().collection(1, 5, 30, "docs", DROPPING);
    let (live, said) = dropping.read_after(&aliased);
    assert!(live.aliases.is_empty());
    assert_eq!(said, events(&[(30, "collection 5 gone")]));
    let key = "root-coord/database/aliases/1/a";
    let swept = Writes::default().snapshot(key, 30, TOMBSTONE);
    assert_eq!(swept.read_after(&Writes([aliased.0.clone(), dropping.0].concat())).1, events(&[]));
    let dropped = Writes::default().snapshot(key, 25, TOMBSTONE);
    assert_eq!(dropped.read_after(&aliased).1, events(&[(25, "alias a gone")]));
}

#[test]
fn layouts_before_databases_belong_to_the_default_database() {
    let mut writes = Writes::docs();
    for (key, _) in &mut writes.0 {
        *key = key.replace("database/collection-info/1/", "collection/");
    }
    let mut alias = CollectionInfo { id: 5, ..Default::default() };
    alias.schema = Some(CollectionSchema { name: "old".into(), ..Default::default() });
    let writes = writes.put("root-coord/collection-alias/old", alias.encode_to_vec());
    let (live, said) = writes.read();
    assert_eq!(said, events(&[(1, "database 1"), DOCS]));
    assert_eq!(live.collections[&5].database_id, 1);
    assert_eq!(live.aliases.get(&(1, "old".into())), Some(&5));
}

#[test]
fn changes_at_one_tso_stand_in_an_order_in_which_they_can_be_applied() {
    let writes = Writes::docs()
        .alias("a", 10, 5)
        .partition(5, 51, 20, 20, CREATED)
        .alias("b", 20, 5)
        .collection(1, 5, 20, "papers", CREATED)
        .database(3, 20);
    let said = writes.read().1.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    let expected = [
        "database 1",
        "collection 5 1.docs 2 fields 1 partitions",
        "alias a 5",
        "database 3",
        "collection 5 1.papers 2 fields 1 partitions",
        "partition 51",
        "alias b 5",
    ];
    assert_eq!(said, expected);
}

#[test]
fn an_index_keeps_the_parameters_that_the_user_gave() {
    let pair = |key: &str| vec![KeyValuePair { key: key.into(), value: "x".into() }];
    let mut index = FieldIndex { create_time: 15, ..Default::default() };
    index.index_info = Some(IndexInfo {
        collection_id: 5,
        field_id: 100,
        index_name: "ix".into(),
        index_id: 9,
        index_params: pair("flat"),
        user_index_params: pair("given"),
        ..Default::default()
    });
    let indexed = Writes::docs().put("field-index/5/9", index.encode_to_vec());
    let live = indexed.read().0;
    let found = &live.collections[&5].indexes[0];
    assert_eq!((found.name.as_str(), found.field_name.as_str(), found.create_tso), ("ix", "id", 15));
    assert_eq!(found.params, pair("given"));
    index.deleted = true;
    let dropped = Writes::default().put("field-index/5/9", index.encode_to_vec());
    assert!(dropped.read_after(&indexed).0.collections[&5].indexes.is_empty());
}

#[test]
fn what_is_loaded_say_the_partitions_but_a_load_of_all_says_it_first() {
    let load =
        |load_type, status| CollectionLoadInfo { collection_id: 5, replica_number: 2, status, load_type };
    let partition = PartitionLoadInfo { collection_id: 5, partition_id: 51, ..Default::default() };
    let two = Writes::docs().partition(5, 51, 20, 20, CREATED);
    let loading = two.clone().put("querycoord-collection-loadinfo/5", load(2, 1).encode_to_vec());
    let loaded = |writes: &Writes| writes.read().0.collections[&5].load.clone();
    let found = loaded(&loading).unwrap();
    assert_eq!((found.replicas, found.whole, found.partition_ids), (2, true, vec![50, 51]));
    let one = two
        .put("querycoord-collection-loadinfo/5", load(2, 2).encode_to_vec())
        .put("querycoord-partition-loadinfo/5/51", partition.encode_to_vec());
    assert_eq!(loaded(&one).unwrap().partition_ids, [51]);

    let mut seen = one.seen();
    step(&mut seen, &one);
    let released = delta(&Writes::default(), &["querycoord-collection-loadinfo/5"]);
    assert_eq!(seen.advance(released).unwrap().0.catalog.collections[&5].load, None);
}

#[test]
fn nothing_new_gives_the_same_catalog_again() {
    let mut seen = Writes::docs().seen();
    let first = step(&mut seen, &Writes::docs()).0;
    let (second, said) = step(&mut seen, &Writes::default());
    assert!(Arc::ptr_eq(&first, &second) && said.is_empty());
}

#[test]
fn what_cannot_be_decoded_is_refused_by_the_name_of_its_key() {
    for key in ["root-coord/fields/5/100", "field-index/5/9", "snapshots/root-coord/fields/5/100_ts7"] {
        let error = Put::decode(key, b"\xff\xff", 1).unwrap_err();
        assert_eq!(error.verdict, Verdict::Refused);
        assert!(error.message.contains(key), "{error}");
    }
    assert!(Put::decode("root-coord/something/new", b"\xff\xff", 1).is_ok());
    let mut pulsar = CollectionInfo { id: 5, ..Default::default() };
    pulsar.virtual_channel_names = vec!["dml_0_5v0".into()];
    pulsar.physical_channel_names = vec!["dml_0".into()];
    pulsar.start_positions = vec![KeyDataPair { key: "dml_0".into(), data: vec![1, 2, 3].into() }];
    let writes = Writes::docs().put(&collection_key(1, 5), pulsar.encode_to_vec());
    let error = writes.seen().advance(delta(&writes, &[])).unwrap_err();
    assert!(error.verdict == Verdict::Refused && error.message.contains("collection 5"), "{error}");
}

#[test]
fn a_password_is_not_shown() {
    let options = EtcdOptions { user: Some(("reader".into(), "hunter2".into())), ..Default::default() };
    let shown = format!("{options:?}");
    assert!(shown.contains("reader") && !shown.contains("hunter2"), "{shown}");
}

/// A history with everything in it.
fn history() -> Writes {
    Writes::docs()
        .database(2, 12)
        .partition(5, 51, 20, 20, CREATED)
        .alias("a", 22, 5)
        .collection(2, 5, 30, "papers", CREATED)
        .snapshot(&collection_key(1, 5), 30, TOMBSTONE)
        .partition(5, 51, 40, 20, DROPPING)
        .field(6, 100, "id")
        .collection(1, 6, 45, "docs", CREATED)
        .alias("a", 46, 6)
        .collection(2, 5, 50, "papers", DROPPING)
        .snapshot("root-coord/database/aliases/1/a", 55, TOMBSTONE)
}

proptest! {
    #[test]
    fn however_reads_divide_the_writes_the_catalog_is_the_same_and_no_event_is_missed(
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let Writes(all) = history();
        let mut cuts = cuts.iter().map(|cut| cut.index(all.len())).chain([0, all.len()]).collect::<Vec<_>>();
        cuts.sort_unstable();
        let mut seen = history().seen();
        let mut said = std::collections::BTreeSet::new();
        let mut live = None;
        for pair in cuts.windows(2) {
            let (catalog, events) = step(&mut seen, &Writes(all[pair[0]..pair[1]].to_vec()));
            prop_assert!(events.is_sorted_by_key(|(tso, _)| *tso));
            said.extend(events.into_iter().map(|(tso, text)| (tso, text.split(' ').take(2).collect::<Vec<_>>().join(" "))));
            live = Some(catalog);
        }
        let (at_once, events) = history().read();
        prop_assert_eq!(live.unwrap(), at_once);
        for (tso, text) in events {
            let text = text.split(' ').take(2).collect::<Vec<_>>().join(" ");
            prop_assert!(said.contains(&(tso, text.clone())), "{} {}", tso, text);
        }
    }

    #[test]
    fn no_value_makes_it_panic(value in proptest::collection::vec(any::<u8>(), 0..64), tso in any::<u64>()) {
        for key in ["database/db-info/1", "database/collection-info/1/5", "fields/5/100", "partitions/5/50", "aliases/a"] {
            let writes = Writes::docs();
            let mut seen = writes.seen();
            step(&mut seen, &writes);
            let key = format!("snapshots/root-coord/{key}_ts{tso}");
            if let Ok(put) = Put::decode(&key, &value, 3) {
                let delta = Delta { revision: 3, bound: Tso::ZERO, puts: vec![put], gone: vec![] };
                let _ = seen.advance(delta);
            }
        }
    }
}
