//! The columns of an archive file: what was done, then the fields of the collection. Pure.
//!
//! | data type | column |
//! |---|---|
//! | Bool, Int8 to Int64, Float, Double, VarChar | of the type of that name |
//! | JSON, `$meta` | text with the logical type JSON |
//! | Array | list |
//! | FloatVector, Float16Vector | list of a fixed size |
//! | BinaryVector, BFloat16Vector | bytes of a fixed size, as in a message |
//! | SparseFloatVector | bytes: u32 index and f32 value of each element, little endian |

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::extension::Json;
use arrow_schema::{DataType as Type, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::error::{Error, Result};
use crate::pb::milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};

/// The columns before the fields: name, field id, type. Milvus calls its own timestamp 1 and numbers the fields of users
/// from 100 on.
fn system() -> [(&'static str, i32, Type); SYSTEM_COLUMNS] {
    [
        ("_op", 2, Type::Utf8),
        ("_tso", 1, Type::UInt64),
        ("_time", 3, Type::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))),
        ("_partition", 4, Type::Utf8),
        ("_partition_id", 5, Type::Int64),
        ("_channel", 6, Type::Utf8),
        ("_position", 7, Type::Utf8),
    ]
}

/// Field id of `_partition`, which a delete from the whole collection has not.
const PARTITION_NAME: i32 = 4;
/// How many stand before the fields.
pub const SYSTEM_COLUMNS: usize = 7;
/// Number of the column `_op`...
pub const OP: usize = 0;
/// ...`_tso`...
pub const TSO: usize = 1;
/// ...`_partition_id`...
pub const PARTITION_ID: usize = 4;
/// ...and `_channel`.
pub const CHANNEL: usize = 5;

/// The columns of the files of one collection, as long as its fields are the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The collection's fields, in the order of the columns after the first [`SYSTEM_COLUMNS`].
    pub fields: Vec<FieldSchema>,
    /// The columns.
    pub columns: SchemaRef,
    /// Which field is the key.
    key: usize,
    /// Whether the source chooses the partition of a row by its values.
    pub partition_key: bool,
}

impl Layout {
    /// For rows of this schema: user fields and `$meta`, with ids.
    pub fn new(schema: &CollectionSchema) -> Result<Layout> {
        let fields = schema.fields.clone();
        let key = fields.iter().position(|field| field.is_primary_key);
        let key = key.ok_or_else(|| wrong(schema, "it has no primary key"))?;
        // SQL does not tell capitals from small letters.
        let taken = |name: &str| fields.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        let system = system().into_iter().map(|(name, id, data_type)| {
            let mut name = name.to_owned();
            while taken(&name) {
                name.push('_');
            }
            with_id(Field::new(name, data_type, id == PARTITION_NAME), id)
        });
        let mut columns = system.collect::<Vec<_>>();
        for field in &fields {
            columns.push(
                column(field).map_err(|why| wrong(schema, &format!("field \"{}\" {why}", field.name)))?,
            );
        }
        let partition_key = fields.iter().any(|field| field.is_partition_key);
        Ok(Layout { fields, columns: Arc::new(Schema::new(columns)), key, partition_key })
    }

    /// The key's name.
    pub fn key_field(&self) -> &str {
        self.fields.get(self.key).map_or("", |key| &key.name)
    }

    /// The key's column.
    pub fn key_column(&self) -> usize {
        SYSTEM_COLUMNS.saturating_add(self.key)
    }
}

fn wrong(schema: &CollectionSchema, why: &str) -> Error {
    Error::refused(format!("the rows of collection \"{}\" cannot be archived: {why}", schema.name))
        .advice("report the collection's definition: `tapedeck log timeline --json` shows it")
}

/// Of rows that delete only the key is known: every other column can be null.
fn column(field: &FieldSchema) -> Result<Field, String> {
    let id = i32::try_from(field.field_id).map_err(|_| format!("has the id {}", field.field_id))?;
    let column = with_id(Field::new(&field.name, data_type(field)?, !field.is_primary_key), id);
    Ok(match field.data_type() {
        DataType::Json => column.with_extension_type(Json::default()),
        _ => column,
    })
}

fn with_id(field: Field, id: i32) -> Field {
    field.with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]))
}

fn data_type(field: &FieldSchema) -> Result<Type, String> {
    Ok(match field.data_type() {
        DataType::Array => Type::List(element(scalar(field.element_type())?)),
        DataType::FloatVector => Type::FixedSizeList(element(Type::Float32), dim(field, 1)?),
        DataType::Float16Vector => Type::FixedSizeList(element(Type::Float16), dim(field, 1)?),
        DataType::BFloat16Vector => Type::FixedSizeBinary(dim(field, 1)?.saturating_mul(2)),
        DataType::BinaryVector => Type::FixedSizeBinary(dim(field, 8)?),
        DataType::SparseFloatVector => Type::Binary,
        other => scalar(other)?,
    })
}

fn scalar(data_type: DataType) -> Result<Type, String> {
    Ok(match data_type {
        DataType::Bool => Type::Boolean,
        DataType::Int8 => Type::Int8,
        DataType::Int16 => Type::Int16,
        DataType::Int32 => Type::Int32,
        DataType::Int64 => Type::Int64,
        DataType::Float => Type::Float32,
        DataType::Double => Type::Float64,
        DataType::VarChar | DataType::String | DataType::Json => Type::Utf8,
        other => return Err(format!("has the data type {}", other.as_str_name())),
    })
}

fn element(data_type: Type) -> FieldRef {
    Arc::new(Field::new("element", data_type, false))
}

/// The dimension of a vector, in units of so many elements.
fn dim(field: &FieldSchema, unit: i32) -> Result<i32, String> {
    let given = field.type_params.iter().find(|param| param.key == "dim").map(|param| param.value.as_str());
    let dim =
        given.and_then(|dim| dim.parse().ok()).filter(|dim| (1..=1 << 20).contains(dim) && dim % unit == 0);
    dim.map(|dim: i32| dim / unit)
        .ok_or_else(|| format!("has the dimension \"{}\"", given.unwrap_or_default()))
}
