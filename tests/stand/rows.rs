//! Rows as a query returns them, value by value, so that two of them can be compared and shown.

use std::collections::BTreeMap;

use bytes::Bytes;
use tapedeck::pb::milvus::proto::schema::field_data::Field;
use tapedeck::pb::milvus::proto::schema::scalar_field::Data;
use tapedeck::pb::milvus::proto::schema::{DataType, FieldData, ScalarField, VectorField, vector_field};

use super::{Outcome, fail};

/// A primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Int(i64),
    Text(String),
}

/// One value of one row. Floats are compared bit by bit, JSON by what it means.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    Json(serde_json::Value),
    Array(Vec<Value>),
    /// Floats and vectors as they travel.
    Bits(Bytes),
}

/// A row by the names of its fields, the key among them.
pub type Row = BTreeMap<String, Value>;

/// Rows by key.
pub type Rows = BTreeMap<Key, Row>;

/// The rows in the columns of a query's answer.
pub fn rows(columns: Vec<FieldData>, key_field: &str) -> Outcome<Rows> {
    let mut table = Vec::<Row>::new();
    for column in columns {
        let name = column.field_name.clone();
        for (number, value) in values(column)?.into_iter().enumerate() {
            if table.len() == number {
                table.push(Row::new());
            }
            table[number].insert(name.clone(), value);
        }
    }
    let keyed = table.into_iter().map(|row| match row.get(key_field) {
        Some(Value::Int(key)) => Ok((Key::Int(*key), row)),
        Some(Value::Text(key)) => Ok((Key::Text(key.clone()), row)),
        other => fail(format!("a row with the key {other:?}")),
    });
    keyed.collect()
}

fn values(column: FieldData) -> Outcome<Vec<Value>> {
    match column.field {
        Some(Field::Scalars(scalars)) => scalar_values(scalars),
        Some(Field::Vectors(vectors)) => vector_values(vectors),
        None => fail(format!("column {} of type {} came without values", column.field_name, column.r#type)),
    }
}

fn scalar_values(scalars: ScalarField) -> Outcome<Vec<Value>> {
    Ok(match scalars.data {
        None => Vec::new(),
        Some(Data::BoolData(values)) => values.data.into_iter().map(Value::Bool).collect(),
        Some(Data::IntData(values)) => {
            values.data.into_iter().map(|value| Value::Int(value.into())).collect()
        }
        Some(Data::LongData(values)) => values.data.into_iter().map(Value::Int).collect(),
        Some(Data::FloatData(values)) => chunks(values.data, 4),
        Some(Data::DoubleData(values)) => chunks(values.data, 8),
        Some(Data::StringData(values)) => values.data.into_iter().map(Value::Text).collect(),
        Some(Data::BytesData(values)) => values.data.into_iter().map(Value::Bits).collect(),
        Some(Data::JsonData(values)) => {
            let parsed = values.data.iter().map(|json| serde_json::from_slice(json).map(Value::Json));
            parsed.collect::<Result<_, _>>()?
        }
        Some(Data::ArrayData(values)) => {
            let arrays = values.data.into_iter().map(|array| Ok(Value::Array(scalar_values(array)?)));
            arrays.collect::<Outcome<_>>()?
        }
    })
}

fn vector_values(vectors: VectorField) -> Outcome<Vec<Value>> {
    let dim = vectors.dim as usize;
    Ok(match vectors.data {
        Some(vector_field::Data::FloatVector(values)) => chunks(values.data, dim * 4),
        Some(vector_field::Data::BinaryVector(values)) => chunks(values, dim / 8),
        other => {
            return fail(format!("{:?} is not expected of Milvus 2.3: {other:?}", DataType::Float16Vector));
        }
    })
}

fn chunks(packed: Bytes, size: usize) -> Vec<Value> {
    packed.chunks(size).map(|chunk| Value::Bits(packed.slice_ref(chunk))).collect()
}

/// What differs between two sets of rows: the first few keys, and of differing rows the fields.
pub fn difference(source: &Rows, target: &Rows) -> Option<String> {
    const SHOWN: usize = 5;
    let missing = source.keys().filter(|key| !target.contains_key(key)).collect::<Vec<_>>();
    let surplus = target.keys().filter(|key| !source.contains_key(key)).collect::<Vec<_>>();
    let unequal = source.iter().filter_map(|(key, row)| Some((key, row, target.get(key)?)));
    let unequal = unequal.filter(|(_, row, other)| row != other).collect::<Vec<_>>();
    if missing.is_empty() && surplus.is_empty() && unequal.is_empty() {
        return None;
    }
    let first =
        |keys: &[&Key]| keys.iter().take(SHOWN).map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
    let mut lines = vec![format!(
        "{} rows at the source, {} at the target: {} missing [{}], {} too many [{}], {} unequal",
        source.len(),
        target.len(),
        missing.len(),
        first(&missing),
        surplus.len(),
        first(&surplus),
        unequal.len()
    )];
    for (key, row, other) in unequal.iter().take(SHOWN) {
        let names = row.keys().chain(other.keys()).collect::<std::collections::BTreeSet<_>>();
        for name in names.into_iter().filter(|name| row.get(*name) != other.get(*name)) {
            lines.push(format!("  {key:?} {name}: {:?} / {:?}", row.get(name), other.get(name)));
        }
    }
    Some(lines.join("\n"))
}

#[test]
fn a_difference_names_key_and_field() {
    let row = |text: &str| Row::from([("text".into(), Value::Text(text.into()))]);
    let source = Rows::from([(Key::Int(1), row("a")), (Key::Int(2), row("b")), (Key::Int(3), row("c"))]);
    let target = Rows::from([(Key::Int(2), row("x")), (Key::Int(3), row("c")), (Key::Int(4), row("d"))]);
    assert_eq!(difference(&source, &source), None);
    let text = difference(&source, &target).unwrap();
    assert!(text.contains("1 missing [Int(1)], 1 too many [Int(4)], 1 unequal"), "{text}");
    assert!(text.contains(r#"Int(2) text: Some(Text("b")) / Some(Text("x"))"#), "{text}");
}
