//! A small recorder of rows of every type, and what of them an archive must hold.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use crate::archive::read::{Change, File};
use crate::archive::table::Op;
use crate::catalog::Catalog;
use crate::change::{Keys, Rows};
use crate::log::layout;
use crate::log::segment::SegmentWriter;
use crate::log::tests::sample::{CHANNEL, draft, source};
use crate::log::writer::LogWriter;
use crate::message::ALL_PARTITIONS;
use crate::pb::log::{self as pb, definition::Change as Defined};
use crate::pb::milvus::proto::common::{KeyValuePair, MsgBase};
use crate::pb::milvus::proto::msg::{DeleteRequest, InsertRequest};
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::vector_field::Data as Vector;
use crate::pb::milvus::proto::schema::*;
use crate::position::{Position, Seq};
use crate::rows::Key;
use crate::store::Store;
use crate::tick::Tso;

const DIM: usize = 8;
/// The partitions of every collection.
pub const PARTITIONS: [i64; 2] = [11, 12];

/// What is done to the source.
#[derive(Clone, Debug)]
pub enum Action {
    /// Rows come into a partition; `again`: with the TSO of the rows before.
    Insert {
        table: usize,
        partition: usize,
        keys: Vec<i64>,
        again: bool,
    },
    /// Keys are deleted from a partition, or from all.
    Delete {
        table: usize,
        partition: Option<usize>,
        keys: Vec<i64>,
        again: bool,
    },
    /// Both at once.
    Upsert {
        table: usize,
        partition: usize,
        keys: Vec<i64>,
    },
    Rename {
        table: usize,
    },
    Recreate {
        table: usize,
    },
    /// Gives it one field more.
    Alter {
        table: usize,
    },
    /// Drops its second partition, if that is there.
    DropPartition {
        table: usize,
    },
    Commit,
}

/// A row that the archive must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub key: Key,
    pub change: Change,
    /// Of one row; none of a delete.
    pub row: Option<Rows>,
}

/// The source and its recorder.
pub struct Recorder {
    pub writer: LogWriter,
    pub catalog: Catalog,
    tables: Vec<i64>,
    next_id: i64,
    tick: u64,
    offset: i64,
    recorded: i64,
    rows_at: bool,
    definitions: Vec<pb::Definition>,
    messages: Vec<(i64, Tso, i32, Bytes, u64)>,
    /// By collection.
    pub expected: BTreeMap<i64, Vec<Expected>>,
}

impl Recorder {
    /// Begins a log with two collections: the first with Int64 keys and all types, the second with VarChar keys and a
    /// partition key.
    pub async fn new(store: &Store) -> Recorder {
        let (writer, _) = LogWriter::open(store.clone(), &source()).await.unwrap();
        let mut this = Recorder {
            writer,
            catalog: Catalog::default(),
            tables: Vec::new(),
            next_id: 100,
            tick: 0,
            offset: 0,
            recorded: 0,
            rows_at: false,
            definitions: Vec::new(),
            messages: Vec::new(),
            expected: BTreeMap::new(),
        };
        let database = pb::Database { id: 1, name: "default".into(), properties: vec![] };
        this.define(Defined::CreateDatabase(database));
        for table in 0..2 {
            let id = this.create(table);
            this.tables.push(id);
        }
        this
    }

    pub async fn act(&mut self, action: &Action) {
        match action {
            Action::Insert { table, partition, keys, again } => {
                let partition = self.partition(*table, *partition);
                self.step(*again);
                self.insert(self.tables[*table], partition, keys);
            }
            Action::Delete { table, partition, keys, again } => {
                self.step(*again);
                let named = |partition| self.partition(*table, partition);
                let partition = partition.map_or(ALL_PARTITIONS, named);
                self.delete(self.tables[*table], partition, keys);
            }
            Action::Upsert { table, partition, keys } => {
                let partition = self.partition(*table, *partition);
                self.step(false);
                self.insert(self.tables[*table], partition, keys);
                self.delete(self.tables[*table], partition, keys);
            }
            Action::Rename { table } => {
                let (id, name) = (self.tables[*table], format!("renamed_{}", self.tick));
                self.define(Defined::RenameCollection(pb::RenameCollection { id, database_id: 1, name }));
            }
            Action::Recreate { table } => {
                self.define(Defined::DropCollection(pb::DropCollection { id: self.tables[*table] }));
                self.tables[*table] = self.create(*table);
            }
            Action::Alter { table } => {
                let id = self.tables[*table];
                let mut schema = self.catalog.collections[&id].schema.clone().unwrap();
                let field_id = 100 + schema.fields.len() as i64;
                let more = FieldSchema {
                    nullable: true,
                    ..field(field_id, &format!("more_{field_id}"), DataType::Int16)
                };
                schema.fields.push(more);
                let altered =
                    pb::AlterCollection { id, properties: vec![], schema: Some(schema), indexes: vec![] };
                self.define(Defined::AlterCollection(altered));
            }
            Action::DropPartition { table } => {
                let [first, second] = [0, 1].map(|number| self.partition(*table, number));
                if first != second {
                    let collection_id = self.tables[*table];
                    let dropped = pb::DropPartition { collection_id, partition_id: second };
                    self.define(Defined::DropPartition(dropped));
                }
            }
            Action::Commit => self.commit().await,
        }
    }

