//! Reading a file of an archive: its rows in the order of key and TSO, one group of them in memory at a time.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::Result as ParquetResult;

use super::decode;
use super::layout::{self, Layout, SYSTEM_COLUMNS};
use super::table::Op;
use crate::catalog::PartitionId;
use crate::change::{Keys, Rows};
use crate::error::Result;
use crate::log::commit::digest;
use crate::log::damage::Damage;
use crate::pb::log::{ArchiveFile, ObjectRef};
use crate::store::Store;
use crate::tick::Tso;

/// Some rows of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// What was done, row by row: by key, then TSO, then [`Op`].
    pub changes: Vec<Change>,
    /// The key of each.
    pub keys: Keys,
    /// The rows of those that are no delete.
    pub rows: Rows,
}

/// What was done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub op: Op,
    /// When.
    pub tso: Tso,
    /// Where; [`crate::message::ALL_PARTITIONS`] of a delete from the whole collection.
    pub partition: PartitionId,
}

/// A file that was read and checked against its manifest.
pub struct File {
    key: String,
    layout: Layout,
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
    next: usize,
}

impl File {
    /// Reads the object of a file.
    pub async fn open(store: &Store, named: &ArchiveFile) -> Result<File> {
        Ok(File::checked(store, named).await??)
    }

    /// The outer error is the store's.
    pub(super) async fn checked(store: &Store, named: &ArchiveFile) -> Result<Result<File, Damage>> {
        let object = named.object.clone().unwrap_or_default();
        Ok(match store.read(&object.key).await? {
            Some(Ok(bytes)) => File::check(named, &object, bytes),
            Some(Err(why)) => Err(Damage::unreadable(&object.key, &why)),
            None => Err(Damage::new(&object.key, None, "is missing; a manifest of the archive names it")),
        })
    }

