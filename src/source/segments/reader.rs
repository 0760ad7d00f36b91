//! The files of one segment, read from the source's object storage.

use futures::future::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::column::column;
use super::delete::{self, DeletedKeys, Deletes};
use super::event::{self, Kind, damaged};
use super::payload::{self, Values};
use super::{FieldId, LogFile, Segment};
use crate::change::{Keys, Rows};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::schema::{CollectionSchema, DataType, FieldData, FieldSchema};
use crate::store::Store;
use crate::tick::Tso;

const ROW_ID: FieldId = 0;
const TIMESTAMP: FieldId = 1;
/// Files that are on their way at a time.
const FETCHES: usize = 4;

/// Rows of a segment: what the n-th binlogs of its fields hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The rows, in the order in which the segment has them: not always that of time.
    pub rows: Rows,
    /// The source's own number of each row.
    pub row_ids: Vec<i64>,
    /// When each row was written.
    pub tsos: Vec<Tso>,
}

/// Reads one segment. Holds nothing but what is asked for: of rows one binlog a field.
pub struct SegmentReader<'a> {
    store: &'a Store,
    schema: &'a CollectionSchema,
    segment: &'a Segment,
}

impl<'a> SegmentReader<'a> {
    /// A segment of a collection with this schema (of user fields and `$meta`, with ids). `store` is the source's root path.
    pub fn new(store: &'a Store, schema: &'a CollectionSchema, segment: &'a Segment) -> SegmentReader<'a> {
        SegmentReader { store, schema, segment }
    }

    /// How many blocks there are; refused where its fields have different numbers of files.
    pub fn blocks(&self) -> Result<usize> {
        let id = self.segment.id;
        let number = self.files(TIMESTAMP).len();
        let fields = self.schema.fields.iter().map(|field| field.field_id).chain([ROW_ID]);
        match fields.map(|field| (field, self.files(field).len())).find(|(_, files)| *files != number) {
            None => Ok(number),
            Some((field, files)) => Err(Error::refused(format!(
                "segment {id} has {files} files of field {field}, and {number} of the timestamps"
            ))
            .advice("compare the source's version with those that are supported")),
        }
    }

    /// The n-th block, counted from 0: a row in it need not exist any more, see [`SegmentReader::deletes`].
    pub async fn block(&self, number: usize) -> Result<Block> {
        let row_ids = self.longs(ROW_ID, number).await?;
        let tsos = self.longs(TIMESTAMP, number).await?;
        let rows = row_ids.len();
        if rows != tsos.len() {
            return Err(self.unequal(ROW_ID, rows as u64, tsos.len()));
        }
        let columns = self.schema.fields.iter().map(|field| self.field(field, number, rows).boxed());
        let columns = stream::iter(columns.collect::<Vec<_>>()).buffered(FETCHES);
        let rows = Rows { columns: columns.try_collect().await?, count: row_ids.len() };
        rows.check()?;
        Ok(Block { rows, row_ids, tsos: tsos.into_iter().map(|tso| Tso(tso.cast_unsigned())).collect() })
    }

    async fn field(&self, field: &FieldSchema, number: usize, rows: usize) -> Result<FieldData> {
        let file = self.file(field.field_id, number)?;
        if let Some(entries) = file.entries.filter(|entries| *entries != rows as u64) {
            return Err(self.unequal(field.field_id, entries, rows));
        }
        let read = self.column(file, (field.field_id, field.data_type), Some(rows)).await?;
        column(field, read)?.ok_or_else(|| damaged(&file.path, 0, wrong_values(field)))
    }

    /// Reads one file of the segment, which has rows.
    pub async fn try_out(&self) -> Result<()> {
        self.longs(TIMESTAMP, 0).await.map(drop)
    }

    /// The deletes of one delta log of the segment.
    pub async fn deleted(&self, file: &LogFile) -> Result<DeletedKeys> {
        let key = self.schema.fields.iter().find(|field| field.is_primary_key);
        let text_keys = key.is_some_and(|key| key.data_type() == DataType::VarChar);
        let parsed = self.parsed(file, Kind::Deletes).await?;
        delete::read(&file.path, &parsed, entries(file)?, text_keys)
    }

    /// All deletes of the segment, held at once: Milvus compacts a segment before they become many.
    pub async fn deletes(&self) -> Result<Deletes> {
        let mut deletes = Deletes::default();
        for file in &self.segment.deltas {
            deletes.add(&self.deleted(file).await?);
        }
        Ok(deletes)
    }

    fn files(&self, field: FieldId) -> &'a [LogFile] {
        self.segment.binlogs.get(&field).map_or(&[], Vec::as_slice)
    }

