//! Where a pruned log begins, and the bases that stand for what lies before.

use std::collections::BTreeSet;

use super::Verifier;
use super::schema::Schema;
use crate::error::Result;
use crate::log::base::{self, Base};
use crate::log::damage::Damage;
use crate::log::{commit, floor, layout};
use crate::position::Seq;

impl Verifier<'_> {
    /// Checks the floors and the base that the newest one names; whether it is known where the log begins.
    pub(super) async fn floors(&mut self) -> Result<bool> {
        let mut last = 0;
        let see = |key: &str, _| last = last.max(layout::parse_floor(key).unwrap_or_default());
        self.store.scan(layout::FLOOR, None, see).await?;
        let Some(log_id) = self.log_id.clone() else { return Ok(last == 0) };
        let mut newest = None;
        for n in 1..=last {
            let key = layout::floor(n);
            let bytes = self.read(&key).await?;
            let bytes = bytes
                .unwrap_or_else(|| Err(Damage::new(&key, None, "is missing, though later floors are there")));
            let opened = bytes.and_then(|bytes| floor::open(&log_id, n, bytes));
            let opened = opened.and_then(|next| floor::follows(newest.as_ref(), &next).map(|()| next));
            newest = self.report.note(opened);
        }
        let Some(newest) = newest else { return Ok(last == 0) };
        self.pruned = floor::base(&newest);
        self.beginning = self.manifest(self.pruned).await?;
        Ok(true)
    }

    async fn manifest(&mut self, seq: Seq) -> Result<Option<Base>> {
        let key = layout::base(seq);
        let bytes = self.read(&key).await?;
        let bytes = bytes
            .unwrap_or_else(|| Err(Damage::new(&key, None, "is missing, though the log begins with it")));
        let Some(log_id) = &self.log_id else { return Ok(None) };
        Ok(self.report.note(bytes.and_then(|bytes| base::open(log_id, seq, bytes))))
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
                _ if named.contains(&seq) => self.manifest(seq).await?,
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
        if let Some(Ok(bytes)) = self.read(&layout::commit(seq)).await?
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
