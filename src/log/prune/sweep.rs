//! Takes away what lies below a floor.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::error::Result;
use crate::log::base::Base;
use crate::log::envelope::{self, Kind};
use crate::log::layout;
use crate::log::store::Store;
use crate::pb::log::{ArchiveManifest, Floor};

/// Objects that went, by what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Commits.
    pub commits: u64,
    /// Their segments.
    pub segments: u64,
    /// Catalogs that nothing names any more.
    pub catalogs: u64,
    /// Manifests of the archive.
    pub manifests: u64,
    /// Its files.
    pub files: u64,
    /// Older bases.
    pub bases: u64,
    /// Their segments.
    pub base_segments: u64,
}

/// Takes away all that a floor says is gone, but for what its base needs; where `dry_run`, it is only counted.
pub async fn sweep(
    store: &Store,
    floor: &Floor,
    base: &Base,
    dry_run: bool,
    on_progress: impl FnMut(&Removed),
) -> Result<Removed> {
    let mut this = Sweep { store, dry_run, removed: Removed::default(), on_progress };
    let (first, seq) = (floor.first_seq, base.seq());
    let commit = move |key: &str| layout::parse_commit(key).is_some_and(|it| it.0 < first);
    this.folder(layout::COMMITS, commit, |removed| &mut removed.commits).await?;
    let segment = move |key: &str| layout::parse_segment(key).is_some_and(|it| it.seq.0 < first);
    this.folder(layout::SEGMENTS, segment, |removed| &mut removed.segments).await?;
    let kept = base.after.commit.catalog.as_ref().map(|catalog| catalog.key.clone());
    let catalog = move |key: &str| {
        layout::parse_catalog(key).is_some_and(|it| it.seq.0 < first) && kept.as_deref() != Some(key)
    };
    this.folder(layout::CATALOGS, catalog, |removed| &mut removed.catalogs).await?;
    this.archive(floor).await?;
    // A base without its segments would be damage, segments without their base are nothing.
    let older = move |key: &str| layout::parse_base(key).is_some_and(|it| it < seq);
    this.folder(layout::BASES, older, |removed| &mut removed.bases).await?;
    let of_older = move |key: &str| layout::parse_base_segment(key).is_some_and(|it| it < seq);
    this.folder(layout::BASES, of_older, |removed| &mut removed.base_segments).await?;
    Ok(this.removed)
}

struct Sweep<'a, F> {
    store: &'a Store,
    dry_run: bool,
    removed: Removed,
    on_progress: F,
}

impl<F: FnMut(&Removed)> Sweep<'_, F> {
    async fn folder(
        &mut self,
        folder: &str,
        goes: impl Fn(&str) -> bool + Send + Sync + 'static,
        of: fn(&mut Removed) -> &mut u64,
    ) -> Result<()> {
        if self.dry_run {
            let see = |key: &str, _| *of(&mut self.removed) += u64::from(goes(key));
            return self.store.scan(folder, None, see).await;
        }
        let deleted = || {
            *of(&mut self.removed) += 1;
            (self.on_progress)(&self.removed);
        };
        self.store.delete_where(folder, goes, deleted).await
    }

    /// Files are told by the TSOs in their names, so that those go too which an archiver that was killed has left. A
    /// manifest that stays may name some that end below the floor.
    async fn archive(&mut self, floor: &Floor) -> Result<()> {
        let Floor { watermark, first_manifest, .. } = *floor;
        let named = self.named(floor).await?;
        let file = move |key: &str| {
            layout::archive_file_last(key).is_some_and(|last| last.0 <= watermark) && !named.contains(key)
        };
        self.folder(layout::ARCHIVE, file, |removed| &mut removed.files).await?;
        let older = move |key: &str| layout::parse_manifest(key).is_some_and(|n| n < first_manifest);
        self.folder(layout::MANIFESTS, older, |removed| &mut removed.manifests).await
    }

    /// The files of the manifest that stays and holds rows of commits that were pruned, if there is one.
    async fn named(&self, floor: &Floor) -> Result<BTreeSet<String>> {
        let key = layout::manifest(floor.first_manifest);
        let Some(bytes) = self.store.get(&key).await? else { return Ok(BTreeSet::new()) };
        let first: ArchiveManifest = envelope::open(Kind::ArchiveManifest, &key, bytes)?;
        Ok(first.files.into_iter().filter_map(|file| file.object).map(|object| object.key).collect())
    }
}
