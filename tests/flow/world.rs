//! A source that people use: random operations, told to the source and to the oracle.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tapedeck::change::{CollectionName, DefinitionChange, Keys, NewCollection, RowChange, Rows};
use tapedeck::pb::log::Collection;
use tapedeck::pb::milvus::proto::common::KeyValuePair;
use tapedeck::pb::milvus::proto::schema::{
    DataType, FieldData, FloatArray, LongArray, ScalarField, StringArray, VectorField, field_data::Field,
    scalar_field::Data as Scalar, vector_field::Data as Vector,
};
use tapedeck::source::memory::{CollectionSpec, MemorySource};
use tapedeck::tick::Tso;

use super::oracle::Oracle;

const KEYS: i64 = 24;
const COLLECTIONS: usize = 5;

/// Whether a key may be inserted again while it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// Milvus keeps both rows.
    Kept,
    /// Of two rows of one key a crash of a replayer may keep the younger only.
    Avoided,
}

impl Duplicates {
    pub const BOTH: [Duplicates; 2] = [Duplicates::Avoided, Duplicates::Kept];
}

/// A collection as its users know it.
#[derive(Clone, Debug)]
pub struct Table {
    pub id: i64,
    pub name: CollectionName,
    pub text_keys: bool,
    pub dim: usize,
    /// By id; the first is `_default`.
    pub partitions: BTreeMap<i64, String>,
    pub index: Option<(i64, String)>,
    pub loaded: bool,
    /// The partitions in which a key is.
    present: BTreeMap<i64, BTreeSet<i64>>,
}

/// A source with its users.
pub struct World {
    pub source: MemorySource,
    pub oracle: Oracle,
    pub tables: Vec<Table>,
    databases: BTreeMap<i64, String>,
    aliases: BTreeMap<(i64, String), i64>,
    pub duplicates: Duplicates,
    rng: StdRng,
}

