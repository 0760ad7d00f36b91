//! Writing the segments of a base, a few at a time.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;

use crate::archive::living::Insert;
use crate::error::{Error, Result};
use crate::log::commit::{self, Sealed};
use crate::log::layout;
use crate::log::segment::SegmentWriter;
use crate::message::INSERT;
use crate::pb::log::{Definition, ObjectRef, SegmentHeader};
use crate::position::{Position, Seq};
use crate::store::Store;
use crate::tick::Tso;

/// Segments that are uploaded at once: they take memory.
const AT_ONCE: usize = 3;

/// The segments so far. The newest rows come first, and stand last.
pub struct Segments {
    store: Store,
    header: SegmentHeader,
    most_bytes: usize,
    held: Vec<Insert>,
    held_bytes: usize,
    rows: u64,
    begun: u64,
    uploads: JoinSet<Result<(u64, ObjectRef)>>,
    uploaded: BTreeMap<u64, ObjectRef>,
}

impl Segments {
    /// Of the base of a commit.
    pub fn new(store: &Store, log_id: &str, after: &Sealed, most_bytes: usize) -> Segments {
        let header = SegmentHeader {
            log_id: log_id.to_owned(),
            epoch: after.commit.epoch,
            seq: after.commit.seq,
            channels: Vec::new(),
        };
        Segments {
            store: store.clone(),
            header,
            most_bytes,
            held: Vec::new(),
            held_bytes: 0,
            rows: 0,
            begun: 0,
            uploads: JoinSet::new(),
            uploaded: BTreeMap::new(),
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes in rows; an Insert that alone is larger than a segment makes one.
    pub async fn add(&mut self, insert: Insert) -> Result<()> {
        if self.held_bytes.saturating_add(insert.payload.len()) > self.most_bytes {
            self.cut().await?;
        }
        self.rows = self.rows.saturating_add(insert.rows);
        self.held_bytes = self.held_bytes.saturating_add(insert.payload.len());
        self.held.push(insert);
        Ok(())
    }

    /// Ends them: the definitions first, then the rows.
    pub async fn finish(mut self, definitions: &[Definition]) -> Result<Vec<ObjectRef>> {
        self.cut().await?;
        let mut first = SegmentWriter::new(self.header.clone());
        definitions.iter().for_each(|definition| first.definition(definition));
        self.upload(first).await?;
        while !self.uploads.is_empty() {
            self.one_uploaded().await?;
        }
        Ok(self.uploaded.into_values().rev().collect())
    }

    async fn cut(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        if held.is_empty() {
            return Ok(());
        }
        let channels = held.iter().map(|insert| insert.channel.clone()).collect::<BTreeSet<_>>();
        let channels = channels.into_iter().collect::<Vec<_>>();
        let header = SegmentHeader { channels: channels.clone(), ..self.header.clone() };
        let mut segment = SegmentWriter::new(header);
        for Insert { channel, rows, payload } in held.into_iter().rev() {
            let channel = channels.binary_search(&channel).unwrap_or_default();
            let channel = u32::try_from(channel).unwrap_or_default();
            segment.message(channel, Position::default(), Tso::BASE, INSERT, &payload, rows);
        }
        self.upload(segment).await
    }

    async fn upload(&mut self, segment: SegmentWriter) -> Result<()> {
        let (bytes, reference) = segment.finish();
        while self.uploads.len() >= AT_ONCE {
            self.one_uploaded().await?;
        }
        let key = layout::base_segment(Seq(self.header.seq), &commit::digest(&bytes));
        let (store, number) = (self.store.clone(), self.begun);
        self.begun = number.saturating_add(1);
        self.uploads.spawn(async move {
            store.put(&key, bytes).await?;
            Ok((number, ObjectRef { key, ..reference }))
        });
        Ok(())
    }

    async fn one_uploaded(&mut self) -> Result<()> {
        let Some(ended) = self.uploads.join_next().await else { return Ok(()) };
        let ended = ended.map_err(|died| Error::operator(format!("an upload died: {died}")))?;
        let (number, reference) = ended?;
        self.uploaded.insert(number, reference);
        Ok(())
    }
}
