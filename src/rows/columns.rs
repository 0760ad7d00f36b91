//! One column: its entries, whatever their type.

use std::mem::take as take_out;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::error::{Error, Result};
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::vector_field::Data as Vector;
use crate::pb::milvus::proto::schema::{FieldData, ScalarField, VectorField};

/// The entries of a column.
enum Entries<'a> {
    List(&'a mut dyn List),
    /// Bytes of one width a row.
    Packed(&'a mut Bytes, usize),
}

/// A list with an entry a row.
trait List {
    fn take(&mut self, numbers: &[usize]);
    fn slice(&mut self, range: Range<usize>);
    /// Makes room for rows that are not valid.
    fn spread(&mut self, valid: &[bool]);
}

impl<T: Clone + Default> List for Vec<T> {
    fn take(&mut self, numbers: &[usize]) {
        *self = numbers.iter().filter_map(|number| self.get(*number)).cloned().collect();
    }
    fn slice(&mut self, range: Range<usize>) {
        self.truncate(range.end);
        self.drain(..range.start.min(self.len()));
    }
    fn spread(&mut self, valid: &[bool]) {
        let mut given = take_out(self).into_iter();
        *self = valid.iter().map(|valid| valid.then(|| given.next()).flatten().unwrap_or_default()).collect();
    }
}

/// How many rows a column has entries for; an error where its bytes are no whole number of rows.
pub(super) fn count(column: &FieldData) -> Result<usize> {
    let entries = given(column)?;
    if !column.valid_data.is_empty() && column.valid_data.len() != entries {
        let (name, valid) = (&column.field_name, column.valid_data.len());
        return Err(Error::refused(format!(
            "column \"{name}\" has {entries} entries, of which {valid} say if null"
        )));
    }
    Ok(entries)
}

/// How many entries a column has; fewer than rows where null rows have none.
fn given(column: &FieldData) -> Result<usize> {
    Ok(match &column.field {
        Some(Field::Scalars(ScalarField { data: Some(data) })) => match data {
            Scalar::BoolData(list) => list.data.len(),
            Scalar::IntData(list) => list.data.len(),
            Scalar::LongData(list) => list.data.len(),
            Scalar::FloatData(list) => whole(column, list.data.len(), Some(4))?,
            Scalar::DoubleData(list) => whole(column, list.data.len(), Some(8))?,
            Scalar::StringData(list) => list.data.len(),
            Scalar::BytesData(list) => list.data.len(),
            Scalar::ArrayData(list) => list.data.len(),
            Scalar::JsonData(list) => list.data.len(),
        },
        Some(Field::Vectors(VectorField { dim, data: Some(data) })) => match data {
            Vector::SparseFloatVector(list) => list.contents.len(),
            Vector::FloatVector(list) => whole(column, list.data.len(), width(*dim, data))?,
            Vector::BinaryVector(bytes) | Vector::Float16Vector(bytes) | Vector::Bfloat16Vector(bytes) => {
                whole(column, bytes.len(), width(*dim, data))?
            }
        },
        _ => 0,
    })
}

fn whole(column: &FieldData, bytes: usize, width: Option<usize>) -> Result<usize> {
    match width {
        Some(width) if width > 0 && bytes.is_multiple_of(width) => Ok(bytes / width),
        _ => {
            let name = &column.field_name;
            Err(Error::refused(format!(
                "column \"{name}\" has {bytes} bytes, which is no number of whole rows"
            )))
        }
    }
}

/// Bytes of a row's vector; none of a dimension that cannot be, and of sparse vectors.
fn width(dim: i64, vector: &Vector) -> Option<usize> {
    let dim = usize::try_from(dim).ok()?;
    match vector {
        Vector::FloatVector(_) => dim.checked_mul(4),
        Vector::BinaryVector(_) => Some(dim.div_ceil(8)),
        Vector::Float16Vector(_) | Vector::Bfloat16Vector(_) => dim.checked_mul(2),
        Vector::SparseFloatVector(_) => None,
    }
}

fn entries(column: &mut FieldData) -> Option<Entries<'_>> {
    Some(match column.field.as_mut()? {
        Field::Scalars(scalars) => match scalars.data.as_mut()? {
            Scalar::BoolData(list) => Entries::List(&mut list.data),
            Scalar::IntData(list) => Entries::List(&mut list.data),
            Scalar::LongData(list) => Entries::List(&mut list.data),
            Scalar::FloatData(list) => Entries::Packed(&mut list.data, 4),
            Scalar::DoubleData(list) => Entries::Packed(&mut list.data, 8),
            Scalar::StringData(list) => Entries::List(&mut list.data),
            Scalar::BytesData(list) => Entries::List(&mut list.data),
            Scalar::ArrayData(list) => Entries::List(&mut list.data),
            Scalar::JsonData(list) => Entries::List(&mut list.data),
        },
        Field::Vectors(VectorField { dim, data }) => {
            let data = data.as_mut()?;
            let width = width(*dim, data).unwrap_or(0);
            match data {
                Vector::FloatVector(list) => Entries::Packed(&mut list.data, width),
                Vector::BinaryVector(bytes)
                | Vector::Float16Vector(bytes)
                | Vector::Bfloat16Vector(bytes) => Entries::Packed(bytes, width),
                Vector::SparseFloatVector(list) => Entries::List(&mut list.contents),
            }
        }
    })
}

