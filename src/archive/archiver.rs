//! Writing an archive: the rows of the commits after the last manifest, in files of a bounded size.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use serde::Serialize;

use super::changes::{Changes, Part};
use super::manifests::Manifests;
use super::run::{Run, Written};
use super::table::Table;
use crate::catalog::{Catalog, CollectionId};
use crate::error::{Context, Result, Verdict};
use crate::log::commit::{self, Sealed};
use crate::log::incomplete::Incomplete;
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::log::segment::Segment;
use crate::pb::log::{ArchiveFile, ObjectRef};
use crate::position::Seq;
use crate::store::Store;

/// Segments that are read at once.
const SEGMENTS_AHEAD: usize = 2;

/// How much is held in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows of all collections together, before they are written: the most that a file has in memory.
    pub held_bytes: usize,
    /// Rows of a group in a file.
    pub group_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { held_bytes: 48 << 20, group_bytes: 8 << 20 }
    }
}

/// What was archived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The first commit that was not archived yet...
    pub from: u64,
    /// ...and the last one that is now; lower than the first where there was none.
    pub to: u64,
    /// Manifests.
    pub manifests: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows that came.
    pub inserted: u64,
    /// Keys whose rows went.
    pub deleted: u64,
    /// Rows that replaced others.
    pub upserted: u64,
}

/// Archives what is committed and not archived yet. Stopped anywhere, it goes on from its last manifest when it is called
/// again. After each commit `on_progress` gets its number, that of the last one, and what was archived so far.
pub async fn archive(
    store: Store,
    limits: Limits,
    on_progress: impl FnMut(Seq, Seq, &Report),
) -> Result<Report> {
    archive_to(store, limits, Seq(u64::MAX), on_progress).await
}

/// As [`archive`], up to the end of a commit: there a manifest ends, unless the archive goes beyond it already.
/// Begins again where a prune has overtaken it.
pub async fn archive_to(
    store: Store,
    limits: Limits,
    to: Seq,
    mut on_progress: impl FnMut(Seq, Seq, &Report),
) -> Result<Report> {
    loop {
        let reader = LogReader::open(store.clone()).await?;
        let floor = reader.floors().seen();
        match archive_above(&reader, &store, limits, to, &mut on_progress).await {
            Err(error) if error.verdict == Verdict::Fenced => return Err(error),
            Err(_) if reader.floors().have_risen_from(&floor).await => {}
            ended => return ended,
        }
    }
}

/// As [`archive_to`], while the floor stays where it is.
async fn archive_above(
    reader: &LogReader,
    store: &Store,
    limits: Limits,
    to: Seq,
    on_progress: &mut impl FnMut(Seq, Seq, &Report),
) -> Result<Report> {
    let manifests = Manifests::open(store.clone(), reader.log_id()).await?;
    let archived = manifests.archived(reader).await?;
    let last = reader.last().await?.min(to);
    let mut catalog = catalog(reader, archived.as_ref()).await?;
    let from = archived.as_ref().map_or(Seq(1), |archived| archived.seq().next());
    let report = Report { from: from.0, to: from.0.saturating_sub(1), ..Report::default() };
    let (runs, held, files, incomplete) = Default::default();
    let store = store.clone();
    let mut archiver = Archiver { store, limits, manifests, runs, held, files, incomplete, report };
    let mut pieces = pin!(pieces(reader, archived, last));
    let mut taken: Option<Arc<Sealed>> = None;
    while let Some(Piece { sealed, number, segment }) = pieces.try_next().await? {
        let named = &sealed.commit.segments;
        let coming = named.iter().map(|segment| segment.length).fold(0, u64::saturating_add);
        if number == 0
            && let Some(taken) = taken.take_if(|_| archiver.is_full_with(coming))
        {
            archiver.close(&taken).await?;
        }
        let (seq, is_last) = (sealed.seq(), number.saturating_add(1) >= named.len());
        if let Some(segment) = segment {
            let mut changes = Changes::new(seq, segment)?;
            archiver.incomplete.join(changes.incomplete());
            while let Some(part) = changes.next(&mut catalog)? {
                archiver.take(part).await?;
            }
        }
        if is_last {
            taken = Some(sealed);
            on_progress(seq, last, &archiver.report);
        }
    }
    if let Some(taken) = taken {
        archiver.close(&taken).await?;
    }
    Ok(archiver.report)
}

/// What existed after a commit; none: before the first.
pub(super) async fn catalog(reader: &LogReader, after: Option<&Sealed>) -> Result<Catalog> {
    match after.and_then(|after| after.commit.catalog.as_ref()) {
        Some(named) => reader.catalog(named).await,
        None => Ok(Catalog::default()),
    }
}

/// A segment of a commit, or a commit without one.
pub(super) struct Piece {
    /// The commit.
    pub sealed: Arc<Sealed>,
    /// The segment's number in it, from 0.
    pub number: usize,
    /// The segment.
    pub segment: Option<Segment>,
}