    fn file(&self, field: FieldId, number: usize) -> Result<&'a LogFile> {
        self.files(field).get(number).ok_or_else(|| {
            Error::refused(format!("segment {} has no file {number} of field {field}", self.segment.id))
                .advice("compare the source's version with those that are supported")
        })
    }

    /// The keys of the first rows that it has, if it has any.
    pub async fn first_keys(&self) -> Result<Option<Keys>> {
        let key = self.schema.fields.iter().find(|field| field.is_primary_key);
        match key.filter(|key| !self.files(key.field_id).is_empty()) {
            None => Ok(None),
            Some(key) => {
                let count = self.longs(TIMESTAMP, 0).await?.len();
                let columns = vec![self.field(key, 0, count).await?];
                Rows { columns, count }.keys(&key.name).map(Some)
            }
        }
    }

    /// A column that Milvus adds.
    async fn longs(&self, field: FieldId, number: usize) -> Result<Vec<i64>> {
        let file = self.file(field, number)?;
        match self.column(file, (field, DataType::Int64.into()), entries(file)?).await?.values {
            Values::Long(values) => Ok(values),
            _ => Err(damaged(&file.path, 0, "row ids or timestamps that are no Int64")),
        }
    }

    async fn column(
        &self,
        file: &LogFile,
        (field, data_type): (FieldId, i32),
        rows: Option<usize>,
    ) -> Result<payload::Column> {
        let parsed = self.parsed(file, Kind::Rows).await?;
        if (parsed.field_id, parsed.data_type) != (field, data_type) {
            let what = format!("it is of field {}, with data type {}", parsed.field_id, parsed.data_type);
            return Err(damaged(&file.path, 0, what));
        }
        payload::read(&file.path, &parsed.payloads, rows)
    }

    async fn parsed(&self, file: &LogFile, kind: Kind) -> Result<event::File> {
        let bytes = self.store.get(&file.path).await?.ok_or_else(|| {
            Error::refused(format!("{} is not in {}", file.path, self.store)).advice(
                "set source.storage.url to the source's minio.rootPath or localStorage.path, or source.backup.url to the \
                 folder of a whole backup; if it is right, the source removed the file some hours after a compaction: \
                 list the segments again",
            )
        })?;
        let parsed = event::parse(&file.path, &bytes, kind)?;
        if parsed.collection_id != self.segment.collection_id {
            return Err(damaged(&file.path, 0, format!("it is of collection {}", parsed.collection_id)));
        }
        // a delta log is made before Milvus 2.3 asks into which segment a compaction has put the rows meanwhile: it is
        // stored for that one and names the one that it was made for
        if kind == Kind::Rows && parsed.segment_id != self.segment.id {
            return Err(damaged(&file.path, 0, format!("it is of segment {}", parsed.segment_id)));
        }
        Ok(parsed)
    }

    fn unequal(&self, field: FieldId, entries: u64, rows: usize) -> Error {
        let id = self.segment.id;
        Error::refused(format!("segment {id} has {entries} entries of field {field} for {rows} rows"))
            .advice("compare the source's version with those that are supported")
    }
}

fn entries(file: &LogFile) -> Result<Option<usize>> {
    let entries = file.entries.map(usize::try_from).transpose();
    entries.map_err(|_| damaged(&file.path, 0, "more entries than memory"))
}

fn wrong_values(field: &FieldSchema) -> String {
    format!("values that are none of the field \"{}\" of type {:?}", field.name, field.data_type())
}
