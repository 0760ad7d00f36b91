//! Takes away what lies below a floor.

use serde::Serialize;

use super::manifest;
use crate::error::Result;
use crate::log::base::Base;
use crate::log::layout;
use crate::log::store::Store;
use crate::pb::log::Floor;

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
    /// Their files.
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

    /// A manifest goes after its files: it alone names them. One file's rows lie above the floor only where an archiver
    /// that slept has named it once more.
    async fn archive(&mut self, floor: &Floor) -> Result<()> {
        let mut numbers = Vec::new();
        let see = |key: &str, _| {
            numbers.extend(layout::parse_manifest(key).filter(|n| *n < floor.first_manifest));
        };
        self.store.scan(layout::MANIFESTS, None, see).await?;
        numbers.sort_unstable();
        for n in numbers {
            let files = manifest(self.store, n).await?.files.into_iter().filter_map(|file| file.object);
            let pruned =
                files.filter(|file| layout::is_archive_file(&file.key) && file.last_tso <= floor.watermark);
            for file in pruned {
                self.object(&file.key, |removed| &mut removed.files).await?;
            }
            self.object(&layout::manifest(n), |removed| &mut removed.manifests).await?;
        }
        Ok(())
    }

    async fn object(&mut self, key: &str, of: fn(&mut Removed) -> &mut u64) -> Result<()> {
        if !self.dry_run {
            self.store.delete(key).await?;
        }
        *of(&mut self.removed) += 1;
        (self.on_progress)(&self.removed);
        Ok(())
    }
}
