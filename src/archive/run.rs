//! Rows of one collection that will make one file: gathered as they come, sorted when the file is written. Pure.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave_record_batch;
use bytes::Bytes;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Type, ZstdLevel};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::layout::{self, Layout};
use super::table::{Op, Table};
use crate::error::{Error, Result};
use crate::pb::log::Counts;
use crate::rows::Key;
use crate::tick::Tso;

/// Batches that are put together once there are so many: each costs memory of its own.
const MOST_LOOSE: usize = 256;

/// Rows of one collection, all with the same fields.
pub struct Run {
    table: Arc<Table>,
    batches: Vec<RecordBatch>,
    loose: Vec<RecordBatch>,
    bytes: usize,
}

/// A file, and what its manifest says about it.
pub struct Written {
    /// The file.
    pub bytes: Bytes,
    /// Rows by what was done.
    pub counts: Counts,
    /// The lowest and the highest TSO.
    pub tsos: [Tso; 2],
    /// The lowest and the highest key.
    pub keys: [Key; 2],
}

/// A row by its place: those of one key in the order of time. Rows that are alike stay in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    key: KeyRef<'a>,
    tso: u64,
    op: Op,
    at: (usize, usize),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum KeyRef<'a> {
    Int(i64),
    Text(&'a str),
}

impl Run {
    /// No rows yet.
    pub fn new(table: Arc<Table>) -> Run {
        Run { table, batches: Vec::new(), loose: Vec::new(), bytes: 0 }
    }

    /// The collection, as it was when the first rows came.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes in rows.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.bytes += batch.get_array_memory_size();
        self.loose.push(batch);
        if self.loose.len() >= MOST_LOOSE { self.gather() } else { Ok(()) }
    }

    /// Copies what is loose: it is in memory twice meanwhile.
    fn gather(&mut self) -> Result<()> {
        let whole = concat_batches(&self.table.layout.columns, &self.loose).map_err(unsorted)?;
        let loose = self.loose.drain(..).map(|batch| batch.get_array_memory_size()).sum::<usize>();
        self.bytes = self.bytes.saturating_sub(loose).saturating_add(whole.get_array_memory_size());
        self.batches.push(whole);
        Ok(())
    }

    /// The file; none without rows. A group of rows in it has about so many bytes in memory.
    pub fn write(&mut self, group_bytes: usize) -> Result<Option<Written>> {
        self.batches.append(&mut self.loose);
        let this = &*self;
        let mut places = this.places().ok_or_else(|| unsorted("columns of other types"))?;
        places.sort_unstable();
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return Ok(None) };
        let tsos = places.iter().map(|place| place.tso);
        let tsos = [tsos.clone().min(), tsos.max()].map(|tso| Tso(tso.unwrap_or_default()));
        let count = |op| places.iter().filter(|place| place.op == op).count() as u64;
        let counts =
            Counts { inserted: count(Op::Insert), deleted: count(Op::Delete), upserted: count(Op::Upsert) };
        let keys = [first.key.to_key(), last.key.to_key()];
        let bytes = this.bytes_of(&places, group_bytes).map_err(unsorted)?;
        Ok(Some(Written { bytes: bytes.into(), counts, tsos, keys }))
    }

    fn places(&self) -> Option<Vec<Place<'_>>> {
        let mut places = Vec::new();
        for (number, batch) in self.batches.iter().enumerate() {
            let tsos = batch.column(layout::TSO).as_primitive_opt::<UInt64Type>()?;
            let ops = batch.column(layout::OP).as_string_opt::<i32>()?;
            let keys = batch.column(self.table.layout.key_column());
            let (ints, texts) = (keys.as_primitive_opt::<Int64Type>(), keys.as_string_opt::<i32>());
            for row in 0..batch.num_rows() {
                let key = match (ints, texts) {
                    (Some(ints), _) => KeyRef::Int(ints.value(row)),
                    (_, Some(texts)) => KeyRef::Text(texts.value(row)),
                    _ => return None,
                };
                let (tso, op) = (tsos.value(row), Op::parse(ops.value(row))?);
                places.push(Place { key, tso, op, at: (number, row) });
            }
        }
        Some(places)
    }

    fn bytes_of(&self, places: &[Place<'_>], group_bytes: usize) -> ParquetResult<Vec<u8>> {
        let batches = self.batches.iter().collect::<Vec<_>>();
        let row_bytes = (self.bytes / places.len().max(1)).max(1);
        let group_rows = (group_bytes / row_bytes).max(1);
        let layout = &self.table.layout;
        let mut writer = ArrowWriter::try_new(Vec::new(), layout.columns.clone(), Some(properties(layout)?))?;
        for group in places.chunks(group_rows) {
            let group = group.iter().map(|place| place.at).collect::<Vec<_>>();
            writer.write(&interleave_record_batch(&batches, &group)?)?;
            writer.flush()?;
        }
        writer.into_inner()
    }
}

impl KeyRef<'_> {
    fn to_key(self) -> Key {
        match self {
            KeyRef::Int(key) => Key::Int(key),
            KeyRef::Text(key) => Key::Text(key.to_owned()),
        }
    }
}

/// Vectors and other floating-point numbers hardly ever repeat: neither a dictionary nor their extremes would help.
fn properties(layout: &Layout) -> ParquetResult<WriterProperties> {
    let sorted = [layout.key_column(), layout::TSO].map(|column| SortingColumn {
        column_idx: i32::try_from(column).unwrap_or(i32::MAX),
        descending: false,
        nulls_first: false,
    });
    let mut properties = WriterProperties::builder()
        .set_created_by("tapedeck".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_sorting_columns(Some(sorted.to_vec()));
    for column in ArrowSchemaConverter::new().convert(&layout.columns)?.columns() {
        let floats =
            matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE | Type::FIXED_LEN_BYTE_ARRAY);
        if floats {
            properties = properties
                .set_column_dictionary_enabled(column.path().clone(), false)
                .set_column_statistics_enabled(column.path().clone(), EnabledStatistics::None);
        }
    }
    Ok(properties.build())
}

fn unsorted(why: impl std::fmt::Display) -> Error {
    Error::refused(format!("rows cannot be written as Parquet: {why}"))
        .advice("report the definition of their collection: `tapedeck log timeline --json` shows it")
}
