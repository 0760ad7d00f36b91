//! Stores cuts and commits them: uploads run side by side, commits follow in order.

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::log::writer::{LogWriter, Uploader};
use crate::pb::log as pb;
use crate::position::Seq;
use crate::progress::{RecordProgress, RowCounts};
use crate::tick::Tso;
use crate::trouble::Trouble;

use super::content::Unwritten;

/// Cuts that are uploaded at once.
const UPLOADS: usize = 3;

/// A cut that is complete and not yet stored.
pub struct Draft {
    /// The number that its commit will have.
    pub seq: Seq,
    /// Its changes; none in a cut that only moves the watermark.
    pub segments: Vec<Unwritten>,
    /// The catalog after it, where it has definitions.
    pub catalog: Option<Catalog>,
    /// Its commit, with the references of what is stored already: they follow its changes.
    pub commit: pb::Commit,
    /// Its rows.
    pub rows: RowCounts,
    /// Messages in it that no replayer can apply, by type.
    pub unknown: Vec<String>,
}

/// The stage between the cuts and the log.
pub struct Committer {
    writer: LogWriter,
    catalog: Option<pb::ObjectRef>,
    progress: watch::Sender<RecordProgress>,
}

impl Committer {
    /// A stage that continues after a commit with this catalog.
    pub fn new(
        writer: LogWriter,
        catalog: Option<pb::ObjectRef>,
        progress: watch::Sender<RecordProgress>,
    ) -> Committer {
        Committer { writer, catalog, progress }
    }

    /// Stores and commits every draft until the sender is gone. What may pass by itself is tried again for ever.
    pub async fn run(mut self, mut drafts: mpsc::Receiver<Draft>) -> Result<()> {
        let mut uploads = FuturesOrdered::new();
        let mut open = true;
        while open || !uploads.is_empty() {
            tokio::select! {
                draft = drafts.recv(), if open && uploads.len() < UPLOADS => match draft {
                    Some(draft) => uploads.push_back(upload(self.writer.uploader(), draft, self.progress.clone())),
                    None => open = false,
                },
                Some(uploaded) = uploads.next(), if !uploads.is_empty() => {
                    let uploaded = uploaded.map_err(|error| Error::operator(format!("an upload died: {error}")))??;
                    self.commit(uploaded).await?;
                }
            }
        }
        Ok(())
    }

    async fn commit(&mut self, mut draft: Uploaded) -> Result<()> {
        if draft.catalog.is_some() {
            self.catalog = draft.catalog;
        }
        draft.commit.catalog = self.catalog.clone();
        let mut trouble = Trouble::new(&self.progress, "committing");
        let commit = loop {
            match self.writer.commit(draft.commit.clone()).await {
                Ok(commit) => break commit,
                Err(error) => trouble.wait(error).await?,
            }
        };
        trouble.over();
        self.progress.send_modify(|progress| {
            progress.log_id = Some(self.writer.log_id().to_owned());
            progress.recorded_to = Tso(commit.watermark);
            progress.opens_at = Tso(commit.opens_at);
            progress.commits += 1;
            progress.bytes += commit.segments.iter().map(|segment| segment.length).sum::<u64>();
            progress.rows.inserted += draft.rows.inserted;
            progress.rows.deleted += draft.rows.deleted;
            for name in draft.unknown {
                match progress.unknown.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, count)) => *count += 1,
                    None => progress.unknown.push((name, 1)),
                }
            }
        });
        Ok(())
    }
}

struct Uploaded {
    commit: pb::Commit,
    catalog: Option<pb::ObjectRef>,
    rows: RowCounts,
    unknown: Vec<String>,
}

fn upload(
    uploader: Uploader,
    draft: Draft,
    progress: watch::Sender<RecordProgress>,
) -> AbortOnDropHandle<Result<Uploaded>> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let Draft { seq, segments, catalog, mut commit, rows, unknown } = draft;
        let mut trouble = Trouble::new(&progress, "storing a segment");
        let mut stored = Vec::new();
        // One after another: no second copy of all that a cut holds is made.
        for segment in segments {
            let (bytes, reference) = segment.write().finish();
            let put = || uploader.put_segment(seq, bytes.clone(), reference.clone());
            stored.push(trouble.until_done(put).await?);
        }
        commit.segments.splice(0..0, stored);
        let catalog = match catalog {
            None => None,
            Some(catalog) => Some(trouble.until_done(|| uploader.put_catalog(seq, &catalog)).await?),
        };
        Ok(Uploaded { commit, catalog, rows, unknown })
    }))
}
