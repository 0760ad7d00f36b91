//! One collection at both: its definition, then its rows.

use super::definition::{self, Layout};
use super::lookup::{look_up, state};
use super::merge::{Merge, Side, Step};
use super::pages::Pages;
use super::part::Part;
use super::report::{At, CollectionReport, Differing, RowsReport, State};
use crate::change::CollectionName;
use crate::error::Result;
use crate::rows::Key;
use crate::target::milvus::MilvusReader;

/// Of differing keys that are kept, so that they can be looked at again.
const MOST_KEPT_BYTES: usize = 1 << 20;
/// Keys in one question.
const KEYS_AT_ONCE: usize = 256;
const MOST_PAGE_ROWS: usize = 16384;
const PAGE_BYTES: usize = 16 << 20;

/// A collection and the one that should be its copy.
pub(super) struct Pair<'a> {
    pub source: &'a MilvusReader,
    pub target: &'a MilvusReader,
    pub source_name: &'a CollectionName,
    pub target_name: &'a CollectionName,
    pub at: At,
    /// Differing keys that are shown.
    pub show: usize,
}

impl Pair<'_> {
    /// Compares them. Where `before` tells of the rows of both which keys differ, only those are compared again.
    pub async fn compare(&self, before: Option<CollectionReport>) -> Result<CollectionReport> {
        let (source, target) =
            futures::try_join!(self.source.find(self.source_name), self.target.find(self.target_name))?;
        let mut report =
            CollectionReport::new(self.source_name.to_string(), self.target_name.to_string(), self.at);
        let (source, target) = match (source, target) {
            (Some(source), Some(target)) => (source, target),
            (None, None) => {
                report.notes.push("gone at both".to_owned());
                report.conclude();
                return Ok(report);
            }
            (source, _) => {
                let side = if source.is_some() { "target" } else { "source" };
                report.definition.push(format!("it is not at the {side}"));
                return Ok(report);
            }
        };
        let found = definition::differences(&source, &target);
        (report.definition, report.notes) = (found.differences, found.by_design);
        if let Some(layout) = definition::layout(&source, &target) {
            report.notes.extend(layout.notes.iter().cloned());
            if !layout.partitions.is_empty() {
                self.rows(&layout, before, &mut report).await?;
            }
        }
        report.conclude();
        Ok(report)
    }

    async fn rows(
        &self,
        layout: &Layout,
        before: Option<CollectionReport>,
        report: &mut CollectionReport,
    ) -> Result<()> {
        let mut rows = match before.and_then(|before| report.go_on(before, layout)) {
            Some(known) => known,
            None => {
                let mut rows = RowsReport::of(layout.clone());
                for partition in &layout.partitions {
                    self.partition(layout, partition.as_deref(), &mut rows).await?;
                }
                rows
            }
        };
        let agreed = self.look_again(layout, &mut rows).await?;
        rows.settled = rows.settled.saturating_add(agreed);
        if rows.settled > 0 {
            let settled = rows.settled;
            report.notes.push(format!("{settled} keys changed meanwhile, and agreed when compared again"));
        }
        rows.show(self.show);
        report.rows = Some(rows);
        Ok(())
    }

    async fn partition(&self, layout: &Layout, partition: Option<&str>, rows: &mut RowsReport) -> Result<()> {
        let size = (PAGE_BYTES / layout.width.max(1)).clamp(1, MOST_PAGE_ROWS);
        let pages = |side| Pages::new(self.part(side, layout, partition), size);
        let (mut source, mut target) = (pages(Side::Source), pages(Side::Target));
        let mut merge = Merge::default();
        // the first pages of both at once
        let (ours, theirs) = futures::try_join!(source.next(), target.next())?;
        merge.feed(Side::Source, ours.0, ours.1);
        merge.feed(Side::Target, theirs.0, theirs.1);
        loop {
            let (key, state) = match merge.step() {
                Step::Feed(side) => {
                    let (page, last) = match side {
                        Side::Source => source.next().await?,
                        Side::Target => target.next().await?,
                    };
                    merge.feed(side, page, last);
                    continue;
                }
                Step::Only(side, row) => (row.key, State::Only(side)),
                Step::Both(ours, theirs) if ours.agrees(&theirs) => continue,
                Step::Both(ours, _) => (ours.key, State::Different(Vec::new())),
                Step::End => break,
            };
            rows.note(Differing { partition: partition.map(str::to_owned), key, state }, MOST_KEPT_BYTES);
        }
        rows.add(source.tally, target.tally);
        Ok(())
    }

    /// Looks at the kept keys once more, where these are all; else at those that are shown. How many agree now.
    async fn look_again(&self, layout: &Layout, rows: &mut RowsReport) -> Result<u64> {
        let most = if rows.keeps_all() { rows.found.len() } else { self.show.min(rows.found.len()) };
        let found = rows.found.iter().take(most).cloned().enumerate().collect::<Vec<_>>();
        let mut agreed = 0;
        for partition in &layout.partitions {
            let here = found.iter().filter(|(_, found)| found.partition == *partition).collect::<Vec<_>>();
            for some in here.chunks(KEYS_AT_ONCE) {
                let keys = some.iter().map(|(_, found)| found.key.clone()).collect::<Vec<_>>();
                let states = self.states(layout, partition.as_deref(), &keys).await?;
                for ((number, _), state) in some.iter().zip(states) {
                    agreed += u64::from(rows.settle(*number, state));
                }
            }
        }
        Ok(agreed)
    }

    /// How these keys are at both.
    async fn states(&self, layout: &Layout, partition: Option<&str>, keys: &[Key]) -> Result<Vec<State>> {
        let [ours, theirs] = [Side::Source, Side::Target].map(|side| self.part(side, layout, partition));
        let (ours, theirs) = futures::try_join!(look_up(&ours, keys), look_up(&theirs, keys))?;
        Ok(ours.iter().zip(&theirs).map(|(ours, theirs)| state(ours, theirs, &layout.fields)).collect())
    }

    fn part<'a>(&'a self, side: Side, layout: &'a Layout, partition: Option<&'a str>) -> Part<'a> {
        let (reader, name, guarantee) = match side {
            Side::Source => (self.source, self.source_name, self.at.source),
            Side::Target => (self.target, self.target_name, self.at.target),
        };
        Part { reader, name, guarantee, layout, partition }
    }
}
