//! Decoded messages in the form of the fixtures' meaning.

use std::fmt::Write;

use serde_json::{Map, Value, json};
use tapedeck::change::{CollectionName, Keys, Rows};
use tapedeck::message::Action;
use tapedeck::pb::milvus::proto::common::KeyValuePair;
use tapedeck::pb::milvus::proto::schema::{
    DataType, FieldData, ScalarField, VectorField, field_data::Field, scalar_field::Data as Scalar,
    vector_field::Data as Vector,
};

/// Rows, each with the cells of its columns.
pub fn rows(rows: &Rows) -> Vec<Value> {
    let columns = rows.columns.iter().map(|column| (&column.field_name, cells(column))).collect::<Vec<_>>();
    for (name, cells) in &columns {
        assert_eq!(cells.len(), rows.count, "{name}");
    }
    let row =
        |number: usize| columns.iter().map(move |(name, cells)| ((*name).clone(), cells[number].clone()));
    (0..rows.count).map(|number| Value::Object(row(number).collect::<Map<_, _>>())).collect()
}

/// Keys of a delete.
pub fn keys(keys: &Keys) -> Value {
    match keys {
        Keys::Int(keys) => json!(keys),
        Keys::Text(keys) => json!(keys),
    }
}

/// What a request asked for.
pub fn action(action: &Action) -> Value {
    match action {
        Action::CreateDatabase { database } | Action::DropDatabase { database } => {
            json!({ "database": database })
        }
        Action::LoadCollection { name, replicas } => {
            json!({ "collection": full(name), "replicas": replicas })
        }
        Action::ReleaseCollection { name } => json!({ "collection": full(name) }),
        Action::LoadPartitions { name, partitions, replicas } => {
            json!({ "collection": full(name), "partitions": partitions, "replicas": replicas })
        }
        Action::ReleasePartitions { name, partitions } => {
            json!({ "collection": full(name), "partitions": partitions })
        }
        Action::CreateIndex { name, field, index, params } => {
            json!({ "collection": full(name), "field": field, "index": index, "params": pairs(params) })
        }
        Action::DropIndex { name, field, index } => {
            json!({ "collection": full(name), "field": field, "index": index })
        }
        Action::Flush { names } => {
            json!({ "collections": names.iter().map(full).collect::<Vec<_>>() })
        }
        Action::Other => Value::Null,
    }
}

fn full(name: &CollectionName) -> String {
    name.to_string()
}

fn pairs(pairs: &[KeyValuePair]) -> Value {
    pairs.iter().map(|pair| (pair.key.clone(), json!(pair.value))).collect::<Map<_, _>>().into()
}

fn cells(column: &FieldData) -> Vec<Value> {
    let cells = match column.field.as_ref().unwrap() {
        Field::Scalars(scalars) => scalar_cells(scalars),
        Field::Vectors(vectors) => vector_cells(column.r#type(), vectors),
    };
    let valid = |number: usize| column.valid_data.get(number).copied().unwrap_or(true);
    cells
        .into_iter()
        .enumerate()
        .map(|(number, cell)| if valid(number) { cell } else { Value::Null })
        .collect()
}

fn scalar_cells(scalars: &ScalarField) -> Vec<Value> {
    match scalars.data.as_ref() {
        None => Vec::new(), // an empty array of Go has no type
        Some(Scalar::BoolData(list)) => list.data.iter().map(|cell| json!(cell)).collect(),
        Some(Scalar::IntData(list)) => list.data.iter().map(|cell| json!(cell)).collect(),
        Some(Scalar::LongData(list)) => list.data.iter().map(|cell| json!(cell)).collect(),
        Some(Scalar::FloatData(list)) => floats(&list.data),
        Some(Scalar::DoubleData(list)) => {
            list.data.chunks(8).map(|cell| number(f64::from_le_bytes(cell.try_into().unwrap()))).collect()
        }
        Some(Scalar::StringData(list)) => list.data.iter().map(|cell| json!(cell)).collect(),
        Some(Scalar::JsonData(list)) => {
            list.data.iter().map(|cell| json!(std::str::from_utf8(cell).unwrap())).collect()
        }
        Some(Scalar::ArrayData(list)) => list.data.iter().map(|cell| json!(scalar_cells(cell))).collect(),
        Some(Scalar::BytesData(_)) => panic!("Milvus writes no bytes"),
    }
}

fn vector_cells(data_type: DataType, vectors: &VectorField) -> Vec<Value> {
    let dim = usize::try_from(vectors.dim).unwrap();
    let packed = |bytes: &[u8], width| bytes.chunks(width).map(|cell| json!(hex(cell))).collect();
    match (data_type, vectors.data.as_ref().unwrap()) {
        (DataType::FloatVector, Vector::FloatVector(list)) => {
            floats(&list.data).chunks(dim).map(|cell| json!(cell)).collect()
        }
        (DataType::BinaryVector, Vector::BinaryVector(bytes)) => packed(bytes, dim / 8),
        (DataType::Float16Vector, Vector::Float16Vector(bytes)) => packed(bytes, dim * 2),
        (DataType::BFloat16Vector, Vector::Bfloat16Vector(bytes)) => packed(bytes, dim * 2),
        (DataType::SparseFloatVector, Vector::SparseFloatVector(list)) => {
            list.contents.iter().map(|cell| json!(hex(cell))).collect()
        }
        (data_type, _) => panic!("a column of type {data_type:?} with another vector"),
    }
}

fn floats(bytes: &[u8]) -> Vec<Value> {
    bytes.chunks(4).map(|cell| number(f32::from_le_bytes(cell.try_into().unwrap()).into())).collect()
}

/// Go writes a whole number without a point.
fn number(cell: f64) -> Value {
    if cell.fract() == 0.0 && cell.abs() < 1e9 { json!(cell as i64) } else { json!(cell) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