    /// The id of a partition, that of the first for one that is gone.
    fn partition(&self, table: usize, number: usize) -> i64 {
        let partitions = &self.catalog.collections[&self.tables[table]].partitions;
        partitions.get(number).unwrap_or(&partitions[0]).id
    }

    /// Commits what was done since the last commit.
    pub async fn commit(&mut self) {
        self.commit_with(|draft| draft).await;
    }

    /// As [`Recorder::commit`], with something else in the commit.
    pub async fn commit_with(&mut self, change: impl FnOnce(pb::Commit) -> pb::Commit) {
        let seq = self.writer.next_seq();
        let header = pb::SegmentHeader {
            log_id: self.writer.log_id().to_owned(),
            epoch: self.writer.epoch(),
            seq: seq.0,
            channels: vec![CHANNEL.into()],
        };
        let mut segment = SegmentWriter::new(header);
        self.definitions.drain(..).for_each(|definition| segment.definition(&definition));
        for (offset, tso, msg_type, payload, rows) in self.messages.drain(..) {
            segment.message(0, Position::offset(offset), tso, msg_type, &payload, rows);
        }
        let (bytes, counted) = segment.finish();
        let uploader = self.writer.uploader();
        let segment = uploader.put_segment(seq, bytes, counted).await.unwrap();
        let catalog = uploader.put_catalog(seq, &self.catalog).await.unwrap();
        // An empty range stays where the last one ended.
        let draft = draft(self.recorded, self.offset.max(1), segment, catalog);
        self.recorded = self.offset.max(1);
        self.writer.commit(change(pb::Commit { watermark: self.now().0, ..draft })).await.unwrap();
        self.rows_at = false;
    }

    pub fn last(&self) -> Seq {
        Seq(self.writer.next_seq().0 - 1)
    }

    fn now(&self) -> Tso {
        Tso::from_millis(1_795_411_930_000 + self.tick)
    }

    /// Moves to the next TSO, unless the rows before may share theirs.
    fn step(&mut self, again: bool) {
        if !(again && self.rows_at) {
            self.tick += 1;
        }
        self.rows_at = true;
    }

    fn define(&mut self, change: Defined) {
        self.tick += 1;
        self.rows_at = false;
        let definition = pb::Definition { tso: self.now().0, exact: true, change: Some(change) };
        self.catalog.apply(&definition).unwrap();
        self.definitions.push(definition);
    }

    fn create(&mut self, table: usize) -> i64 {
        self.next_id += 1;
        let partition = |id: i64| pb::Partition { id, name: format!("p{id}"), create_tso: 1 };
        self.define(Defined::CreateCollection(pb::Collection {
            id: self.next_id,
            database_id: 1,
            name: ["docs", "notes"][table].into(),
            schema: Some(schema(table)),
            partitions: PARTITIONS.map(partition).to_vec(),
            channels: vec![pb::Shard {
                virtual_channel: shard(self.next_id),
                channel: CHANNEL.into(),
                ..Default::default()
            }],
            ..Default::default()
        }));
        self.next_id
    }

    fn insert(&mut self, id: i64, partition: i64, keys: &[i64]) {
        let (tso, schema) = (self.now(), self.catalog.collections[&id].schema.clone().unwrap());
        let columns = schema.fields.iter().map(|field| column(field, keys, tso)).collect::<Vec<_>>();
        let sent = columns.iter().cloned().map(|column| crate::rows::without_nulls(column).unwrap());
        let request = InsertRequest {
            base: base(400, tso),
            shard_name: shard(id),
            collection_id: id,
            partition_id: partition,
            timestamps: vec![tso.0; keys.len()],
            row_i_ds: vec![0; keys.len()],
            fields_data: sent.collect(),
            num_rows: keys.len() as u64,
            version: 1,
            ..Default::default()
        };
        let rows = Rows { columns, count: keys.len() };
        let named = rows.keys("id").unwrap().iter().collect::<Vec<_>>();
        for (number, key) in named.into_iter().enumerate() {
            let row = rows.take(&[number]).unwrap();
            let change = Change { op: Op::Insert, tso, partition };
            self.expected.entry(id).or_default().push(Expected { key, change, row: Some(one(row)) });
        }
        self.send(400, tso, request.encode_to_vec(), keys.len());
    }

