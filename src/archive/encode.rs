//! Columns of messages as columns of a file. Pure.

use std::str::from_utf8;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, Int64Array, ListArray,
    PrimitiveArray, StringArray,
};
use arrow_buffer::{Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType as Type};

use crate::pb::milvus::proto::schema::field_data::Field as Values;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::vector_field::Data as Vector;
use crate::pb::milvus::proto::schema::{FieldData, ScalarField, VectorField};

type Result<T> = std::result::Result<T, ArrowError>;

// Numbers pass through as the bytes that they have in messages.
const _: () = assert!(cfg!(target_endian = "little"));

/// The column of a type with the values of one that has an entry for every row.
pub fn array(data_type: &Type, column: &FieldData) -> Result<ArrayRef> {
    let nulls = (!column.valid_data.is_empty()).then(|| NullBuffer::from(column.valid_data.as_slice()));
    match (data_type, &column.field) {
        (
            Type::List(element),
            Some(Values::Scalars(ScalarField { data: Some(Scalar::ArrayData(lists)) })),
        ) => {
            let lists = lists.data.iter().map(|list| list.data.as_ref()).collect::<Vec<_>>();
            let lengths = lists.iter().map(|list| list.map_or(0, length));
            let offsets = OffsetBuffer::from_lengths(lengths);
            let lists = lists.iter().copied().flatten().collect::<Vec<_>>();
            let values = scalars(element.data_type(), &lists, None)?;
            Ok(Arc::new(ListArray::try_new(element.clone(), offsets, values, nulls)?))
        }
        (_, Some(Values::Scalars(ScalarField { data: Some(values) }))) => {
            scalars(data_type, &[values], nulls)
        }
        (_, Some(Values::Vectors(VectorField { data: Some(values), .. }))) => {
            vectors(data_type, values, nulls)
        }
        _ => Err(other_type()),
    }
}

fn vectors(data_type: &Type, values: &Vector, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    Ok(match (data_type, values) {
        (Type::FixedSizeList(element, dim), Vector::FloatVector(values)) => {
            let values = Arc::new(numbers::<Float32Type>(&[&values.data], None)?);
            Arc::new(FixedSizeListArray::try_new(element.clone(), *dim, values, nulls)?)
        }
        (Type::FixedSizeList(element, dim), Vector::Float16Vector(values)) => {
            let values = Arc::new(numbers::<Float16Type>(&[values], None)?);
            Arc::new(FixedSizeListArray::try_new(element.clone(), *dim, values, nulls)?)
        }
        (Type::FixedSizeBinary(width), Vector::BinaryVector(values) | Vector::Bfloat16Vector(values)) => {
            Arc::new(FixedSizeBinaryArray::try_new(*width, Buffer::from_slice_ref(values), nulls)?)
        }
        (Type::Binary, Vector::SparseFloatVector(list)) => {
            let (offsets, values, _) = BinaryArray::from_iter_values(&list.contents).into_parts();
            Arc::new(BinaryArray::try_new(offsets, values, nulls)?)
        }
        _ => return Err(other_type()),
    })
}

/// The values of some lists, one list after the other.
fn scalars(data_type: &Type, lists: &[&Scalar], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    macro_rules! all {
        ($variant:ident) => {
            lists
                .iter()
                .map(
                    |list| if let Scalar::$variant(list) = list { Ok(&list.data) } else { Err(other_type()) },
                )
                .collect::<Result<Vec<_>>>()?
        };
    }
    Ok(match data_type {
        Type::Boolean => {
            let values = all!(BoolData).into_iter().flatten().copied().collect();
            Arc::new(BooleanArray::new(values, nulls))
        }
        Type::Int8 => Arc::new(narrow::<Int8Type>(all!(IntData), nulls)?),
        Type::Int16 => Arc::new(narrow::<Int16Type>(all!(IntData), nulls)?),
        Type::Int32 => Arc::new(narrow::<Int32Type>(all!(IntData), nulls)?),
        Type::Int64 => {
            let values = all!(LongData).into_iter().flatten().copied().collect();
            Arc::new(Int64Array::try_new(values, nulls)?)
        }
        Type::Float32 => Arc::new(numbers::<Float32Type>(&all!(FloatData), nulls)?),
        Type::Float64 => Arc::new(numbers::<Float64Type>(&all!(DoubleData), nulls)?),
        Type::Utf8 if matches!(lists, [Scalar::JsonData(_)]) => {
            let documents = all!(JsonData).into_iter().flatten().map(|document| from_utf8(document));
            let documents = documents.collect::<std::result::Result<Vec<_>, _>>();
            let documents = documents.map_err(|_| wrong("JSON that is not UTF-8"))?;
            Arc::new(text(StringArray::from_iter_values(documents), nulls)?)
        }
        Type::Utf8 => {
            let values = all!(StringData).into_iter().flatten();
            Arc::new(text(StringArray::from_iter_values(values), nulls)?)
        }
        _ => return Err(other_type()),
    })
}

fn narrow<T: ArrowPrimitiveType<Native: TryFrom<i32>>>(
    lists: Vec<&Vec<i32>>,
    nulls: Option<NullBuffer>,
) -> Result<PrimitiveArray<T>> {
    let values = lists.into_iter().flatten().map(|value| T::Native::try_from(*value));
    let values = values.collect::<std::result::Result<Vec<_>, _>>();
    let values = values.map_err(|_| wrong(format!("a number that is no {}", T::DATA_TYPE)))?;
    PrimitiveArray::try_new(values.into(), nulls)
}

/// Numbers from their bytes.
fn numbers<T: ArrowPrimitiveType>(
    lists: &[&bytes::Bytes],
    nulls: Option<NullBuffer>,
) -> Result<PrimitiveArray<T>> {
    let bytes = lists.iter().map(|list| list.len()).sum::<usize>();
    let mut buffer = MutableBuffer::new(bytes);
    lists.iter().for_each(|list| buffer.extend_from_slice(list));
    let width = size_of::<T::Native>();
    if !bytes.is_multiple_of(width) {
        return Err(wrong(format!("{bytes} bytes where each number has {width}")));
    }
    PrimitiveArray::try_new(ScalarBuffer::new(buffer.into(), 0, bytes / width), nulls)
}

fn text(values: StringArray, nulls: Option<NullBuffer>) -> Result<StringArray> {
    let (offsets, values, _) = values.into_parts();
    StringArray::try_new(offsets, values, nulls)
}

/// Elements of an array's row.
fn length(list: &Scalar) -> usize {
    match list {
        Scalar::BoolData(list) => list.data.len(),
        Scalar::IntData(list) => list.data.len(),
        Scalar::LongData(list) => list.data.len(),
        Scalar::FloatData(list) => list.data.len() / 4,
        Scalar::DoubleData(list) => list.data.len() / 8,
        Scalar::StringData(list) => list.data.len(),
        Scalar::BytesData(list) => list.data.len(),
        Scalar::ArrayData(list) => list.data.len(),
        Scalar::JsonData(list) => list.data.len(),
    }
}

fn other_type() -> ArrowError {
    wrong("values of another type than the field's")
}

fn wrong(what: impl Into<String>) -> ArrowError {
    ArrowError::InvalidArgumentError(what.into())
}