/// Gives every row an entry where only the valid ones have one.
pub(super) fn spread(column: &mut FieldData) -> Result<()> {
    let valid = take_out(&mut column.valid_data);
    if !valid.is_empty() && given(column)? != valid.len() {
        match entries(column) {
            Some(Entries::List(list)) => list.spread(&valid),
            Some(Entries::Packed(bytes, width)) => {
                let mut cells = bytes.chunks(width.max(1));
                let mut spread = BytesMut::with_capacity(valid.len().saturating_mul(width));
                for valid in &valid {
                    match valid.then(|| cells.next()).flatten() {
                        Some(cell) => spread.extend_from_slice(cell),
                        None => spread.extend(std::iter::repeat_n(0, width)),
                    }
                }
                *bytes = spread.freeze();
            }
            None => {}
        }
    }
    column.valid_data = valid;
    Ok(())
}

/// The entries with these numbers. The column has been counted and the numbers lie within it.
pub(super) fn take(column: &FieldData, numbers: &[usize]) -> Result<FieldData> {
    let mut column = column.clone();
    match entries(&mut column) {
        Some(Entries::List(list)) => list.take(numbers),
        Some(Entries::Packed(bytes, width)) => {
            let mut taken = BytesMut::with_capacity(numbers.len().saturating_mul(width));
            for number in numbers {
                let start = number.saturating_mul(width);
                taken.extend_from_slice(bytes.get(start..start.saturating_add(width)).unwrap_or_default());
            }
            *bytes = taken.freeze();
        }
        None => {}
    }
    List::take(&mut column.valid_data, numbers);
    Ok(column)
}

/// The entries of a range of numbers. The column has been counted and the range lies within it.
pub(super) fn slice(column: &FieldData, range: Range<usize>) -> Result<FieldData> {
    let mut column = column.clone();
    match entries(&mut column) {
        Some(Entries::List(list)) => list.slice(range.clone()),
        Some(Entries::Packed(bytes, width)) => {
            *bytes = bytes.slice(range.start.saturating_mul(width)..range.end.saturating_mul(width));
        }
        None => {}
    }
    column.valid_data.slice(range);
    Ok(column)
}

