//! The values of a binlog as a column of rows, in the form in which the queue carries them.
//!
//! | data type | value in the file |
//! |---|---|
//! | Bool, Int8 to Int64, Float, Double, VarChar | of the type of that name |
//! | JSON, `$meta` | its text |
//! | Array | a `ScalarField` in protobuf |
//! | FloatVector, BinaryVector, Float16Vector, BFloat16Vector | its bytes, of one length for all rows |
//! | SparseFloatVector | u32 index and f32 value of each element, little endian, by index |

use bytes::Bytes;
use prost::Message;

use super::payload::{Column, Values};
use crate::error::Result;
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::vector_field::Data as Vector;
use crate::pb::milvus::proto::schema::{
    ArrayArray, BoolArray, DataType, DoubleArray, FieldData, FieldSchema, FloatArray, IntArray, JsonArray,
    LongArray, ScalarField, SparseFloatArray, StringArray, VectorField,
};
use crate::rows::with_nulls;

/// A column of a field; none where the values are not those of its type.
pub(super) fn column(field: &FieldSchema, column: Column) -> Result<Option<FieldData>> {
    let Some(values) = values(field, column.values) else { return Ok(None) };
    let data = FieldData {
        r#type: field.data_type,
        field_name: field.name.clone(),
        field_id: field.field_id,
        is_dynamic: field.is_dynamic,
        field: Some(values),
        valid_data: column.valid,
    };
    with_nulls(data).map(Some)
}

fn values(field: &FieldSchema, values: Values) -> Option<Field> {
    let data = match (field.data_type(), values) {
        (DataType::Bool, Values::Bool(data)) => Scalar::BoolData(BoolArray { data }),
        (DataType::Int8 | DataType::Int16 | DataType::Int32, Values::Int(data)) => {
            Scalar::IntData(IntArray { data })
        }
        (DataType::Int64, Values::Long(data)) => Scalar::LongData(LongArray { data }),
        (DataType::Float, Values::Float(data)) => {
            Scalar::FloatData(FloatArray { data: data.into_iter().flat_map(f32::to_le_bytes).collect() })
        }
        (DataType::Double, Values::Double(data)) => {
            Scalar::DoubleData(DoubleArray { data: data.into_iter().flat_map(f64::to_le_bytes).collect() })
        }
        (DataType::VarChar | DataType::String, Values::Bytes(data)) => {
            let data = data.into_iter().map(|text| String::from_utf8(text.into()));
            Scalar::StringData(StringArray { data: data.collect::<Result<_, _>>().ok()? })
        }
        (DataType::Json, Values::Bytes(data)) => Scalar::JsonData(JsonArray { data }),
        (DataType::Array, Values::Bytes(data)) => {
            let data = data.into_iter().map(ScalarField::decode).collect::<Result<_, _>>().ok()?;
            Scalar::ArrayData(ArrayArray { data, element_type: field.element_type })
        }
        (_, Values::Bytes(data)) => return vectors(field, data).map(Field::Vectors),
        _ => return None,
    };
    Some(Field::Scalars(ScalarField { data: Some(data) }))
}

fn vectors(field: &FieldSchema, data: Vec<Bytes>) -> Option<VectorField> {
    if field.data_type() == DataType::SparseFloatVector {
        let dim =
            data.iter().map(sparse_dim).collect::<Option<Vec<_>>>()?.into_iter().max().unwrap_or_default();
        let data = Vector::SparseFloatVector(SparseFloatArray { contents: data, dim });
        return Some(VectorField { dim, data: Some(data) });
    }
    let dim = field.type_params.iter().find(|param| param.key == "dim")?.value.parse::<i64>().ok()?;
    let width = usize::try_from(dim).ok()?;
    let packed = |width: Option<usize>| {
        let whole = data.iter().all(|vector| Some(vector.len()) == width);
        whole.then(|| Bytes::from(data.concat()))
    };
    let data = match field.data_type() {
        DataType::FloatVector => Vector::FloatVector(FloatArray { data: packed(width.checked_mul(4))? }),
        DataType::BinaryVector => Vector::BinaryVector(packed(Some(width.div_ceil(8)))?),
        DataType::Float16Vector => Vector::Float16Vector(packed(width.checked_mul(2))?),
        DataType::BFloat16Vector => Vector::Bfloat16Vector(packed(width.checked_mul(2))?),
        _ => return None,
    };
    Some(VectorField { dim, data: Some(data) })
}

/// One more than the last index; 0 of a vector without elements.
fn sparse_dim(vector: &Bytes) -> Option<i64> {
    let (elements, []) = vector.as_chunks::<8>() else { return None };
    let index = |[a, b, c, d, ..]: &[u8; 8]| i64::from(u32::from_le_bytes([*a, *b, *c, *d]));
    Some(elements.last().map_or(0, |last| index(last).saturating_add(1)))
}