    fn delete(&mut self, id: i64, partition: i64, keys: &[i64]) {
        let tso = self.now();
        let text =
            self.catalog.collections[&id].schema.as_ref().unwrap().fields[0].data_type() == DataType::VarChar;
        let named = if text {
            Keys::Text(keys.iter().map(|key| name(*key)).collect())
        } else {
            Keys::Int(keys.to_vec())
        };
        let id_field = match &named {
            Keys::Int(data) => i_ds::IdField::IntId(LongArray { data: data.clone() }),
            Keys::Text(data) => i_ds::IdField::StrId(StringArray { data: data.clone() }),
        };
        let request = DeleteRequest {
            base: base(401, tso),
            shard_name: shard(id),
            collection_id: id,
            partition_id: partition,
            timestamps: vec![tso.0; keys.len()],
            num_rows: keys.len() as i64,
            primary_keys: Some(IDs { id_field: Some(id_field) }),
            ..Default::default()
        };
        let change = Change { op: Op::Delete, tso, partition };
        let expected = named.iter().map(|key| Expected { key, change, row: None });
        self.expected.entry(id).or_default().extend(expected);
        self.send(401, tso, request.encode_to_vec(), keys.len());
    }

    fn send(&mut self, msg_type: i32, tso: Tso, payload: Vec<u8>, rows: usize) {
        self.messages.push((self.offset, tso, msg_type, payload.into(), rows as u64));
        self.offset += 1;
    }

    /// What an archive of all of this must hold, in the order of a file: by key, then TSO, then what was done.
    pub fn oracle(&self) -> BTreeMap<i64, Vec<Expected>> {
        let upserts_anywhere = |id: &i64| {
            let mut known = self.definitions_of(*id);
            known.any(|field| field.is_partition_key)
        };
        let mut all = BTreeMap::new();
        for (id, rows) in &self.expected {
            let meet = |one: &Expected, other: &Expected| {
                let ours = (one.change.tso, &one.key) == (other.change.tso, &other.key);
                ours && (upserts_anywhere(id) || one.change.partition == other.change.partition)
            };
            let is = |op: Op| rows.iter().filter(move |row| row.change.op == op).collect::<Vec<_>>();
            let (deletes, inserts) = (is(Op::Delete), is(Op::Insert));
            let gone = deletes.iter().filter(|delete| !inserts.iter().any(|insert| meet(delete, insert)));
            let mut made = gone.map(|delete| (*delete).clone()).collect::<Vec<_>>();
            made.extend(inserts.iter().map(|insert| {
                let upsert = deletes.iter().any(|delete| meet(delete, insert));
                let op = if upsert { Op::Upsert } else { Op::Insert };
                Expected { change: Change { op, ..insert.change }, ..(*insert).clone() }
            }));
            made.sort_by_key(|row| (row.key.clone(), row.change.tso, row.change.op));
            all.insert(*id, made);
        }
        all
    }

    /// The rows that live now, as collection, partition, key and columns, in any order.
    pub fn living(&self) -> Vec<(i64, i64, Key, Rows)> {
        let mut living = Vec::new();
        for (id, collection) in &self.catalog.collections {
            let mut changes = self.expected.get(id).cloned().unwrap_or_default();
            changes.sort_by_key(|row| (row.change.tso, row.change.op));
            let everywhere = self.definitions_of(*id).any(|field| field.is_partition_key);
            let mut rows = Vec::new();
            for Expected { key, change, row } in changes {
                match row {
                    Some(row) => rows.push((*id, change.partition, key, row)),
                    None => rows.retain(|(_, partition, known, _)| {
                        let reached = everywhere || [ALL_PARTITIONS, *partition].contains(&change.partition);
                        !(reached && *known == key)
                    }),
                }
            }
            rows.retain(|(_, id, ..)| collection.partitions.iter().any(|partition| partition.id == *id));
            living.extend(rows);
        }
        living
    }

