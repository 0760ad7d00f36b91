//! Work on rows as columns: putting them together, taking some, reading their keys.
//!
//! A column has one entry for every row, also for a null row: that is how Milvus puts columns on its queue.
//! Vectors and floating-point numbers are bytes of one width a row, so that putting rows together copies memory and
//! looks at no row.

mod columns;
#[cfg(test)]
mod tests;

use std::ops::Range;

use prost::Message;

use crate::change::{Keys, Rows};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::schema::field_data::Field;
use crate::pb::milvus::proto::schema::i_ds::IdField;
use crate::pb::milvus::proto::schema::scalar_field::Data as Scalar;
use crate::pb::milvus::proto::schema::{FieldData, IDs};

/// One primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Of an Int64 key field.
    Int(i64),
    /// Of a VarChar key field.
    Text(String),
}

impl Rows {
    /// Rows of no collection yet: the first that are appended give the columns.
    pub fn none() -> Rows {
        Rows { columns: Vec::new(), count: 0 }
    }

    /// Puts other rows of the same collection after these. After an error these rows are in no defined state.
    pub fn append(&mut self, other: Rows) -> Result<()> {
        if self.columns.is_empty() {
            *self = other;
            return Ok(());
        }
        if self.columns.len() != other.columns.len() {
            let (ours, theirs) = (self.columns.len(), other.columns.len());
            return Err(Error::refused(format!("rows of {theirs} columns cannot follow rows of {ours}")));
        }
        for (index, column) in other.columns.into_iter().enumerate() {
            let ours = match self.columns.get(index) {
                Some(candidate) if same_field(candidate, &column) => self.columns.get_mut(index),
                _ => self.columns.iter_mut().find(|candidate| same_field(candidate, &column)),
            };
            let ours = ours.ok_or_else(|| {
                Error::refused(format!("rows with a column \"{}\" follow rows without it", column.field_name))
            })?;
            columns::append(ours, self.count, column, other.count)?;
        }
        self.count += other.count;
        self.check()
    }

    /// The rows with these numbers, in this order.
    pub fn take(&self, numbers: &[usize]) -> Result<Rows> {
        self.check()?;
        if let Some(number) = numbers.iter().find(|number| **number >= self.count) {
            return Err(Error::refused(format!("row {number} of {} rows", self.count)));
        }
        let columns =
            self.columns.iter().map(|column| columns::take(column, numbers)).collect::<Result<_>>()?;
        Ok(Rows { columns, count: numbers.len() })
    }

    /// The rows of a range of numbers.
    pub fn slice(&self, range: Range<usize>) -> Result<Rows> {
        self.check()?;
        if range.start > range.end || range.end > self.count {
            return Err(Error::refused(format!("rows {range:?} of {} rows", self.count)));
        }
        let slice = |column| columns::slice(column, range.clone());
        let columns = self.columns.iter().map(slice).collect::<Result<_>>()?;
        Ok(Rows { columns, count: range.len() })
    }

    /// The keys of all rows, in the order of the rows.
    pub fn keys(&self, key_field: &str) -> Result<Keys> {
        let column = self.columns.iter().find(|column| column.field_name == key_field);
        let column =
            column.ok_or_else(|| Error::refused(format!("rows without the key column \"{key_field}\"")))?;
        let keys = match &column.field {
            Some(Field::Scalars(scalars)) => match &scalars.data {
                Some(Scalar::LongData(keys)) => Some(Keys::Int(keys.data.clone())),
                Some(Scalar::StringData(keys)) => Some(Keys::Text(keys.data.clone())),
                _ => None,
            },
            _ => None,
        };
        match keys {
            Some(keys) if keys.len() == self.count => Ok(keys),
            Some(keys) => {
                Err(Error::refused(format!("{} keys in \"{key_field}\" for {} rows", keys.len(), self.count)))
            }
            None => {
                Err(Error::refused(format!("the key column \"{key_field}\" holds neither Int64 nor VarChar")))
            }
        }
    }

    /// Bytes of the columns in a message.
    pub fn size(&self) -> usize {
        // a column costs its tag and its length, at most six bytes, besides itself
        self.columns.iter().map(|column| column.encoded_len() + 6).sum()
    }

    /// Whether every column has an entry for every row.
    pub fn check(&self) -> Result<()> {
        for column in &self.columns {
            let entries = columns::count(column)?;
            if entries != self.count {
                let name = &column.field_name;
                return Err(Error::refused(format!(
                    "column \"{name}\" has {entries} entries for {} rows",
                    self.count
                )));
            }
        }
        Ok(())
    }
}

/// A column with an entry for every row, also where its null rows came without one.
pub fn with_nulls(mut column: FieldData) -> Result<FieldData> {
    columns::spread(&mut column)?;
    Ok(column)
}

/// A column as clients send it: without entries for null rows, which `valid_data` tells.
pub fn without_nulls(mut column: FieldData) -> Result<FieldData> {
    if column.valid_data.iter().all(|valid| *valid) {
        return Ok(column);
    }
    let numbers = (0..).zip(&column.valid_data).filter(|(_, valid)| **valid).map(|(number, _)| number);
    let numbers = numbers.collect::<Vec<_>>();
    let valid_data = column.valid_data.clone();
    column = columns::take(&column, &numbers)?;
    Ok(FieldData { valid_data, ..column })
}

fn same_field(one: &FieldData, other: &FieldData) -> bool {
    if one.field_name.is_empty() || other.field_name.is_empty() {
        one.field_id == other.field_id && one.field_id != 0
    } else {
        one.field_name == other.field_name
    }
}

impl Keys {
    /// The keys of a delete: of its `primary_keys`, or of the list that writers before Milvus 2.1 filled.
    pub fn from_pb(keys: Option<IDs>, deprecated: Vec<i64>) -> Keys {
        match keys.and_then(|keys| keys.id_field) {
            Some(IdField::IntId(keys)) => Keys::Int(keys.data),
            Some(IdField::StrId(keys)) => Keys::Text(keys.data),
            None => Keys::Int(deprecated),
        }
    }

    /// Puts other keys of the same collection after these.
    pub fn append(&mut self, other: Keys) -> Result<()> {
        match (&mut *self, other) {
            (Keys::Int(keys), Keys::Int(other)) => keys.extend(other),
            (Keys::Text(keys), Keys::Text(other)) => keys.extend(other),
            (_, other) if other.is_empty() => {}
            (keys, other) if keys.is_empty() => *self = other,
            _ => return Err(Error::refused("Int64 keys and VarChar keys in one collection")),
        }
        Ok(())
    }

    /// The keys one by one.
    pub fn iter(&self) -> impl Iterator<Item = Key> + '_ {
        let (ints, texts): (&[i64], &[String]) = match self {
            Keys::Int(keys) => (keys, &[]),
            Keys::Text(keys) => (&[], keys),
        };
        ints.iter().copied().map(Key::Int).chain(texts.iter().cloned().map(Key::Text))
    }

    /// The keys with these numbers; numbers beyond the last key are passed over.
    pub fn take(&self, numbers: &[usize]) -> Keys {
        match self {
            Keys::Int(keys) => {
                Keys::Int(numbers.iter().filter_map(|number| keys.get(*number)).copied().collect())
            }
            Keys::Text(keys) => {
                Keys::Text(numbers.iter().filter_map(|number| keys.get(*number)).cloned().collect())
            }
        }
    }
}
