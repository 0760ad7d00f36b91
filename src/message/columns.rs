//! Checks that a column holds as many values as its message has rows.

use crate::error::Result;
use crate::pb::milvus::proto::schema::{
    DataType, FieldData, ScalarField, VectorField, field_data::Field, scalar_field, vector_field,
};

use super::malformed;

/// Refuses a column whose type, values and validity do not give `rows` rows.
pub fn check(column: &FieldData, rows: usize) -> Result<()> {
    let name = &column.field_name;
    let data_type = DataType::try_from(column.r#type).ok().filter(|known| *known != DataType::None);
    let Some(data_type) = data_type else {
        return Err(malformed(format!(
            "column \"{name}\" has data type {}, which is not known",
            column.r#type
        )));
    };
    let nulls = match column.valid_data.len() {
        0 => 0,
        length if length == rows => column.valid_data.iter().filter(|valid| !**valid).count(),
        length => {
            return Err(malformed(format!("column \"{name}\" tells {length} of {rows} rows valid or null")));
        }
    };
    let values = match &column.field {
        Some(Field::Scalars(scalars)) => scalar_rows(data_type, scalars),
        Some(Field::Vectors(vectors)) => vector_rows(data_type, vectors),
        None if nulls == rows => Some(0),
        None => None,
    };
    match values {
        // the value of a null row may be left out, or stand as a zero
        Some(values) if values == rows || values.checked_add(nulls) == Some(rows) => Ok(()),
        Some(values) => Err(malformed(format!("column \"{name}\" has {values} values for {rows} rows"))),
        None => Err(malformed(format!("column \"{name}\" has no values of its type {data_type:?}"))),
    }
}

fn scalar_rows(data_type: DataType, scalars: &ScalarField) -> Option<usize> {
    use scalar_field::Data;
    match (data_type, scalars.data.as_ref()?) {
        (DataType::Bool, Data::BoolData(values)) => Some(values.data.len()),
        (DataType::Int8 | DataType::Int16 | DataType::Int32, Data::IntData(values)) => {
            Some(values.data.len())
        }
        (DataType::Int64, Data::LongData(values)) => Some(values.data.len()),
        (DataType::Float, Data::FloatData(values)) => whole(values.data.len(), 4),
        (DataType::Double, Data::DoubleData(values)) => whole(values.data.len(), 8),
        (DataType::String | DataType::VarChar, Data::StringData(values)) => Some(values.data.len()),
        (DataType::Array, Data::ArrayData(values)) => Some(values.data.len()),
        (DataType::Json, Data::JsonData(values)) => Some(values.data.len()),
        _ => None,
    }
}

fn vector_rows(data_type: DataType, vectors: &VectorField) -> Option<usize> {
    use vector_field::Data;
    let dim = usize::try_from(vectors.dim).ok();
    let bytes = |each: usize| dim?.checked_mul(each);
    match (data_type, vectors.data.as_ref()?) {
        (DataType::FloatVector, Data::FloatVector(values)) => whole(values.data.len(), bytes(4)?),
        (DataType::BinaryVector, Data::BinaryVector(values)) => whole(values.len(), whole(dim?, 8)?),
        (DataType::Float16Vector, Data::Float16Vector(values)) => whole(values.len(), bytes(2)?),
        (DataType::BFloat16Vector, Data::Bfloat16Vector(values)) => whole(values.len(), bytes(2)?),
        (DataType::SparseFloatVector, Data::SparseFloatVector(values)) => Some(values.contents.len()),
        _ => None,
    }
}

/// `length / each` where that leaves nothing over.
fn whole(length: usize, each: usize) -> Option<usize> {
    length.checked_rem(each).filter(|rest| *rest == 0)?;
    length.checked_div(each)
}