impl World {
    pub fn new(channels: usize, seed: u64, duplicates: Duplicates) -> World {
        World {
            source: MemorySource::new(channels),
            oracle: Oracle::default(),
            tables: Vec::new(),
            databases: BTreeMap::from([(1, "default".to_owned())]),
            aliases: BTreeMap::new(),
            duplicates,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// A number in `0..below`.
    pub fn roll(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }

    /// Does some random things.
    pub fn work(&mut self, operations: usize) {
        for _ in 0..operations {
            self.work_once();
        }
    }

    fn work_once(&mut self) {
        if self.tables.is_empty() {
            return self.create_random_collection();
        }
        let table = self.roll(self.tables.len());
        match self.roll(100) {
            0..25 => self.insert_random(table),
            25..38 => self.delete_random(table),
            38..52 => self.upsert_random(table),
            52..58 => self.create_random_collection(),
            58..61 => self.drop_collection(table),
            61..65 => self.rename_random(table),
            65..68 => self.alter(table),
            68..73 => self.create_random_partition(table),
            73..76 => self.drop_random_partition(table),
            76..80 => self.create_index(table),
            80..82 => self.drop_index(table),
            82..86 => self.load(table),
            86..88 => self.release(table),
            88..90 => drop(self.source.flush(self.tables[table].id)),
            90..93 => self.set_random_alias(table),
            93..95 => self.drop_random_alias(),
            95..97 => self.create_random_database(),
            97 => self.drop_empty_database(),
            98 => self.source.refuse_collection(),
            _ => self.tick_somewhere(),
        }
    }

    /// Ticks everywhere, or on one channel while the others lag.
    fn tick_somewhere(&mut self) {
        let channels = self.source.ticking().into_iter().collect::<Vec<_>>();
        match channels.get(self.roll(channels.len() + 1)) {
            Some(channel) => self.source.tick_on(channel),
            None => self.source.tick(),
        };
    }

    /// The TSO that the next operation gets.
    fn next(&self) -> Tso {
        Tso::from_millis(self.source.now().millis() + 1)
    }

    // ---- databases ----

    fn create_random_database(&mut self) {
        let name = ["db1", "db2"][self.roll(2)];
        if !self.databases.values().any(|known| known == name) {
            self.create_database(name);
        }
    }

    pub fn create_database(&mut self, name: &str) -> i64 {
        self.oracle.define(self.next(), DefinitionChange::CreateDatabase { database: name.into() });
        let id = self.source.create_database(name);
        self.databases.insert(id, name.into());
        id
    }

    pub fn drop_empty_database(&mut self) {
        let used = |name: &String| self.tables.iter().any(|table| table.name.database == *name);
        let empty = self.databases.iter().find(|(id, name)| **id != 1 && !used(name));
        if let Some((id, name)) = empty.map(|(id, name)| (*id, name.clone())) {
            self.oracle.define(self.next(), DefinitionChange::DropDatabase { database: name });
            self.source.drop_database(id);
            self.databases.remove(&id);
        }
    }

    // ---- collections ----

    fn create_random_collection(&mut self) {
        if self.tables.len() >= COLLECTIONS {
            return;
        }
        let databases = self.databases.keys().copied().collect::<Vec<_>>();
        let database = databases[self.roll(databases.len())];
        let Some(name) = self.free_name(database) else { return };
        let (shards, text_keys) = (1 + self.roll(2), self.roll(3) == 0);
        self.create(CollectionSpec { database, shards, text_keys, ..CollectionSpec::new(&name) });
    }

    /// A name that is neither a collection nor an alias; from few, so that names come back.
    fn free_name(&mut self, database: i64) -> Option<String> {
        let name = ["a", "b", "c", "d"][self.roll(4)].to_owned();
        let full = CollectionName::new(&self.databases[&database], &name);
        let taken = self.tables.iter().any(|table| table.name == full);
        (!taken).then_some(name)
    }

    pub fn create(&mut self, spec: CollectionSpec) {
        let begun = self.source.begin_collection(spec.clone());
        self.show(spec, begun);
    }

    /// A collection that was begun, perhaps long ago, is there.
    pub fn show(&mut self, spec: CollectionSpec, begun: Collection) {
        let (id, tso) = (begun.id, Tso(begun.create_tso));
        self.source.show_collection(begun);
        let name = CollectionName::new(&self.databases[&spec.database], &spec.name);
        let new = NewCollection {
            name: name.clone(),
            schema: self.source.collection(id).schema.clone().expect("a schema"),
            shards: spec.shards as i32,
            consistency_level: 0,
            properties: vec![],
            partitions: vec!["_default".into()],
        };
        self.oracle.define(tso, DefinitionChange::CreateCollection(new));
        self.tables.push(Table {
            id,
            name,
            text_keys: spec.text_keys,
            dim: spec.dim,
            partitions: BTreeMap::from([(self.source.default_partition(id), "_default".into())]),
            index: None,
            loaded: false,
            present: BTreeMap::new(),
        });
    }

    pub fn drop_collection(&mut self, at: usize) {
        let table = self.tables.remove(at);
        self.oracle.define(self.next(), DefinitionChange::DropCollection { name: table.name });
        self.source.drop_collection(table.id);
        self.aliases.retain(|_, collection| *collection != table.id);
    }

    fn rename_random(&mut self, at: usize) {
        let id = self.tables[at].id;
        let bound = self.aliases.values().any(|collection| *collection == id);
        let own = &self.tables[at].name.database;
        let own = *self.databases.iter().find(|(_, name)| *name == own).expect("its database").0;
        let databases = self.databases.keys().copied().collect::<Vec<_>>();
        let database = if bound { own } else { databases[self.roll(databases.len())] };
        let Some(name) = self.free_name(database) else { return };
        self.rename(at, database, &name);
    }

    pub fn rename(&mut self, at: usize, database: i64, name: &str) {
        let tso = self.next();
        let table = &mut self.tables[at];
        let to = CollectionName::new(&self.databases[&database], name);
        let from = std::mem::replace(&mut table.name, to.clone());
        self.oracle.define(tso, DefinitionChange::RenameCollection { from, to });
        self.source.rename_collection(table.id, database, name);
    }

    fn alter(&mut self, at: usize) {
        let (tso, value) = (self.next(), self.roll(1000).to_string());
        let table = &self.tables[at];
        let key = "collection.ttl.seconds";
        let properties = vec![KeyValuePair { key: key.into(), value: value.clone() }];
        let name = table.name.clone();
        self.oracle.define(tso, DefinitionChange::AlterCollection { name, properties, removed: vec![] });
        self.source.alter_collection(table.id, key, &value);
    }

    // ---- partitions ----

    fn create_random_partition(&mut self, at: usize) {
        let partition = ["p", "q", "r"][self.roll(3)];
        if !self.tables[at].partitions.values().any(|known| known == partition) {
            self.create_partition(at, partition);
        }
    }

    pub fn create_partition(&mut self, at: usize, partition: &str) -> i64 {
        let tso = self.next();
        let table = &mut self.tables[at];
        let (name, partition) = (table.name.clone(), partition.to_owned());
        let create = DefinitionChange::CreatePartition { name: name.clone(), partition: partition.clone() };
        self.oracle.define(tso, create);
        if table.loaded {
            let partitions = Some(vec![partition.clone()]);
            self.oracle.define(tso, DefinitionChange::Load { name, partitions, replicas: 1 });
        }
        let id = self.source.create_partition(table.id, &partition);
        table.partitions.insert(id, partition);
        id
    }

    fn drop_random_partition(&mut self, at: usize) {
        let partitions = self.tables[at].partitions.iter().skip(1).map(|(id, _)| *id).collect::<Vec<_>>();
        if let Some(id) = partitions.choose(&mut self.rng) {
            self.drop_partition(at, *id);
        }
    }

    pub fn drop_partition(&mut self, at: usize, id: i64) {
        let tso = self.next();
        let table = &mut self.tables[at];
        let partition = table.partitions.remove(&id).expect("a partition");
        let name = table.name.clone();
        self.oracle.define(tso, DefinitionChange::DropPartition { name, partition });
        self.source.drop_partition(table.id, id);
        for partitions in table.present.values_mut() {
            partitions.remove(&id);
        }
    }

    // ---- aliases ----

    fn set_random_alias(&mut self, at: usize) {
        let alias = ["x", "y"][self.roll(2)];
        self.set_alias(at, alias);
    }

    pub fn set_alias(&mut self, at: usize, alias: &str) {
        let (tso, table) = (self.next(), &self.tables[at]);
        let database = self.source.collection(table.id).database_id;
        let from = self.aliases.insert((database, alias.into()), table.id);
        let from = from.and_then(|id| self.tables.iter().find(|table| table.id == id));
        let (name, alias_name) = (table.name.clone(), alias.to_owned());
        let change = match from.map(|from| from.name.clone()) {
            Some(from) => DefinitionChange::AlterAlias { from, name, alias: alias_name },
            None => DefinitionChange::CreateAlias { name, alias: alias_name },
        };
        self.oracle.define(tso, change);
        self.source.set_alias(alias, table.id);
    }

    fn drop_random_alias(&mut self) {
        let aliases = self.aliases.keys().cloned().collect::<Vec<_>>();
        if let Some((database, alias)) = aliases.choose(&mut self.rng) {
            let id = self.aliases[&(*database, alias.clone())];
            let table = self.tables.iter().find(|table| table.id == id).expect("a table");
            let change = DefinitionChange::DropAlias { name: table.name.clone(), alias: alias.clone() };
            self.oracle.define(self.next(), change);
            self.source.drop_alias(*database, alias);
            self.aliases.remove(&(*database, alias.clone()));
        }
    }

    // ---- indexes and load states ----

    pub fn create_index(&mut self, at: usize) {
        let (tso, index) = (self.next(), ["", "i", "j"][self.roll(3)].to_owned());
        let table = &mut self.tables[at];
        if table.index.is_some() {
            return;
        }
        let params = vec![KeyValuePair { key: "index_type".into(), value: "FLAT".into() }];
        let (name, field) = (table.name.clone(), "vector".into());
        let create = DefinitionChange::CreateIndex { name, field, index: index.clone(), params };
        self.oracle.define(tso, create);
        table.index = Some((self.source.create_index(table.id, &index), index));
    }

    /// Milvus refuses to drop the index of a loaded collection.
    pub fn drop_index(&mut self, at: usize) {
        let tso = self.next();
        let table = &mut self.tables[at];
        if let Some((id, index)) = table.index.take_if(|_| !table.loaded) {
            let (name, field) = (table.name.clone(), "vector".into());
            self.oracle.define(tso, DefinitionChange::DropIndex { name, field, index });
            self.source.drop_index(table.id, id);
        }
    }

    pub fn load(&mut self, at: usize) {
        let tso = self.next();
        let table = &mut self.tables[at];
        if table.index.is_some() {
            table.loaded = true;
            let name = table.name.clone();
            self.oracle.define(tso, DefinitionChange::Load { name, partitions: None, replicas: 1 });
            self.source.load(table.id);
        }
    }

    pub fn release(&mut self, at: usize) {
        let tso = self.next();
        let table = &mut self.tables[at];
        if std::mem::take(&mut table.loaded) {
            let name = table.name.clone();
            self.oracle.define(tso, DefinitionChange::Release { name, partitions: None });
            self.source.release(table.id);
        }
    }

    // ---- rows ----

    fn random_partition(&mut self, at: usize) -> i64 {
        let partitions = self.tables[at].partitions.keys().copied().collect::<Vec<_>>();
        partitions[self.roll(partitions.len())]
    }

    fn random_keys(&mut self) -> Vec<i64> {
        let count = 1 + self.roll(6);
        let keys = (0..count).map(|_| self.rng.random_range(0..KEYS));
        keys.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn insert_random(&mut self, at: usize) {
        let partition = self.random_partition(at);
        let mut keys = self.random_keys();
        if self.duplicates == Duplicates::Avoided {
            let present = &self.tables[at].present;
            keys.retain(|key| present.get(key).is_none_or(BTreeSet::is_empty));
        }
        self.insert(at, partition, &keys);
    }

    pub fn insert(&mut self, at: usize, partition: i64, keys: &[i64]) {
        if keys.is_empty() {
            return;
        }
        let table = &mut self.tables[at];
        let tso = self.source.insert(table.id, partition, keys);
        let rows = rows(keys, tso, table);
        let named = Some(table.partitions[&partition].clone());
        self.oracle.write(tso, &table.name, RowChange::Insert { partition: named, rows });
        table.write(partition, keys);
    }

    fn upsert_random(&mut self, at: usize) {
        let partition = self.random_partition(at);
        let mut keys = self.random_keys();
        if self.duplicates == Duplicates::Avoided {
            let present = &self.tables[at].present;
            let elsewhere = |key: &i64| {
                present.get(key).is_some_and(|partitions| partitions.iter().any(|other| *other != partition))
            };
            keys.retain(|key| !elsewhere(key));
        }
        self.upsert(at, partition, &keys);
    }

    pub fn upsert(&mut self, at: usize, partition: i64, keys: &[i64]) {
        if keys.is_empty() {
            return;
        }
        let table = &mut self.tables[at];
        let tso = self.source.upsert(table.id, partition, keys);
        let rows = rows(keys, tso, table);
        let named = Some(table.partitions[&partition].clone());
        self.oracle.write(tso, &table.name, RowChange::Upsert { partition: named, rows });
        table.write(partition, keys);
    }

    fn delete_random(&mut self, at: usize) {
        let partition = (self.roll(2) == 0).then(|| self.random_partition(at));
        let keys = self.random_keys();
        self.delete(at, partition, &keys);
    }

    pub fn delete(&mut self, at: usize, partition: Option<i64>, keys: &[i64]) {
        let table = &mut self.tables[at];
        let tso = self.source.delete(table.id, partition, keys);
        let change = RowChange::Delete {
            partition: partition.map(|id| table.partitions[&id].clone()),
            key_field: "id".into(),
            keys: typed(keys, table.text_keys),
        };
        self.oracle.write(tso, &table.name, change);
        for key in keys {
            let partitions = table.present.entry(*key).or_default();
            partitions.retain(|present| partition.is_some_and(|only| only != *present));
        }
    }
}

impl Table {
    /// The id of `_default`.
    pub fn default_partition(&self) -> i64 {
        *self.partitions.keys().next().expect("_default")
    }

    fn write(&mut self, partition: i64, keys: &[i64]) {
        for key in keys {
            self.present.entry(*key).or_default().insert(partition);
        }
    }
}

fn typed(keys: &[i64], text: bool) -> Keys {
    match text {
        true => Keys::Text(keys.iter().map(|key| format!("key {key}")).collect()),
        false => Keys::Int(keys.to_vec()),
    }
}

/// Rows as a client of the source would send them: of [`CollectionSpec`]'s schema.
fn rows(keys: &[i64], tso: Tso, table: &Table) -> Rows {
    let column = |name: &str, data_type: DataType, field| FieldData {
        r#type: data_type.into(),
        field_name: name.into(),
        field: Some(field),
        ..Default::default()
    };
    let scalars = |data| Field::Scalars(ScalarField { data: Some(data) });
    let key = match typed(keys, table.text_keys) {
        Keys::Int(data) => column("id", DataType::Int64, scalars(Scalar::LongData(LongArray { data }))),
        Keys::Text(data) => {
            column("id", DataType::VarChar, scalars(Scalar::StringData(StringArray { data })))
        }
    };
    let floats = keys.iter().flat_map(|key| vec![*key as f32; table.dim]).flat_map(f32::to_le_bytes);
    let dim = table.dim as i64;
    let vector = VectorField { dim, data: Some(Vector::FloatVector(FloatArray { data: floats.collect() })) };
    let notes = StringArray { data: vec![tso.to_string(); keys.len()] };
    let columns = vec![
        key,
        column("vector", DataType::FloatVector, Field::Vectors(vector)),
        column("note", DataType::VarChar, scalars(Scalar::StringData(notes))),
    ];
    Rows { columns, count: keys.len() }
}
