//! A payload: a Parquet file with one column, `val`; zstd, not nested, optional where the field is nullable.
//!
//! Nothing in it is believed: counts are compared with the rows that the list of segments names, or bounded where it names
//! none, before memory is taken for them, and a panic of the Parquet reader, to which damage brings it, becomes an error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::event::damaged;
use crate::error::Result;

/// The values of a column, one a row that is not null.
#[derive(Debug)]
pub(super) enum Values {
    Bool(Vec<bool>),
    /// Also of narrower integers.
    Int(Vec<i32>),
    Long(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<Bytes>),
}

/// A column of a file.
#[derive(Debug)]
pub(super) struct Column {
    pub values: Values,
    /// One a row; empty where no row can be null.
    pub valid: Vec<bool>,
}

/// The most rows of a file of which nobody says how many it has: Milvus writes up to 64 MiB of rows at once.
const MOST_ROWS: usize = 1 << 24;

/// Reads the payloads of a file, together `rows` rows.
pub(super) fn read(path: &str, payloads: &[(usize, Bytes)], rows: Option<usize>) -> Result<Column> {
    let mut column: Option<Column> = None;
    let most = rows.unwrap_or(MOST_ROWS);
    let mut left = most;
    for (offset, payload) in payloads {
        let read = catch_unwind(AssertUnwindSafe(|| read_one(payload, left, &mut column)));
        let read = read.map_err(|_| damaged(path, *offset, "a payload that cannot be read as Parquet"))?;
        left = read.map_err(|error| {
            damaged(path, *offset, format!("a payload that is not as it should be: {error}"))
        })?;
    }
    match column {
        Some(column) if left == 0 || rows.is_none() => Ok(column),
        _ => Err(damaged(path, 0, format!("{} rows instead of {}", most - left, rows.unwrap_or(1)))),
    }
}

/// Reads one payload, of at most `left` rows, to the end of a column; how many are left then.
fn read_one(payload: &Bytes, mut left: usize, column: &mut Option<Column>) -> ParquetResult<usize> {
    let file = SerializedFileReader::new(payload.clone())?;
    let columns = file.metadata().file_metadata().schema_descr().num_columns();
    if columns != 1 {
        return Err(ParquetError::General(format!("{columns} columns instead of one")));
    }
    for number in 0..file.num_row_groups() {
        let group = file.get_row_group(number)?;
        let descriptor = group.metadata().column(0).column_descr_ptr();
        let optional = descriptor.max_def_level() > 0;
        let pages = Limited { pages: group.get_column_page_reader(0)?, rows: left };
        let (values, valid) = match get_column_reader(descriptor, Box::new(pages)) {
            ColumnReader::BoolColumnReader(reader) => take(reader, left, Values::Bool)?,
            ColumnReader::Int32ColumnReader(reader) => take(reader, left, Values::Int)?,
            ColumnReader::Int64ColumnReader(reader) => take(reader, left, Values::Long)?,
            ColumnReader::FloatColumnReader(reader) => take(reader, left, Values::Float)?,
            ColumnReader::DoubleColumnReader(reader) => take(reader, left, Values::Double)?,
            ColumnReader::ByteArrayColumnReader(reader) => take(reader, left, |values| {
                Values::Bytes(values.iter().map(|value| Bytes::copy_from_slice(value.data())).collect())
            })?,
            ColumnReader::FixedLenByteArrayColumnReader(reader) => take(reader, left, |values| {
                Values::Bytes(values.iter().map(|value| Bytes::copy_from_slice(value.data())).collect())
            })?,
            ColumnReader::Int96ColumnReader(_) => {
                return Err(ParquetError::General("a column of 96-bit integers".into()));
            }
        };
        let rows = valid.len();
        if i64::try_from(rows) != Ok(group.metadata().num_rows()) {
            return Err(ParquetError::General(format!(
                "{} rows, of which {rows} can be read",
                group.metadata().num_rows()
            )));
        }
        left = left.saturating_sub(rows);
        let valid = if optional { valid } else { Vec::new() };
        append(column, Column { values, valid })?;
    }
    Ok(left)
}

/// The values of at most `rows` rows, and of each row whether it has one.
fn take<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    wrap: impl FnOnce(Vec<T::T>) -> Values,
) -> ParquetResult<(Values, Vec<bool>)> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let (read, _, _) = reader.read_records(rows, Some(&mut levels), None, &mut values)?;
    let valid =
        if levels.is_empty() { vec![true; read] } else { levels.iter().map(|level| *level > 0).collect() };
    Ok((wrap(values), valid))
}

fn append(column: &mut Option<Column>, more: Column) -> ParquetResult<()> {
    let Some(known) = column else {
        *column = Some(more);
        return Ok(());
    };
    match (&mut known.values, more.values) {
        (Values::Bool(known), Values::Bool(more)) => known.extend(more),
        (Values::Int(known), Values::Int(more)) => known.extend(more),
        (Values::Long(known), Values::Long(more)) => known.extend(more),
        (Values::Float(known), Values::Float(more)) => known.extend(more),
        (Values::Double(known), Values::Double(more)) => known.extend(more),
        (Values::Bytes(known), Values::Bytes(more)) => known.extend(more),
        _ => return Err(ParquetError::General("another type than the payload before".into())),
    }
    known.valid.extend(more.valid);
    Ok(())
}

/// Pages of at most so many rows: the reader makes room for as many values as a page says that it has.
struct Limited {
    pages: Box<dyn PageReader>,
    rows: usize,
}

impl PageReader for Limited {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.pages.get_next_page()?;
        let values = page.as_ref().map_or(0, |page| page.num_values() as usize);
        if values > self.rows {
            return Err(ParquetError::General(format!("a page of {values} values for {} rows", self.rows)));
        }
        Ok(page)
    }
    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }
    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }
}

impl Iterator for Limited {
    type Item = ParquetResult<Page>;
    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