    fn definitions_of(&self, id: i64) -> impl Iterator<Item = FieldSchema> {
        let table = self
            .expected
            .get(&id)
            .and_then(|rows| rows.first())
            .map(|row| usize::from(matches!(row.key, Key::Text(_))));
        table.map(schema).into_iter().flat_map(|schema| schema.fields)
    }
}

/// All rows that the files of an archive hold, by collection and in the oracle's order; each file must have its own in it.
pub async fn archived(store: &Store) -> BTreeMap<i64, Vec<Expected>> {
    let mut all = BTreeMap::<i64, Vec<Expected>>::new();
    for manifest in manifests(store).await {
        for named in manifest.files {
            let mut file = File::open(store, &named).await.unwrap();
            let mut rows = Vec::new();
            while let Some(block) = file.block().unwrap() {
                let mut came = 0;
                for (change, key) in block.changes.iter().zip(block.keys.iter()) {
                    let row = (change.op != Op::Delete).then(|| {
                        came += 1;
                        one(block.rows.take(&[came - 1]).unwrap())
                    });
                    rows.push(Expected { key, change: *change, row });
                }
                assert_eq!((came, block.keys.len()), (block.rows.count, block.changes.len()));
            }
            let order = |row: &Expected| (row.key.clone(), row.change.tso, row.change.op);
            assert!(rows.iter().map(order).is_sorted(), "{named:?}");
            all.entry(named.collection_id).or_default().extend(rows);
        }
    }
    all.values_mut()
        .for_each(|rows| rows.sort_by_key(|row| (row.key.clone(), row.change.tso, row.change.op)));
    all
}

pub async fn manifests(store: &Store) -> Vec<pb::ArchiveManifest> {
    let log_id = crate::log::identity::Identity::load(store).await.unwrap().unwrap().log_id;
    let mut all = Vec::new();
    while let Some(bytes) = store.get(&layout::manifest(all.len() as u64 + 1)).await.unwrap() {
        all.push(crate::archive::manifest::open(&log_id, all.len() as u64 + 1, bytes).unwrap().manifest);
    }
    all
}

/// A row as it is compared: that no row is null can be said in two ways.
pub fn one(mut row: Rows) -> Rows {
    for column in &mut row.columns {
        if column.valid_data == [true] {
            column.valid_data.clear();
        }
    }
    row
}

fn base(msg_type: i32, tso: Tso) -> Option<MsgBase> {
    Some(MsgBase { msg_type, timestamp: tso.0, ..Default::default() })
}

fn shard(id: i64) -> String {
    format!("{CHANNEL}_{id}v0")
}

fn name(key: i64) -> String {
    format!("key {key}")
}

pub fn field(id: i64, name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema { field_id: id, name: name.into(), data_type: data_type.into(), ..Default::default() }
}

/// The schema of one of the two collections.
pub fn schema(table: usize) -> CollectionSchema {
    let vector = |id, name: &str, data_type| FieldSchema {
        type_params: vec![KeyValuePair { key: "dim".into(), value: DIM.to_string() }],
        ..field(id, name, data_type)
    };
    let array = |id, name: &str, element_type: DataType| FieldSchema {
        element_type: element_type.into(),
        ..field(id, name, DataType::Array)
    };
    let key = |data_type| FieldSchema { is_primary_key: true, ..field(100, "id", data_type) };
    let fields = match table {
        0 => vec![
            key(DataType::Int64),
            vector(101, "vector", DataType::FloatVector),
            vector(102, "bits", DataType::BinaryVector),
            vector(103, "half", DataType::Float16Vector),
            vector(104, "brain", DataType::BFloat16Vector),
            field(105, "sparse", DataType::SparseFloatVector),
            field(106, "flag", DataType::Bool),
            field(107, "tiny", DataType::Int8),
            field(108, "small", DataType::Int16),
            field(109, "middle", DataType::Int32),
            field(110, "large", DataType::Int64),
            field(111, "float", DataType::Float),
            field(112, "double", DataType::Double),
            FieldSchema { nullable: true, ..field(113, "note", DataType::VarChar) },
            field(114, "document", DataType::Json),
            array(115, "flags", DataType::Bool),
            array(116, "bytes", DataType::Int8),
            array(117, "longs", DataType::Int64),
            array(118, "floats", DataType::Float),
            array(119, "doubles", DataType::Double),
            array(120, "texts", DataType::VarChar),
            // The name of a column of every archive.
            field(121, "_op", DataType::VarChar),
            FieldSchema { is_dynamic: true, ..field(122, "$meta", DataType::Json) },
        ],
        _ => vec![
            key(DataType::VarChar),
            vector(101, "vector", DataType::FloatVector),
            FieldSchema { is_partition_key: true, ..field(102, "tenant", DataType::VarChar) },
        ],
    };
    CollectionSchema { name: ["docs", "notes"][table].into(), fields, ..Default::default() }
}