    /// Nothing parses the object before its digest is right.
    fn check(named: &ArchiveFile, object: &ObjectRef, bytes: Bytes) -> Result<File, Damage> {
        let no = |why: String| Damage::new(&object.key, None, why);
        if bytes.len() as u64 != object.length || digest(&bytes)[..] != object.digest[..] {
            return Err(no("is not the object that its manifest names: another digest".into()));
        }
        let layout = Layout::new(&named.schema.clone().unwrap_or_default());
        let layout = layout.map_err(|error| no(format!("has a schema that cannot be: {error}")))?;
        let metadata = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new());
        let metadata = metadata.map_err(|error| no(format!("cannot be read as Parquet: {error}")))?;
        let rows = metadata.metadata().file_metadata().num_rows();
        if metadata.schema().fields() != layout.columns.fields() || u64::try_from(rows) != Ok(object.rows) {
            return Err(no("has other columns or rows than its manifest says".into()));
        }
        Ok(File { key: object.key.clone(), layout, bytes, metadata, next: 0 })
    }

    /// How its rows are laid out.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How many groups of rows it has.
    pub(super) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// The next group of rows as it stands in the file; none at the end.
    pub(super) fn batch(&mut self) -> Result<Option<RecordBatch>, Damage> {
        if self.next >= self.groups() {
            return Ok(None);
        }
        let batch = self.read(self.next, ProjectionMask::all(), None)?;
        self.next += 1;
        Ok(Some(batch))
    }

    /// What was done in a group, row by row, and the keys; its other columns are not read.
    pub(super) fn stamps(&self, group: usize) -> Result<(Vec<Change>, Keys), Damage> {
        let key = self.layout.key_column();
        let columns = [layout::OP, layout::TSO, layout::PARTITION_ID, key];
        let projection = ProjectionMask::roots(self.metadata.parquet_schema(), columns);
        let batch = self.read(group, projection, None)?;
        let stamps = match batch.columns() {
            [ops, tsos, partitions, key] => changes([ops, tsos, partitions]).zip(keys(key)),
            _ => None,
        };
        stamps.ok_or_else(|| self.damaged("columns of other types"))
    }

    /// The rows of a group with these numbers, which rise.
    pub(super) fn rows(&self, group: usize, numbers: &[usize]) -> Result<RecordBatch, Damage> {
        self.read(group, ProjectionMask::all(), Some(numbers))
    }

    /// Some columns of a group, of all its rows or of some.
    fn read(
        &self,
        group: usize,
        projection: ProjectionMask,
        numbers: Option<&[usize]>,
    ) -> Result<RecordBatch, Damage> {
        let all = self.metadata.metadata().row_groups().get(group).map(|group| group.num_rows());
        let all = all.and_then(|rows| usize::try_from(rows).ok()).unwrap_or_default();
        let rows = numbers.map_or(all, <[usize]>::len);
        let selection = numbers.filter(|numbers| numbers.len() < all).map(|numbers| {
            let ranges = numbers.iter().map(|number| *number..number.saturating_add(1));
            RowSelection::from_consecutive_ranges(ranges, all)
        });
        let read = || -> ParquetResult<Option<RecordBatch>> {
            let (bytes, metadata) = (self.bytes.clone(), self.metadata.clone());
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata);
            let reader =
                reader.with_row_groups(vec![group]).with_projection(projection).with_batch_size(rows);
            let reader = match selection {
                Some(selection) => reader.with_row_selection(selection),
                None => reader,
            };
            Ok(reader.build()?.next().transpose()?)
        };
        let batch = read().map_err(|error| self.damaged(error.to_string()))?;
        let whole = batch.filter(|batch| batch.num_rows() == rows);
        whole.ok_or_else(|| self.damaged("a group of fewer rows than it says"))
    }

    /// The next group of rows; none at the end.
    pub fn block(&mut self) -> Result<Option<Block>, Damage> {
        let Some(batch) = self.batch()? else { return Ok(None) };
        self.decode(&batch).map(Some).ok_or_else(|| self.damaged("columns of other types"))
    }

    fn decode(&self, batch: &RecordBatch) -> Option<Block> {
        let system = [layout::OP, layout::TSO, layout::PARTITION_ID].map(|number| batch.column(number));
        let changes = changes(system)?;
        let keys = keys(batch.column(self.layout.key_column()))?;
        let came = BooleanArray::from_iter(changes.iter().map(|change| Some(change.op != Op::Delete)));
        let came = filter_record_batch(batch, &came).ok()?;
        Some(Block { changes, keys, rows: fields(&self.layout, &came)? })
    }

    fn damaged(&self, why: impl Into<String>) -> Damage {
        let why = why.into();
        Damage::new(&self.key, None, format!("cannot be read: {why}"))
    }
}

/// What was done, from the columns `_op`, `_tso` and `_partition_id`.
fn changes([ops, tsos, partitions]: [&ArrayRef; 3]) -> Option<Vec<Change>> {
    let ops = ops.as_string_opt::<i32>()?.iter();
    let tsos = tsos.as_primitive_opt::<UInt64Type>()?.values();
    let partitions = partitions.as_primitive_opt::<Int64Type>()?.values();
    let changes = ops.zip(tsos.iter().zip(partitions)).map(|(op, (tso, partition))| {
        Some(Change { op: Op::parse(op?)?, tso: Tso(*tso), partition: *partition })
    });
    changes.collect()
}

/// From the column of the key.
fn keys(column: &ArrayRef) -> Option<Keys> {
    Some(match column.as_primitive_opt::<Int64Type>() {
        Some(keys) => Keys::Int(keys.values().to_vec()),
        None => Keys::Text(
            column.as_string_opt::<i32>()?.iter().map(|key| key.unwrap_or_default().to_owned()).collect(),
        ),
    })
}

/// The fields of rows, all of which came.
pub(super) fn fields(layout: &Layout, batch: &RecordBatch) -> Option<Rows> {
    let columns = layout.fields.iter().zip(batch.columns().iter().skip(SYSTEM_COLUMNS));
    let columns = columns.map(|(field, column)| decode::column(field, column)).collect::<Option<_>>()?;
    Some(Rows { columns, count: batch.num_rows() })
}
