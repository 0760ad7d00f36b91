//! What a log holds, for people who want to restore.

use std::time::Duration;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use super::connect;
use super::spec::LogSpec;
use super::status::{Moment, moment};
use super::validate;
use crate::error::{Error, Result};
use crate::log::base::Base;
use crate::log::commit::Sealed;
use crate::log::coverage::{Coverage, HoleAt, Window};
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::log::store::Store;
use crate::pb::log::SourceIdentity;
use crate::position::Seq;

/// A log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogView {
    /// Its URL.
    pub url: String,
    /// Its id (a uuid).
    pub log_id: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Version of its format.
    pub format: u32,
    /// The source that it is of; none before its first commit.
    pub source: Option<SourceView>,
    /// Instants that it can be restored to; none before its first cut.
    pub windows: Vec<WindowView>,
    /// Ranges of the source that it lacks, the first 1000.
    pub holes: Vec<HoleView>,
    /// Holes beyond those.
    pub more_holes: u64,
    /// The first commit that is there: what was before it was pruned.
    #[serde(default)]
    pub first: u64,
    /// The last commit.
    pub commits: u64,
    /// The last commit that was read for this answer: windows and holes are as of it. Where it is lower than `commits`,
    /// the log was too long for one answer: ask again, and reading goes on from there.
    pub read_to: u64,
    /// Rows in segments: inserted, and keys of deletes; an upsert is both.
    pub rows: u64,
    /// Objects that are stored; null: there are too many to list them for one answer.
    pub objects: Option<u64>,
    /// Their bytes; null with `objects`.
    pub bytes: Option<u64>,
}

/// A source Milvus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceView {
    /// Its queue.
    pub queue: String,
    /// Its etcd.
    pub etcd: String,
}

/// Instants that can be restored, both ends included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WindowView {
    /// From here...
    pub from: Option<Moment>,
    /// ...to here.
    pub to: Option<Moment>,
}

/// A range of a channel that the log lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HoleView {
    /// The commit that records it.
    pub commit: u64,
    /// What is missing came after this; null: with the log's first commit.
    pub after: Option<Moment>,
    /// The channel.
    pub channel: String,
    /// First position that is missing.
    pub start: String,
    /// The position after the last one that is missing.
    pub end: String,
    /// Why.
    pub reason: String,
}

/// What was read of a log's commits so far: a later look goes on from there.
#[derive(Debug, Default)]
pub struct Look {
    log_id: String,
    coverage: Coverage,
    /// The base with which the log begins: what was read before it was taken is void.
    base: Option<Seq>,
    last: Option<Sealed>,
}

/// Reads a log's identity, its commits for at most half of the time, and in what is left of it the sizes of
/// its objects; nothing where no log is.
pub async fn view(spec: &LogSpec, look: &mut Look, time: Duration) -> Result<Option<LogView>> {
    validate::log(spec)?;
    let Some(store) = connect::store_to_read(spec).await? else { return Ok(None) };
    look_at(&spec.url, store, look, time).await
}

/// The log at a place; nothing where none is.
pub async fn reader(spec: &LogSpec) -> Result<Option<LogReader>> {
    validate::log(spec)?;
    match connect::store_to_read(spec).await? {
        Some(store) => LogReader::find(store).await,
        None => Ok(None),
    }
}

async fn look_at(url: &str, store: Store, look: &mut Look, time: Duration) -> Result<Option<LogView>> {
    let began = Instant::now();
    let Some(reader) = LogReader::find(store.clone()).await? else { return Ok(None) };
    let commits = reader.last().await?;
    let beginning = reader.beginning().await?;
    let base = beginning.as_ref().map(Base::seq);
    // Of another log that stood here before, or of what has been pruned since.
    if look.log_id != reader.log_id() || look.base != base {
        let coverage = beginning.as_ref().map(Coverage::after).unwrap_or_default();
        let last = beginning.map(|base| base.after);
        *look = Look { log_id: reader.log_id().to_owned(), coverage, base, last };
    }
    let mut unread = Box::pin(reader.commits(look.last.clone(), commits));
    let reading = async {
        while let Some(sealed) = unread.try_next().await? {
            look.coverage.add(&sealed.commit);
            look.last = Some(sealed);
        }
        Ok::<_, Error>(())
    };
    if let Ok(read) = timeout(time / 2, reading).await {
        read?;
    }
    // Of a long log this takes longer than an answer may.
    let listed = timeout(time.saturating_sub(began.elapsed()), sizes(&store)).await.ok().transpose()?;
    let (identity, coverage) = (reader.identity(), &look.coverage);
    let source = look.last.as_ref().and_then(|last| last.commit.source.clone());
    Ok(Some(LogView {
        url: url.to_owned(),
        log_id: identity.log_id.clone(),
        created: identity.created.clone(),
        format: identity.format,
        source: source.map(SourceView::from),
        windows: coverage.windows.iter().map(WindowView::from).collect(),
        holes: coverage.holes.iter().map(HoleView::from).collect(),
        more_holes: coverage.more_holes,
        first: base.unwrap_or_default().next().0,
        commits: commits.0,
        read_to: look.last.as_ref().map_or(0, |last| last.commit.seq),
        rows: coverage.rows,
        objects: listed.map(|(objects, _)| objects),
        bytes: listed.map(|(_, bytes)| bytes),
    }))
}

