//! Columns of a file as columns of messages. Pure.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{Array, FixedSizeListArray, PrimitiveArray};
use bytes::Bytes;

use crate::pb::milvus::proto::schema::field_data::Field as Values;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::vector_field::Data as Vector;
use crate::pb::milvus::proto::schema::{
    ArrayArray, BoolArray, DataType, DoubleArray, FieldData, FieldSchema, FloatArray, IntArray, JsonArray,
    LongArray, ScalarField, SparseFloatArray, StringArray, VectorField,
};

/// The column of a field, with an entry for every row; none where the values are not those of its type.
pub fn column(field: &FieldSchema, array: &dyn Array) -> Option<FieldData> {
    let valid_data = match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => nulls.iter().collect(),
        None => Vec::new(),
    };
    Some(FieldData {
        r#type: field.data_type,
        field_name: field.name.clone(),
        field_id: field.field_id,
        is_dynamic: field.is_dynamic,
        field: Some(values(field, array)?),
        valid_data,
    })
}

fn values(field: &FieldSchema, array: &dyn Array) -> Option<Values> {
    let vector = match field.data_type() {
        DataType::Array => {
            let lists = array.as_list_opt::<i32>()?;
            let element_type = field.element_type();
            let lists = (0..lists.len()).map(|row| {
                let list = lists.is_valid(row).then(|| lists.value(row));
                let list = list.unwrap_or_else(|| lists.values().slice(0, 0));
                Some(ScalarField { data: Some(scalars(element_type, &list)?) })
            });
            let lists = ArrayArray { data: lists.collect::<Option<_>>()?, element_type: field.element_type };
            return Some(Values::Scalars(ScalarField { data: Some(Scalar::ArrayData(lists)) }));
        }
        DataType::FloatVector => {
            let list = array.as_fixed_size_list_opt()?;
            let data = elements::<Float32Type>(list)?;
            VectorField {
                dim: list.value_length().into(),
                data: Some(Vector::FloatVector(FloatArray { data })),
            }
        }
        DataType::Float16Vector => {
            let list = array.as_fixed_size_list_opt()?;
            let data = elements::<Float16Type>(list)?;
            VectorField { dim: list.value_length().into(), data: Some(Vector::Float16Vector(data)) }
        }
        DataType::BFloat16Vector => {
            let list = array.as_fixed_size_binary_opt()?;
            let dim = i64::from(list.value_length()) / 2;
            VectorField { dim, data: Some(Vector::Bfloat16Vector(Bytes::copy_from_slice(list.value_data()))) }
        }
        DataType::BinaryVector => {
            let list = array.as_fixed_size_binary_opt()?;
            let dim = i64::from(list.value_length()) * 8;
            VectorField { dim, data: Some(Vector::BinaryVector(Bytes::copy_from_slice(list.value_data()))) }
        }
        DataType::SparseFloatVector => {
            let list = array.as_binary_opt::<i32>()?;
            let contents = list.iter().map(|value| Bytes::copy_from_slice(value.unwrap_or_default()));
            let contents = contents.collect::<Vec<_>>();
            let dim = contents.iter().flat_map(|vector| vector.chunks(8)).filter_map(index).max();
            let dim = dim.map_or(0, |index| i64::from(index) + 1);
            VectorField { dim, data: Some(Vector::SparseFloatVector(SparseFloatArray { contents, dim })) }
        }
        other => return Some(Values::Scalars(ScalarField { data: Some(scalars(other, array)?) })),
    };
    Some(Values::Vectors(vector))
}

/// Of an element of a sparse vector.
fn index(element: &[u8]) -> Option<u32> {
    element.first_chunk().map(|index| u32::from_le_bytes(*index))
}

fn scalars(data_type: DataType, array: &dyn Array) -> Option<Scalar> {
    Some(match data_type {
        DataType::Bool => {
            let data = array.as_boolean_opt()?.iter().map(Option::unwrap_or_default).collect();
            Scalar::BoolData(BoolArray { data })
        }
        DataType::Int8 => ints::<Int8Type>(array)?,
        DataType::Int16 => ints::<Int16Type>(array)?,
        DataType::Int32 => ints::<Int32Type>(array)?,
        DataType::Int64 => {
            let data = array.as_primitive_opt::<Int64Type>()?.iter().map(Option::unwrap_or_default).collect();
            Scalar::LongData(LongArray { data })
        }
        DataType::Float => {
            Scalar::FloatData(FloatArray { data: packed(array.as_primitive_opt::<Float32Type>()?) })
        }
        DataType::Double => {
            Scalar::DoubleData(DoubleArray { data: packed(array.as_primitive_opt::<Float64Type>()?) })
        }
        DataType::VarChar | DataType::String => {
            let data = array.as_string_opt::<i32>()?.iter().map(|text| text.unwrap_or_default().to_owned());
            Scalar::StringData(StringArray { data: data.collect() })
        }
        DataType::Json => {
            let data = array.as_string_opt::<i32>()?.iter();
            let data = data.map(|text| Bytes::copy_from_slice(text.unwrap_or_default().as_bytes()));
            Scalar::JsonData(JsonArray { data: data.collect() })
        }
        _ => return None,
    })
}

fn ints<T: ArrowPrimitiveType<Native: Into<i32>>>(array: &dyn Array) -> Option<Scalar> {
    let data = array.as_primitive_opt::<T>()?.iter().map(|value| value.map_or(0, Into::into)).collect();
    Some(Scalar::IntData(IntArray { data }))
}

/// The elements of all rows.
fn elements<T: ArrowPrimitiveType>(list: &FixedSizeListArray) -> Option<Bytes> {
    Some(packed(list.values().as_primitive_opt::<T>()?))
}

fn packed<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> Bytes {
    Bytes::copy_from_slice(array.values().inner())
}
