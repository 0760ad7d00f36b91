//! Where a pruned log begins, and the bases that stand for what lies before.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Verifier;
use super::schema::Schema;
use crate::error::Result;
use crate::log::base::{self, Base};
use crate::log::damage::Damage;
use crate::log::{commit, floor, layout};
use crate::position::Seq;

impl Verifier<'_> {
    /// Checks the floors that were not looked at yet, and the base that the newest one names; whether it is known
    /// where the log begins.
    pub(super) async fn floors(&mut self) -> Result<bool> {
        loop {
            let mut last = self.floors;
            let see = |key: &str, _| last = last.max(layout::parse_floor(key).unwrap_or_default());
            self.store.scan(layout::FLOOR, None, see).await?;
            let Some(log_id) = self.log_id.clone() else { return Ok(last == 0) };
            for n in self.floors.saturating_add(1)..=last {
                let key = layout::floor(n);
                let missing = || Err(Damage::new(&key, None, "is missing, though later floors are there"));
                let bytes = self.read(&key).await?.unwrap_or_else(missing);
                let opened = bytes.and_then(|bytes| floor::open(&log_id, n, bytes));
                let opened =
                    opened.and_then(|next| floor::follows(self.floor.as_ref(), &next).map(|()| next));
                self.floor = self.report.note(opened);
            }
            self.floors = last;
            let Some(newest) = &self.floor else { return Ok(last == 0) };
            self.pruned = floor::base(newest);
            let found = self.read(&layout::base(self.pruned)).await?;
            if found.is_none() && self.is_overtaken().await? {
                continue;
            }
            self.beginning = self.manifest(self.pruned, found);
            return Ok(true);
        }
    }

    /// Whether there is a floor that was not looked at yet.
    async fn is_overtaken(&self) -> Result<bool> {
        self.store.exists(&layout::floor(self.floors.saturating_add(1))).await
    }

    /// Whether a missing object of a commit, or of its base, is no damage: it went below a floor meanwhile.
    pub(super) async fn has_gone(&mut self, seq: Seq, key: &str) -> Result<bool> {
        if self.is_overtaken().await? {
            self.floors().await?;
        }
        // Of the commit with whose base the log begins its catalog stays.
        let of_commit = layout::parse_commit(key).is_some() || layout::parse_segment(key).is_some();
        Ok(seq < self.pruned || (seq == self.pruned && of_commit))
    }

    /// The commit after one. Where a prune has overtaken that: after the base with which the log begins now.
    pub(super) async fn after(&mut self, seq: Seq) -> Result<Seq> {
        let mut begins = None;
        while seq <= self.pruned && begins != Some(self.pruned) {
            begins = Some(self.pruned);
            self.go_on_after(self.pruned).await?;
        }
        Ok(seq.max(self.pruned).next())
    }

    fn manifest(&mut self, seq: Seq, found: Option<Result<Bytes, Damage>>) -> Option<Base> {
        let log_id = self.log_id.as_ref()?;
        let missing =
            || Err(Damage::new(&layout::base(seq), None, "is missing, though the log begins with it"));
        let found = found.unwrap_or_else(missing);
        self.report.note(found.and_then(|bytes| base::open(log_id, seq, bytes)))
    }

    /// Checks the bases from a commit on.
    pub(super) async fn bases<F: Future<Output = ()>>(
        &mut self,
        from: Seq,
        mut on_progress: impl FnMut(Seq, u64) -> F,
    ) -> Result<()> {
        let from = from.max(self.pruned);
        let (mut named, mut all) = (BTreeSet::new(), BTreeSet::new());
        let see = |key: &str, _| {
            named.extend(layout::parse_base(key));
            all.extend(layout::parse_base(key).or_else(|| layout::parse_base_segment(key)));
        };
        self.store.scan(layout::BASES, None, see).await?;
        for seq in all.range(from..).copied() {
            let mut unnamed = BTreeSet::new();
            let see = |key: &str, _| unnamed.extend([key.to_owned()]);
            self.store.scan(&layout::base_folder(seq), None, see).await?;
            let base = match self.beginning.take_if(|base| base.seq() == seq) {
                // It has been read, and told if it is damaged.
                known if seq == self.pruned => known,
                _ if named.contains(&seq) => {
                    let key = layout::base(seq);
                    match self.read(&key).await? {
                        None if self.has_gone(seq, &key).await? => None,
                        found => self.manifest(seq, found),
                    }
                }
                _ => None,
            };
            if let Some(base) = base {
                self.base(base, &mut unnamed, &mut on_progress).await?;
            }
            unnamed.into_iter().for_each(|key| self.report.orphan(key));
        }
        Ok(())
    }

    /// A base is of a commit of this log, and its definitions make that commit's catalog.
    async fn base<F: Future<Output = ()>>(
        &mut self,
        base: Base,
        unnamed: &mut BTreeSet<String>,
        on_progress: &mut impl FnMut(Seq, u64) -> F,
    ) -> Result<()> {
        let seq = base.seq();
        // In the slot of the commit with whose base the log begins a writer that slept may have put another one.
        if seq > self.pruned
            && let Some(Ok(bytes)) = self.read(&layout::commit(seq)).await?
            && commit::digest(&bytes) != base.after.digest
        {
            let why = format!("is the base of another commit {seq} than the log has");
            self.report.note::<()>(Err(Damage::new(&layout::base(seq), None, why)));
        } else {
            self.report.bases += 1;
        }
        let log = std::mem::replace(&mut self.schema, Schema::beginning());
        for object in &base.segments {
            unnamed.remove(&object.key);
            match self.segment(seq, object).await? {
                Some(segment) => drop(self.report.note(self.schema.read(&object.key, seq, &segment))),
                None => self.schema.lose(),
            }
            on_progress(seq, self.report.bytes).await;
        }
        self.catalog(&base.after.commit).await?;
        self.schema = log;
        Ok(())
    }
}
