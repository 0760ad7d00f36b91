//! Collections as tests describe them, and random rows for them.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use tapedeck::change::{CollectionName, Rows};
use tapedeck::pb::milvus::proto::common::KeyValuePair;
use tapedeck::pb::milvus::proto::schema::field_data::Field;
use tapedeck::pb::milvus::proto::schema::scalar_field::Data;
use tapedeck::pb::milvus::proto::schema::{
    ArrayArray, BoolArray, CollectionSchema, DataType, DoubleArray, FieldData, FieldSchema, FloatArray,
    IntArray, JsonArray, LongArray, ScalarField, StringArray, VectorField, vector_field,
};

/// The values of a partition key.
pub const TENANTS: std::ops::Range<i64> = 0..8;

/// A collection to be created. Its first field is the primary key.
#[derive(Clone)]
pub struct Table {
    pub name: CollectionName,
    pub fields: Vec<FieldSchema>,
    pub dynamic: bool,
    pub shards: i32,
    /// Of a partition-key collection; else 0.
    pub partition_count: i64,
    pub properties: Vec<KeyValuePair>,
}

/// A pair as Milvus' API has it.
pub fn pair(key: &str, value: impl ToString) -> KeyValuePair {
    KeyValuePair { key: key.into(), value: value.to_string() }
}

impl Table {
    /// Without fields.
    pub fn empty(name: &CollectionName) -> Table {
        let (name, fields, properties) = (name.clone(), Vec::new(), Vec::new());
        Table { name, fields, dynamic: false, shards: 1, partition_count: 0, properties }
    }

    /// What most tests need: Int64 key `id`, float vector `vector`, VarChar `text`, dynamic field.
    pub fn plain(name: &CollectionName) -> Table {
        Table::empty(name).key(DataType::Int64).vector(8).field("text", DataType::VarChar).dynamic()
    }

    /// The primary key `id`.
    pub fn key(self, kind: DataType) -> Table {
        let mut table = self.field("id", kind);
        table.last_field().is_primary_key = true;
        table
    }

    /// The source makes the keys.
    pub fn auto_id(mut self) -> Table {
        self.fields.iter_mut().filter(|field| field.is_primary_key).for_each(|field| field.auto_id = true);
        self
    }

    /// A scalar or JSON field.
    pub fn field(mut self, name: &str, kind: DataType) -> Table {
        let type_params = if kind == DataType::VarChar { vec![pair("max_length", 256)] } else { vec![] };
        let data_type = kind.into();
        self.fields.push(FieldSchema { name: name.into(), data_type, type_params, ..FieldSchema::default() });
        self
    }

    /// An array field of up to 16 elements.
    pub fn array(self, name: &str, element: DataType) -> Table {
        let mut table = self.field(name, DataType::Array);
        let field = table.last_field();
        field.element_type = element.into();
        field.type_params.push(pair("max_capacity", 16));
        if element == DataType::VarChar {
            field.type_params.push(pair("max_length", 64));
        }
        table
    }

    /// The float vector `vector`.
    pub fn vector(self, dim: usize) -> Table {
        let mut table = self.field("vector", DataType::FloatVector);
        table.last_field().type_params.push(pair("dim", dim));
        table
    }

    /// The binary vector `vector`.
    pub fn binary_vector(self, dim: usize) -> Table {
        let mut table = self.field("vector", DataType::BinaryVector);
        table.last_field().type_params.push(pair("dim", dim));
        table
    }

    /// Rows go to one of `partitions` by the field `tenant`, of which there are [`TENANTS`].
    pub fn by_tenant(self, partitions: i64) -> Table {
        let mut table = self.field("tenant", DataType::Int64);
        table.last_field().is_partition_key = true;
        Table { partition_count: partitions, ..table }
    }

    /// Rows may have more than the schema names.
    pub fn dynamic(mut self) -> Table {
        self.dynamic = true;
        self
    }

    pub fn shards(mut self, shards: i32) -> Table {
        self.shards = shards;
        self
    }

    pub fn property(mut self, key: &str, value: impl ToString) -> Table {
        self.properties.push(pair(key, value));
        self
    }

    /// The same under another name.
    pub fn named(&self, name: &CollectionName) -> Table {
        Table { name: name.clone(), ..self.clone() }
    }

    fn last_field(&mut self) -> &mut FieldSchema {
        self.fields.last_mut().expect("a field before its options")
    }

    /// As CreateCollection takes it.
    pub fn schema(&self) -> CollectionSchema {
        CollectionSchema {
            name: self.name.collection.clone(),
            description: "made by a test".into(),
            auto_id: self.fields.iter().any(|field| field.auto_id),
            fields: self.fields.clone(),
            enable_dynamic_field: self.dynamic,
            ..CollectionSchema::default()
        }
    }

