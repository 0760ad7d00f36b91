//! What a target in memory holds, and how changes act on it: `milvus-wire.md`, 7.4 and 7.5.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::change::{CollectionName, DefinitionChange, Keys, NewCollection, RowChange, Rows};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::schema::{CollectionSchema, DataType};
use crate::rows::Key;
use crate::target::request;
use crate::target::{Mode, name_is_alias};

/// One row: its cells by the names of their columns, each as an encoded column of one row.
pub type Row = BTreeMap<String, Bytes>;

/// Everything that a target holds. Two are equal when users see the same in both.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// Databases.
    pub databases: BTreeSet<String>,
    /// Collections.
    pub collections: BTreeMap<CollectionName, Collection>,
    /// The collection behind each alias, by database and alias.
    pub aliases: BTreeMap<(String, String), CollectionName>,
}

/// One collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// Its schema as a create request holds it.
    pub schema: CollectionSchema,
    /// Number of shards.
    pub shards: i32,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// The rows of each partition by key, those of one key in an order of their own: a multiset. All rows of a
    /// collection with a partition key are in the partition without a name.
    pub partitions: BTreeMap<String, BTreeMap<Key, Vec<Row>>>,
    /// By field.
    pub indexes: BTreeMap<String, Index>,
    /// Loaded partitions.
    pub loaded: BTreeSet<String>,
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub params: BTreeMap<String, String>,
}

impl Default for Contents {
    fn default() -> Contents {
        let databases = BTreeSet::from(["default".to_owned()]);
        Contents { databases, collections: BTreeMap::new(), aliases: BTreeMap::new() }
    }
}

impl Contents {
    /// Applies a change of what exists.
    pub(super) fn define(&mut self, change: &DefinitionChange) -> Result<()> {
        use DefinitionChange as Change;
        match change {
            Change::CreateDatabase { database } => {
                self.databases.insert(database.clone());
            }
            Change::DropDatabase { database } => {
                if self.collections.keys().all(|name| name.database != *database) {
                    self.databases.remove(database);
                }
            }
            Change::CreateCollection(new) => self.create_collection(new)?,
            Change::DropCollection { name } => {
                self.collections.remove(name);
                self.aliases.retain(|_, behind| behind != name);
            }
            Change::RenameCollection { from, to } => self.rename(from, to)?,
            Change::AlterCollection { name, properties, removed } => {
                let collection = self.collection(name)?;
                collection.properties.retain(|key, _| !removed.contains(key));
                collection.properties.extend(pairs(&request::properties(properties)));
            }
            Change::CreatePartition { name, partition } => {
                let collection = self.collection(name)?;
                if collection.has_partition_key() {
                    return Err(Error::operator(format!(
                        "{name} has a partition key: no partition can be created"
                    )));
                }
                collection.partitions.entry(partition.clone()).or_default();
            }
            Change::DropPartition { name, partition } => {
                if let Some(collection) = self.collections.get_mut(name) {
                    collection.loaded.remove(partition);
                    collection.partitions.remove(partition);
                }
            }
            Change::CreateIndex { name, field, index, params } => {
                let index = Index { name: index.clone(), params: pairs(params) };
                let collection = self.collection(name)?;
                if collection.indexes.get(field).is_some_and(|known| *known != index) {
                    return Err(Error::operator(format!("{name} has another index on {field}")));
                }
                collection.indexes.insert(field.clone(), index);
            }
            Change::DropIndex { name, index, .. } => {
                if let Some(collection) = self.collections.get_mut(name) {
                    collection.loaded.clear();
                    collection.indexes.retain(|_, known| known.name != *index);
                }
            }
            Change::Load { name, partitions, .. } => self.load(name, partitions.as_deref())?,
            Change::Release { name, partitions } => {
                if let Some(collection) = self.collections.get_mut(name) {
                    let released =
                        |loaded: &String| partitions.as_ref().is_none_or(|some| some.contains(loaded));
                    collection.loaded.retain(|loaded| !released(loaded));
                }
            }
            Change::Flush { name } => {
                self.collection(name)?;
            }
            Change::CreateAlias { name, alias } => {
                let behind = self.aliases.get(&(name.database.clone(), alias.clone()));
                if behind.is_some_and(|behind| behind != name) {
                    return Err(Error::operator(format!("alias {alias} stands for another collection")));
                }
                self.alias(name, alias)?;
            }
            Change::AlterAlias { from, name, alias } => {
                let behind = self.aliases.get(&(name.database.clone(), alias.clone()));
                if let Some(other) = behind.filter(|behind| *behind != from && *behind != name) {
                    let alias = CollectionName::new(&name.database, alias);
                    return Err(name_is_alias(&alias, &other.collection));
                }
                self.alias(name, alias)?
            }
            Change::DropAlias { name, alias } => {
                let alias = (name.database.clone(), alias.clone());
                if self.aliases.get(&alias).is_some_and(|behind| behind == name) {
                    self.aliases.remove(&alias);
                }
            }
        }
        Ok(())
    }