/// The commits after one, segment by segment: one commit may have more than memory holds.
pub(super) fn pieces(
    reader: &LogReader,
    after: Option<Sealed>,
    last: Seq,
) -> impl Stream<Item = Result<Piece>> {
    let of_commit = |sealed: Sealed| {
        let numbers = 0..sealed.commit.segments.len().max(1);
        let sealed = Arc::new(sealed);
        stream::iter(numbers.map(move |number| Ok((sealed.clone(), number))))
    };
    let with_segment = |(sealed, number): (Arc<Sealed>, usize)| {
        let reader = reader.clone();
        async move {
            let segment = match sealed.commit.segments.get(number) {
                Some(named) => Some(reader.segment(named).await?),
                None => None,
            };
            Ok(Piece { sealed, number, segment })
        }
    };
    reader
        .commits(after, last)
        .map_ok(of_commit)
        .try_flatten()
        .map_ok(with_segment)
        .try_buffered(SEGMENTS_AHEAD)
}

struct Archiver {
    store: Store,
    limits: Limits,
    manifests: Manifests,
    runs: BTreeMap<CollectionId, Run>,
    held: usize,
    files: Vec<ArchiveFile>,
    incomplete: Incomplete,
    report: Report,
}

impl Archiver {
    /// Whether a manifest is due before so many bytes of segments come: they may not fit, or files wait for it.
    fn is_full_with(&self, coming: u64) -> bool {
        let coming = usize::try_from(coming).unwrap_or(usize::MAX);
        let held = self.held > 0 && self.held.saturating_add(coming) > self.limits.held_bytes;
        held || !self.files.is_empty()
    }

    /// Takes in rows. Rows with other fields than those before go to another file.
    async fn take(&mut self, part: Part) -> Result<()> {
        let id = part.table.id;
        if self.runs.get(&id).is_some_and(|run| run.table().layout != part.table.layout) {
            self.write(id).await?;
        }
        for batch in part.batches {
            let run = self.runs.entry(id).or_insert_with(|| Run::new(part.table.clone()));
            let before = run.bytes();
            run.push(batch)?;
            self.held = self.held.saturating_add(run.bytes()).saturating_sub(before);
            while self.held >= self.limits.held_bytes
                && let Some((largest, _)) = self.runs.iter().max_by_key(|(_, run)| run.bytes())
            {
                self.write(*largest).await?;
            }
        }
        Ok(())
    }

    /// Names everything that was taken in, up to the end of a commit.
    async fn close(&mut self, last: &Sealed) -> Result<()> {
        while let Some(id) = self.runs.keys().next().copied() {
            self.write(id).await?;
        }
        let (files, incomplete) = (std::mem::take(&mut self.files), std::mem::take(&mut self.incomplete));
        self.manifests.add(last, files, incomplete).await?;
        self.report.to = last.seq().0;
        self.report.manifests += 1;
        Ok(())
    }

    /// Writes the file of a collection's rows.
    async fn write(&mut self, id: CollectionId) -> Result<()> {
        let Some(mut run) = self.runs.remove(&id) else { return Ok(()) };
        self.held = self.held.saturating_sub(run.bytes());
        let table = run.table().clone();
        let name = || format!("{}.{}", table.database, table.collection);
        let Some(written) = run.write(self.limits.group_bytes).context(name)? else { return Ok(()) };
        let (bytes, file) = describe(&table, written);
        let object = file.object.clone().unwrap_or_default();
        self.store.put(&object.key, bytes).await?;
        let (report, counts) = (&mut self.report, file.counts.unwrap_or_default());
        report.files += 1;
        report.bytes = report.bytes.saturating_add(object.length);
        report.inserted = report.inserted.saturating_add(counts.inserted);
        report.deleted = report.deleted.saturating_add(counts.deleted);
        report.upserted = report.upserted.saturating_add(counts.upserted);
        self.files.push(file);
        Ok(())
    }
}

/// What the manifest says of a file.
fn describe(table: &Table, written: Written) -> (Bytes, ArchiveFile) {
    let Written { bytes, counts, tsos, keys: [first_key, last_key] } = written;
    let digest = commit::digest(&bytes);
    let object = ObjectRef {
        key: layout::archive_file([&table.database, &table.collection], table.id, tsos, &digest),
        length: bytes.len() as u64,
        digest: Bytes::copy_from_slice(&digest),
        rows: counts.inserted.saturating_add(counts.deleted).saturating_add(counts.upserted),
        first_tso: tsos[0].0,
        last_tso: tsos[1].0,
        ..ObjectRef::default()
    };
    let file = ArchiveFile {
        object: Some(object),
        collection_id: table.id,
        database: table.database.clone(),
        collection: table.collection.clone(),
        schema: Some(table.schema.clone()),
        counts: Some(counts),
        first_key: Some(first_key.into()),
        last_key: Some(last_key.into()),
    };
    (bytes, file)
}