/// Puts the entries of a column of `more` rows after those of one of `rows` rows.
pub(super) fn append(column: &mut FieldData, rows: usize, other: FieldData, more: usize) -> Result<()> {
    if !column.valid_data.is_empty() || !other.valid_data.is_empty() {
        column.valid_data.resize(rows, true);
        column.valid_data.extend(&other.valid_data);
        column.valid_data.resize(rows.saturating_add(more), true);
    }
    let joined = column.r#type == other.r#type
        && match (&mut column.field, other.field) {
            (Some(Field::Scalars(ours)), Some(Field::Scalars(theirs))) => append_scalars(ours, theirs),
            (Some(Field::Vectors(ours)), Some(Field::Vectors(theirs))) => append_vectors(ours, theirs),
            (ours, None) => more == 0 || ours.is_none(),
            (ours @ None, theirs) => {
                *ours = theirs;
                true
            }
            _ => false,
        };
    if joined {
        Ok(())
    } else {
        Err(Error::refused(format!("column \"{}\" changes its type", column.field_name)))
    }
}

fn append_scalars(ours: &mut ScalarField, theirs: ScalarField) -> bool {
    let (Some(ours), Some(theirs)) = (&mut ours.data, theirs.data) else { return false };
    match (ours, theirs) {
        (Scalar::BoolData(ours), Scalar::BoolData(theirs)) => ours.data.extend(theirs.data),
        (Scalar::IntData(ours), Scalar::IntData(theirs)) => ours.data.extend(theirs.data),
        (Scalar::LongData(ours), Scalar::LongData(theirs)) => ours.data.extend(theirs.data),
        (Scalar::FloatData(ours), Scalar::FloatData(theirs)) => extend(&mut ours.data, &theirs.data),
        (Scalar::DoubleData(ours), Scalar::DoubleData(theirs)) => extend(&mut ours.data, &theirs.data),
        (Scalar::StringData(ours), Scalar::StringData(theirs)) => ours.data.extend(theirs.data),
        (Scalar::BytesData(ours), Scalar::BytesData(theirs)) => ours.data.extend(theirs.data),
        (Scalar::JsonData(ours), Scalar::JsonData(theirs)) => ours.data.extend(theirs.data),
        // some clients say the type of the elements, others leave it to the schema
        (Scalar::ArrayData(ours), Scalar::ArrayData(theirs))
            if ours.element_type == theirs.element_type
                || ours.element_type == 0
                || theirs.element_type == 0 =>
        {
            ours.element_type = ours.element_type.max(theirs.element_type);
            ours.data.extend(theirs.data)
        }
        _ => return false,
    }
    true
}

fn append_vectors(ours: &mut VectorField, theirs: VectorField) -> bool {
    let same_dim = ours.dim == theirs.dim;
    let dim = ours.dim.max(theirs.dim);
    let (Some(our_data), Some(their_data)) = (&mut ours.data, theirs.data) else { return false };
    match (our_data, their_data) {
        (Vector::FloatVector(ours), Vector::FloatVector(theirs)) if same_dim => {
            extend(&mut ours.data, &theirs.data)
        }
        (Vector::BinaryVector(ours), Vector::BinaryVector(theirs)) if same_dim => extend(ours, &theirs),
        (Vector::Float16Vector(ours), Vector::Float16Vector(theirs)) if same_dim => extend(ours, &theirs),
        (Vector::Bfloat16Vector(ours), Vector::Bfloat16Vector(theirs)) if same_dim => extend(ours, &theirs),
        (Vector::SparseFloatVector(list), Vector::SparseFloatVector(theirs)) => {
            // of sparse vectors the dimension is the largest index seen + 1
            list.dim = list.dim.max(theirs.dim);
            ours.dim = dim;
            list.contents.extend(theirs.contents);
        }
        _ => return false,
    }
    true
}

/// Copies the bytes behind the others; the buffer grows as a `Vec` does, since nobody else holds it.
fn extend(bytes: &mut Bytes, more: &Bytes) {
    let mut whole = BytesMut::from(take_out(bytes));
    whole.extend_from_slice(more);
    *bytes = whole.freeze();
}