    fn create_collection(&mut self, new: &NewCollection) -> Result<()> {
        self.check_database(&new.name)?;
        self.check_free_of_alias(&new.name)?;
        let schema = request::schema(new);
        let collection = self.collections.entry(new.name.clone()).or_insert_with(|| Collection {
            schema: schema.clone(),
            shards: new.shards,
            properties: pairs(&request::properties(&new.properties)),
            partitions: BTreeMap::new(),
            indexes: BTreeMap::new(),
            loaded: BTreeSet::new(),
        });
        collection.check_same(new, &schema)?;
        let by_key = collection.has_partition_key();
        let names = if by_key { vec![String::new()] } else { new.partitions.clone() };
        for partition in names {
            collection.partitions.entry(partition).or_default();
        }
        Ok(())
    }

    fn rename(&mut self, from: &CollectionName, to: &CollectionName) -> Result<()> {
        self.check_database(to)?;
        if self.collections.contains_key(from) && self.collections.contains_key(to) {
            return Err(Error::operator(format!("{from} cannot be renamed: {to} exists")));
        }
        let Some(mut collection) = self.collections.remove(from) else {
            return self.collection(to).map(|_| ());
        };
        collection.schema.name = to.collection.clone();
        self.collections.insert(to.clone(), collection);
        for behind in self.aliases.values_mut().filter(|behind| *behind == from) {
            *behind = to.clone();
        }
        Ok(())
    }

    fn load(&mut self, name: &CollectionName, partitions: Option<&[String]>) -> Result<()> {
        let collection = self.collection(name)?;
        let vectors =
            collection.schema.fields.iter().filter(|field| field.data_type >= DataType::BinaryVector as i32);
        for field in vectors {
            if !collection.indexes.contains_key(&field.name) {
                return Err(Error::operator(format!(
                    "{name} has no index on {} and cannot be loaded",
                    field.name
                )));
            }
        }
        let all = collection.partitions.keys().cloned().collect::<Vec<_>>();
        for partition in partitions.unwrap_or(&all) {
            if !collection.partitions.contains_key(partition) {
                return Err(Error::operator(format!("{name} has no partition {partition}")));
            }
            collection.loaded.insert(partition.clone());
        }
        Ok(())
    }

    fn alias(&mut self, name: &CollectionName, alias: &str) -> Result<()> {
        self.collection(name)?;
        let alias = CollectionName::new(&name.database, alias);
        if self.collections.contains_key(&alias) {
            return Err(Error::operator(format!("{alias} is a collection and cannot be an alias")));
        }
        self.aliases.insert((alias.database, alias.collection), name.clone());
        Ok(())
    }

    fn check_database(&self, name: &CollectionName) -> Result<()> {
        if self.databases.contains(&name.database) {
            return Ok(());
        }
        Err(Error::operator(format!("database {} does not exist", name.database)))
    }

    fn check_free_of_alias(&self, name: &CollectionName) -> Result<()> {
        if self.aliases.contains_key(&(name.database.clone(), name.collection.clone())) {
            return Err(Error::operator(format!("{name} is an alias and cannot be a collection")));
        }
        Ok(())
    }

    fn collection(&mut self, name: &CollectionName) -> Result<&mut Collection> {
        self.collections
            .get_mut(name)
            .ok_or_else(|| Error::operator(format!("collection {name} does not exist")))
    }