/// Values that follow from key and TSO.
fn column(field: &FieldSchema, keys: &[i64], tso: Tso) -> FieldData {
    let numbers = keys.iter().map(|key| key.wrapping_mul(31) ^ tso.millis() as i64).collect::<Vec<_>>();
    let valid_data = match field.nullable {
        true => keys.iter().map(|key| key % 3 != 0).collect(),
        false => Vec::new(),
    };
    let given = |row: usize| !field.nullable || keys[row] % 3 != 0;
    let packed = |width: usize| {
        let bytes = numbers.iter().flat_map(|number| (0..width).map(move |at| (number + at as i64) as u8));
        Bytes::from_iter(bytes)
    };
    let scalar = |data| Field::Scalars(ScalarField { data: Some(data) });
    let vector = |dim: usize, data| Field::Vectors(VectorField { dim: dim as i64, data: Some(data) });
    let texts = numbers
        .iter()
        .enumerate()
        .map(|(row, number)| if given(row) { format!("t{number}") } else { String::new() });
    let values = match field.data_type() {
        DataType::Int64 if field.is_primary_key => {
            scalar(Scalar::LongData(LongArray { data: keys.to_vec() }))
        }
        DataType::VarChar if field.is_primary_key => {
            scalar(Scalar::StringData(StringArray { data: keys.iter().map(|key| name(*key)).collect() }))
        }
        DataType::Bool => {
            scalar(Scalar::BoolData(BoolArray { data: numbers.iter().map(|n| n % 2 == 0).collect() }))
        }
        DataType::Int8 => {
            scalar(Scalar::IntData(IntArray { data: numbers.iter().map(|n| i32::from(*n as i8)).collect() }))
        }
        DataType::Int16 => {
            let data =
                numbers.iter().enumerate().map(|(row, n)| if given(row) { i32::from(*n as i16) } else { 0 });
            scalar(Scalar::IntData(IntArray { data: data.collect() }))
        }
        DataType::Int32 => {
            scalar(Scalar::IntData(IntArray { data: numbers.iter().map(|n| *n as i32).collect() }))
        }
        DataType::Int64 => scalar(Scalar::LongData(LongArray { data: numbers.clone() })),
        DataType::Float => scalar(Scalar::FloatData(FloatArray { data: packed(4) })),
        DataType::Double => scalar(Scalar::DoubleData(DoubleArray { data: packed(8) })),
        DataType::VarChar => scalar(Scalar::StringData(StringArray { data: texts.collect() })),
        DataType::Json => {
            let data = numbers.iter().map(|number| Bytes::from(format!("{{\"n\":{number}}}"))).collect();
            scalar(Scalar::JsonData(JsonArray { data }))
        }
        DataType::Array => {
            let element = FieldSchema { data_type: field.element_type, ..FieldSchema::default() };
            let lists = keys.iter().zip(&numbers).map(|(key, number)| {
                let elements = (0..key.rem_euclid(3)).map(|at| number + at).collect::<Vec<_>>();
                match column(&element, &elements, Tso::ZERO).field {
                    Some(Field::Scalars(scalars)) => scalars,
                    _ => panic!("a list of vectors"),
                }
            });
            scalar(Scalar::ArrayData(ArrayArray { data: lists.collect(), element_type: field.element_type }))
        }
        DataType::FloatVector => vector(DIM, Vector::FloatVector(FloatArray { data: packed(DIM * 4) })),
        DataType::BinaryVector => vector(DIM, Vector::BinaryVector(packed(DIM / 8))),
        DataType::Float16Vector => vector(DIM, Vector::Float16Vector(packed(DIM * 2))),
        DataType::BFloat16Vector => vector(DIM, Vector::Bfloat16Vector(packed(DIM * 2))),
        DataType::SparseFloatVector => {
            let contents =
                numbers.iter().map(|n| [7u32.to_le_bytes(), (*n as f32).to_le_bytes()].concat().into());
            vector(8, Vector::SparseFloatVector(SparseFloatArray { contents: contents.collect(), dim: 8 }))
        }
        other => panic!("no values of {other:?}"),
    };
    FieldData {
        r#type: field.data_type,
        field_name: field.name.clone(),
        field_id: field.field_id,
        is_dynamic: field.is_dynamic,
        field: Some(values),
        valid_data,
    }
}
