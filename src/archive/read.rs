//! Reading a file of an archive: its rows in the order of key and TSO, one group of them in memory at a time.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
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
        Ok(match store.get(&object.key).await? {
            Some(bytes) => File::check(named, &object, bytes),
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

    /// The next group of rows as it stands in the file; none at the end.
    pub(super) fn batch(&mut self) -> Result<Option<RecordBatch>, Damage> {
        let Some(group) = self.metadata.metadata().row_groups().get(self.next) else { return Ok(None) };
        let rows = usize::try_from(group.num_rows()).unwrap_or_default();
        let batch = self.read(rows).map_err(|error| self.damaged(error.to_string()))?;
        self.next += 1;
        match batch.filter(|batch| batch.num_rows() == rows) {
            Some(batch) => Ok(Some(batch)),
            None => Err(self.damaged("a group of fewer rows than it says")),
        }
    }

    fn read(&self, rows: usize) -> ParquetResult<Option<RecordBatch>> {
        let reader =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone());
        let mut reader = reader.with_row_groups(vec![self.next]).with_batch_size(rows).build()?;
        Ok(reader.next().transpose()?)
    }

    /// The next group of rows; none at the end.
    pub fn block(&mut self) -> Result<Option<Block>, Damage> {
        let Some(batch) = self.batch()? else { return Ok(None) };
        self.decode(&batch).map(Some).ok_or_else(|| self.damaged("columns of other types"))
    }

    fn decode(&self, batch: &RecordBatch) -> Option<Block> {
        let ops = batch.column(layout::OP).as_string_opt::<i32>()?.iter();
        let ops = ops.map(|op| Op::parse(op?)).collect::<Option<Vec<_>>>()?;
        let tsos = batch.column(layout::TSO).as_primitive_opt::<UInt64Type>()?.values();
        let partitions = batch.column(layout::PARTITION_ID).as_primitive_opt::<Int64Type>()?.values();
        let changes = ops.iter().zip(tsos.iter().zip(partitions));
        let changes =
            changes.map(|(op, (tso, partition))| Change { op: *op, tso: Tso(*tso), partition: *partition });
        let keys = batch.column(self.layout.key_column());
        let keys = match keys.as_primitive_opt::<Int64Type>() {
            Some(keys) => Keys::Int(keys.values().to_vec()),
            None => Keys::Text(
                keys.as_string_opt::<i32>()?.iter().map(|key| key.unwrap_or_default().to_owned()).collect(),
            ),
        };
        let came = BooleanArray::from_iter(ops.iter().map(|op| Some(*op != Op::Delete)));
        let came = filter_record_batch(batch, &came).ok()?;
        let columns = self.layout.fields.iter().zip(came.columns().iter().skip(SYSTEM_COLUMNS));
        let columns = columns.map(|(field, column)| decode::column(field, column)).collect::<Option<_>>()?;
        Some(Block { changes: changes.collect(), keys, rows: Rows { columns, count: came.num_rows() } })
    }

    fn damaged(&self, why: impl Into<String>) -> Damage {
        let why = why.into();
        Damage::new(&self.key, None, format!("cannot be read: {why}"))
    }
}