async fn sizes(store: &Store) -> Result<(u64, u64)> {
    let (mut objects, mut bytes) = (0u64, 0u64);
    for folder in [layout::COMMITS, layout::SEGMENTS, layout::CATALOGS, layout::BASES, layout::ARCHIVE] {
        let see = |_: &str, size| {
            objects = objects.saturating_add(1);
            bytes = bytes.saturating_add(size);
        };
        store.scan(folder, None, see).await?;
    }
    Ok((objects, bytes))
}

impl From<SourceIdentity> for SourceView {
    fn from(source: SourceIdentity) -> SourceView {
        SourceView { queue: source.queue, etcd: source.etcd }
    }
}

impl From<&Window> for WindowView {
    fn from(window: &Window) -> WindowView {
        WindowView { from: moment(window.from), to: moment(window.to) }
    }
}

impl From<&HoleAt> for HoleView {
    fn from(hole: &HoleAt) -> HoleView {
        HoleView {
            commit: hole.seq,
            after: moment(hole.after),
            channel: hole.channel.clone(),
            start: hole.start.to_string(),
            end: hole.end.to_string(),
            reason: hole.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};

    use super::*;
    use crate::log::prune::{Keep, prune};
    use crate::log::tests::sample::{record, take_base, tso};

    #[tokio::test]
    async fn a_look_at_a_log_that_was_pruned_since_the_last_one_begins_with_its_base() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let spec = LogSpec { url, options: Default::default(), encryption: None };
        let store = connect::log_store(&spec).await.unwrap();
        let mut look = Look::default();
        let mut shown = async || {
            let view = view(&spec, &mut look, Duration::MAX).await.unwrap().unwrap();
            let window = &view.windows[0];
            let ends = [&window.from, &window.to].map(|end| end.as_ref().unwrap().tso);
            (view.first, view.commits, view.read_to, ends, view.source.is_some())
        };
        record(&store, 10).await.unwrap();
        assert_eq!(shown().await, (1, 5, 5, [tso(0).0, tso(9).0], true));
        take_base(&store, Seq(3)).await.unwrap();
        prune(store.clone(), Keep { window: Duration::ZERO, bases: 1 }, false, |_| {}).await.unwrap();
        for _ in 0..2 {
            assert_eq!(shown().await, (4, 5, 5, [tso(5).0, tso(9).0], true));
        }
        record(&store, 12).await.unwrap();
        assert_eq!(shown().await, (4, 7, 7, [tso(5).0, tso(11).0], true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_windows_of_a_log_are_shown_though_listing_its_objects_takes_too_long() {
        let objects = InMemory::new();
        record(&Store::new(Arc::new(objects.clone()), Path::ROOT, "memory://".into()), 10).await.unwrap();
        let hour = Duration::from_secs(3600);
        let slow = ThrottleConfig { wait_list_per_entry: hour, ..Default::default() };
        let slow = Arc::new(ThrottledStore::new(objects, slow));
        let store = Store::new(slow, Path::ROOT, "memory://".into());
        let (began, mut look) = (Instant::now(), Look::default());
        let time = Duration::from_secs(20);
        let view = look_at("memory://", store.clone(), &mut look, time).await.unwrap().unwrap();
        assert!(began.elapsed() <= time, "{:?}", began.elapsed());
        assert_eq!((view.windows.len(), view.read_to, view.objects, view.bytes), (1, 5, None, None));
        let view = look_at("memory://", store, &mut look, Duration::MAX).await.unwrap().unwrap();
        assert!(view.objects > Some(5) && view.bytes > Some(500), "{view:?}");
    }
}