    /// Random rows with these keys, as a client sends them: without the key column where the source makes keys.
    pub fn rows(&self, rng: &mut StdRng, keys: impl IntoIterator<Item = i64>) -> Rows {
        let keys = keys.into_iter().collect::<Vec<_>>();
        let sent = self.fields.iter().filter(|field| !field.auto_id);
        let mut columns = sent.map(|field| column(field, rng, &keys)).collect::<Vec<_>>();
        if self.dynamic {
            let field = FieldSchema {
                name: "$meta".into(),
                data_type: DataType::Json.into(),
                ..FieldSchema::default()
            };
            columns.push(FieldData { is_dynamic: true, ..column(&field, rng, &keys) });
        }
        Rows { columns, count: keys.len() }
    }
}

/// A key as a VarChar key field has it. Quotes are in it because expressions must bear them.
pub fn text_key(key: i64) -> String {
    format!("k'{key:06}\"")
}

fn column(field: &FieldSchema, rng: &mut StdRng, keys: &[i64]) -> FieldData {
    let count = keys.len();
    let values = match field.data_type() {
        DataType::Int64 if field.is_primary_key => {
            Field::Scalars(scalars(Data::LongData(LongArray { data: keys.into() })))
        }
        DataType::Int64 if field.is_partition_key => {
            let data = (0..count).map(|_| rng.random_range(TENANTS)).collect();
            Field::Scalars(scalars(Data::LongData(LongArray { data })))
        }
        DataType::VarChar if field.is_primary_key => {
            let data = keys.iter().map(|key| text_key(*key)).collect();
            Field::Scalars(scalars(Data::StringData(StringArray { data })))
        }
        DataType::Array => {
            let element = field.element_type();
            let data = (0..count).map(|_| rng.random_range(0..=16)).collect::<Vec<usize>>();
            let data = data.into_iter().map(|length| random(element, rng, length)).collect();
            Field::Scalars(scalars(Data::ArrayData(ArrayArray { data, element_type: element.into() })))
        }
        DataType::FloatVector => {
            let data = packed(count * dim(field), || rng.random::<f32>().to_le_bytes());
            vector(field, vector_field::Data::FloatVector(FloatArray { data }))
        }
        DataType::BinaryVector => vector(
            field,
            vector_field::Data::BinaryVector(packed(count * dim(field) / 8, || [rng.random::<u8>()])),
        ),
        scalar => Field::Scalars(random(scalar, rng, count)),
    };
    FieldData {
        r#type: field.data_type,
        field_name: field.name.clone(),
        field: Some(values),
        ..FieldData::default()
    }
}

fn scalars(data: Data) -> ScalarField {
    ScalarField { data: Some(data) }
}

fn vector(field: &FieldSchema, data: vector_field::Data) -> Field {
    Field::Vectors(VectorField { dim: dim(field) as i64, data: Some(data) })
}

/// The dimension of a vector field.
pub fn dim(field: &FieldSchema) -> usize {
    let dim = field.type_params.iter().find(|param| param.key == "dim").expect("a vector field");
    dim.value.parse().expect("a dimension")
}

fn packed<const N: usize>(count: usize, mut value: impl FnMut() -> [u8; N]) -> Bytes {
    (0..count).flat_map(|_| value()).collect()
}

/// Random scalars, extreme values among them.
fn random(kind: DataType, rng: &mut StdRng, count: usize) -> ScalarField {
    let mut small = |bits: u32| {
        let (low, high) = (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1);
        let data =
            (0..count).map(|_| if rng.random_ratio(1, 8) { low } else { rng.random_range(low..=high) });
        Data::IntData(IntArray { data: data.map(|value| value as i32).collect() })
    };
    scalars(match kind {
        DataType::Int8 => small(8),
        DataType::Int16 => small(16),
        DataType::Int32 => small(32),
        DataType::Int64 => Data::LongData(LongArray { data: (0..count).map(|_| rng.random()).collect() }),
        DataType::Bool => Data::BoolData(BoolArray { data: (0..count).map(|_| rng.random()).collect() }),
        DataType::Float => {
            Data::FloatData(FloatArray { data: packed(count, || rng.random::<f32>().to_le_bytes()) })
        }
        DataType::Double => {
            Data::DoubleData(DoubleArray { data: packed(count, || rng.random::<f64>().to_le_bytes()) })
        }
        DataType::VarChar => Data::StringData(StringArray { data: (0..count).map(|_| text(rng)).collect() }),
        DataType::Json => Data::JsonData(JsonArray { data: (0..count).map(|_| json(rng)).collect() }),
        other => panic!("no random values of type {other:?}"),
    })
}

fn text(rng: &mut StdRng) -> String {
    const PARTS: [&str; 8] = ["tape", "deck", "é", "日本", "'", "\"", "\\", " "];
    (0..rng.random_range(0..8)).map(|_| PARTS[rng.random_range(0..PARTS.len())]).collect()
}

fn json(rng: &mut StdRng) -> Bytes {
    let value = match rng.random_range(0..3) {
        0 => serde_json::json!({}),
        1 => serde_json::json!({ "colour": text(rng), "size": rng.random::<i64>() }),
        _ => serde_json::json!({ "nested": { "list": [rng.random::<f64>(), text(rng), null_or(rng)] } }),
    };
    value.to_string().into()
}

fn null_or(rng: &mut StdRng) -> serde_json::Value {
    if rng.random() { serde_json::Value::Null } else { rng.random::<bool>().into() }
}