    /// Applies a change of rows.
    pub(super) fn write(&mut self, name: &CollectionName, change: &RowChange, mode: Mode) -> Result<()> {
        let collection = self.collection(name)?;
        match change {
            RowChange::Insert { partition, rows } => {
                let replace = mode == Mode::Safe;
                collection.put(partition.as_deref(), rows, replace)
            }
            RowChange::Upsert { partition, rows } => collection.put(partition.as_deref(), rows, true),
            RowChange::Delete { partition, key_field, keys } => {
                collection.delete(partition.as_deref(), key_field, keys)
            }
        }
        .map_err(|error| error.context(name))
    }
}

impl Collection {
    /// All rows, whatever their partition: a row with its key as often as it is there.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, &Row)> {
        let by_key = self.partitions.values().flatten();
        by_key.flat_map(|(key, rows)| rows.iter().map(move |row| (key, row)))
    }

    fn check_same(&self, new: &NewCollection, schema: &CollectionSchema) -> Result<()> {
        if self.schema == *schema && self.shards == new.shards {
            return Ok(());
        }
        Err(Error::operator(format!("{} exists with another definition", new.name)))
    }

    fn has_partition_key(&self) -> bool {
        request::has_partition_key(&self.schema)
    }

    fn key_field(&self) -> Result<String> {
        let key = self.schema.fields.iter().find(|field| field.is_primary_key);
        key.map(|field| field.name.clone()).ok_or_else(|| Error::operator("the schema has no primary key"))
    }

    /// The name under which a partition's rows are kept.
    fn partition_name(&self, asked: Option<&str>) -> Result<String> {
        let name = match asked {
            Some(name) if self.has_partition_key() => {
                return Err(Error::operator(format!(
                    "partition {name} is named, but a key chooses the partition"
                )));
            }
            Some(name) => name,
            None if self.has_partition_key() => "",
            None => "_default",
        };
        if !self.partitions.contains_key(name) {
            return Err(Error::operator(format!("partition {name} does not exist")));
        }
        Ok(name.to_owned())
    }

    fn check_columns(&self, rows: &Rows) -> Result<()> {
        let fields = self.schema.fields.iter().filter(|field| !field.is_function_output);
        let wanted = fields.map(|field| field.name.as_str()).collect::<BTreeSet<_>>();
        let mut sent = rows.columns.iter().map(|column| column.field_name.as_str()).collect::<BTreeSet<_>>();
        if self.schema.enable_dynamic_field {
            sent.remove("$meta");
        }
        for field in self.schema.fields.iter().filter(|field| field.is_function_output) {
            sent.remove(field.name.as_str());
        }
        if wanted != sent {
            return Err(Error::operator(format!("fields {wanted:?} are wanted, {sent:?} were sent")));
        }
        rows.check()
    }

    /// Inserts rows; with `replace` rows of the same keys go first, as an Upsert has it.
    fn put(&mut self, partition: Option<&str>, rows: &Rows, replace: bool) -> Result<()> {
        let partition = self.partition_name(partition)?;
        self.check_columns(rows)?;
        let keys = rows.keys(&self.key_field()?)?;
        let kept = self.partitions.entry(partition).or_default();
        if replace {
            keys.iter().for_each(|key| drop(kept.remove(&key)));
        }
        for (number, key) in keys.iter().enumerate() {
            let row = rows.slice(number..number + 1)?;
            let same_key = kept.entry(key).or_default();
            same_key.push(cells(row));
            same_key.sort_unstable();
        }
        Ok(())
    }

    fn delete(&mut self, partition: Option<&str>, key_field: &str, keys: &Keys) -> Result<()> {
        if self.key_field()? != key_field {
            return Err(Error::operator(format!("{key_field} is not the primary key")));
        }
        let only = partition.map(|partition| self.partition_name(Some(partition))).transpose()?;
        for (_, rows) in
            self.partitions.iter_mut().filter(|(name, _)| only.as_ref().is_none_or(|only| only == *name))
        {
            keys.iter().for_each(|key| drop(rows.remove(&key)));
        }
        Ok(())
    }
}

fn cells(row: Rows) -> Row {
    let cell = |mut column: crate::pb::milvus::proto::schema::FieldData| {
        column.field_id = 0;
        (std::mem::take(&mut column.field_name), Bytes::from(column.encode_to_vec()))
    };
    row.columns.into_iter().map(cell).collect()
}

fn pairs(list: &[crate::pb::milvus::proto::common::KeyValuePair]) -> BTreeMap<String, String> {
    list.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}
