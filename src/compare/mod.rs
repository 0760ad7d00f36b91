//! Whether a target holds what a source holds: definitions, counts, key sets, and every value of every row.
//!
//! Both are read page by page in the order of keys, side by side; of each side one page is in memory, as digests.
//! A source that is written to meanwhile cannot be stopped at an instant, for Milvus 2.3 has no time travel: what
//! differs is compared again, once the target has caught up, until it agrees or the time is over.

mod collection;
mod definition;
mod digest;
mod listing;
mod lookup;
mod merge;
mod pages;
mod part;
mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use report::{At, CollectionReport, KeyReport, Report, RowsReport};

use crate::backoff::Backoff;
use crate::change::CollectionName;
use crate::error::{Context, Error, Result};
use crate::selection::{Renames, Selection};
use crate::target::milvus::MilvusReader;
use crate::tick::Tso;
use collection::Pair;
use listing::Listing;

/// A time that ends, whatever was asked for.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// What is compared, and how.
pub struct Comparison {
    /// What should be copied.
    pub source: MilvusReader,
    /// Where the copy should be.
    pub target: MilvusReader,
    /// Which of the source's collections.
    pub selection: Selection,
    /// What they are called at the target.
    pub renames: Renames,
    /// At which TSO of the source; none: now, and again now whenever something is compared again.
    pub at: Option<Tso>,
    /// How long to compare again what differs.
    pub patience: Duration,
    /// How many keys that differ are shown of each collection.
    pub keys: usize,
}

/// Says when everything up to a TSO of the source is in the target.
pub trait Applied {
    /// Waits for it; false when `until` comes first.
    fn reaches(&self, tso: Tso, until: Instant) -> impl Future<Output = Result<bool>>;
}

/// For a target of which nobody knows: as if it were.
pub struct AtOnce;

impl Applied for AtOnce {
    async fn reaches(&self, _: Tso, _: Instant) -> Result<bool> {
        Ok(true)
    }
}

impl Comparison {
    /// Compares everything; `show` gets the name of each collection as its turn comes. Errors: a Milvus that does not
    /// answer, an instant that lies in the future, a target that does not reach the instant in time.
    pub async fn run(&self, applied: &impl Applied, mut show: impl FnMut(&CollectionName)) -> Result<Report> {
        let until = Instant::now() + self.patience.min(LONGEST);
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
        let (mut known, mut last) = (BTreeMap::new(), None);
        loop {
            let Some(at) = self.instant(applied, until).await? else {
                return last.unwrap_or_else(|| {
                    Err(Error::retry("the target does not hold everything up to the instant yet")
                        .advice("see the task's status, or give it more time (--wait)"))
                });
            };
            // what comes and goes while a target catches up may fail a question
            let round = self.round(at, &mut known, &mut show).await;
            if Instant::now() >= until || round.as_ref().is_ok_and(|report| report.equal) {
                return round;
            }
            last = Some(round);
            backoff.wait(&CancellationToken::new()).await;
        }
    }

    /// Compares what is not known to be equal.
    async fn round(
        &self,
        at: At,
        known: &mut BTreeMap<CollectionName, CollectionReport>,
        show: &mut impl FnMut(&CollectionName),
    ) -> Result<Report> {
        let Listing { databases, pairs } = self.list().await?;
        known.retain(|name, _| pairs.contains_key(name));
        for (source_name, target_name) in &pairs {
            let before = known.remove(source_name);
            let report = match before {
                Some(equal) if equal.equal => equal,
                before => {
                    show(source_name);
                    let (source, target) = (&self.source, &self.target);
                    let pair = Pair { source, target, source_name, target_name, at, show: self.keys };
                    pair.compare(before).await.context(|| format!("comparing {source_name}"))?
                }
            };
            known.insert(source_name.clone(), report);
        }
        let equal = databases.is_empty() && known.values().all(|report| report.equal);
        Ok(Report { equal, databases, collections: known.values().cloned().collect() })
    }

    /// From when on both are looked at; none: the target does not hold enough in time.
    async fn instant(&self, applied: &impl Applied, until: Instant) -> Result<Option<At>> {
        let now = self.source.now().await?;
        if let Some(at) = self.at.filter(|at| *at > now) {
            let message = format!("the instant {} ({at}) lies in the source's future", at.time());
            return Err(Error::usage(message).advice(format!("its clock shows {} ({now})", now.time())));
        }
        let source = self.at.unwrap_or(now);
        if !applied.reaches(source, until).await? {
            return Ok(None);
        }
        Ok(Some(At { source, target: self.target.now().await? }))
    }
}
