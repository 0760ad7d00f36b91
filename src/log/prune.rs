//! Pruning: the history that nobody needs any more goes, and the log begins with a base.
//!
//! First a floor is put, which says what is gone for good; only then anything goes. Stopped anywhere, the next prune does
//! what the newest floor says, also where no higher one can be put. Of two prunes that put a floor at once the slower one
//! looks again. What goes is found by listings, which are not held: whatever crashed writers have left below the floor goes
//! with the rest, and a key that is none of the log's is never touched.
//!
//! # Pins
//!
//! Where a replayer stands, and each named restore point, is a pin: nothing that it needs goes. A pin may be set while a
//! prune is at work. Whoever sets one puts its object first and looks at the floor after that; a prune puts its floor first
//! and looks at the pins after that, before anything goes. Of these two looks at least one comes after both puts. If it is
//! that of the one who pins, the floor above it is seen, and he is refused before he has relied on anything. If it is that
//! of the prune, the pin is seen, and everything stays until the pin has moved above the floor. (The pins are also read
//! before the floor is chosen, so that this is the exception.)
//!
//! A replayer whose pin was seen only then reads on, for what it needs is there. A restore point keeps its history then,
//! but a restore that begins below a floor is refused all the same.

mod decision;
mod pins;
mod sweep;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::base::{self, Base};
use super::damage::Damage;
use super::envelope::{self, Kind};
use super::reader::LogReader;
use super::store::{Created, Store};
use super::tail::MANIFESTS;
use super::{floor, layout};
use crate::error::{Error, Result};
use crate::pb::log::{ArchiveManifest, Floor};
use crate::position::Seq;
use crate::tick::Tso;

use decision::{Decision, Found, decide};
use pins::pins;

pub use decision::Keep;
pub use sweep::Removed;

/// What a prune did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was changed: the rest says what would be.
    pub dry_run: bool,
    /// The first commit that stays.
    pub first_commit: u64,
    /// From this instant on the log can be restored, RFC 3339; none where nothing was pruned ever.
    pub begins_at: Option<String>,
    /// Whether the floor was raised to there now.
    pub raised: bool,
    /// What is in the way of a higher floor.
    pub in_the_way: Vec<String>,
    /// Whether that is readers and restore points alone.
    pub held: bool,
    /// Who still needs what lies below the floor: it stays until a later prune.
    pub waits_for: Vec<String>,
    /// Objects that went.
    pub removed: Removed,
}

/// Raises the floor as far as what is to be kept allows, and takes away what lies below it. Nothing that can go is no
/// error. Refused, and nothing goes: a checkpoint, a restore point or a base that cannot be read. `on_progress` is called
/// after each object that went.
pub async fn prune(
    store: Store,
    keep: Keep,
    dry_run: bool,
    on_progress: impl FnMut(&Removed),
) -> Result<Report> {
    let reader = LogReader::open(store.clone()).await?;
    let mut report = Report { dry_run, first_commit: 1, ..Report::default() };
    let raised = loop {
        match decide(keep, &found(&reader).await?) {
            Decision::Stays(in_the_way) => {
                report.in_the_way = in_the_way;
                break None;
            }
            Decision::Held(in_the_way) => {
                (report.in_the_way, report.held) = (in_the_way, true);
                break None;
            }
            Decision::Rises(base) => {
                let raised = raise(&reader, keep, base, dry_run).await?;
                report.raised = raised.is_some();
                if report.raised {
                    break raised;
                }
            }
        }
    };
    let standing = match raised {
        Some(raised) if dry_run => Some(raised),
        _ => standing(&reader).await?,
    };
    let Some((floor, base)) = standing else { return Ok(report) };
    report.first_commit = floor.first_seq;
    report.begins_at = Some(base.watermark().time());
    let pins = pins(&reader).await?.into_iter();
    let needing = pins.filter(|pin| pin.needs_below(base.seq(), base.watermark()));
    report.waits_for = needing.map(|pin| pin.to_string()).collect();
    if report.waits_for.is_empty() {
        report.removed = sweep::sweep(&store, &floor, &base, dry_run, on_progress).await?;
    }
    Ok(report)
}

/// What matters for a decision. Bases that go meanwhile are below the floor of another prune.
async fn found(reader: &LogReader) -> Result<Found> {
    let floor = reader.floors().look().await?.as_ref().map(floor::base).unwrap_or_default();
    let last = reader.last().await?;
    let tail = match last {
        Seq(0) => Tso::ZERO,
        last => Tso(reader.existing(last).await?.commit.watermark),
    };
    // A recorder goes on after the last commit. No key of its own opens a base that could stand for it.
    let kept = reader.store().is_encrypted().then_some(last);
    let mut bases = Vec::new();
    for seq in reader.bases().await?.into_iter().filter(|seq| *seq > floor) {
        bases.extend(reader.base(seq).await?.map(|base| (seq, base.watermark())));
    }
    Ok(Found { tail, kept, bases, pins: pins(reader).await? })
}

/// The newest floor and the base that the log begins with; none: nothing was pruned.
async fn standing(reader: &LogReader) -> Result<Option<(Floor, Base)>> {
    while let Some(base) = reader.beginning().await? {
        if let Some(floor) = reader.floors().seen().filter(|floor| floor::base(floor) == base.seq()) {
            return Ok(Some((floor, base)));
        }
    }
    Ok(None)
}

/// Puts the floor of a base; none: another prune has put one meanwhile.
async fn raise(reader: &LogReader, keep: Keep, seq: Seq, dry_run: bool) -> Result<Option<(Floor, Base)>> {
    let seen = reader.floors().seen();
    let (floor, base) = match draft(reader, seen.as_ref(), keep, seq).await {
        Err(_) if reader.floors().look().await? != seen => return Ok(None),
        drafted => drafted?,
    };
    if dry_run {
        return Ok(Some((floor, base)));
    }
    match reader.store().create(&layout::floor(floor.n), floor::seal(&floor)).await? {
        Created::Yes => Ok(Some((floor, base))),
        Created::No(_) => Ok(None),
    }
}

/// The floor of a base that stands after another floor.
async fn draft(reader: &LogReader, seen: Option<&Floor>, keep: Keep, seq: Seq) -> Result<(Floor, Base)> {
    let gone = || Error::retry(format!("{} went while it was looked at", layout::base(seq)));
    let base = reader.base(seq).await?.ok_or_else(gone)?;
    check(reader, &base).await?;
    let first_seq = seq.next().0;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let next = Floor {
        n: seen.map_or(0, |floor| floor.n).saturating_add(1),
        log_id: reader.log_id().to_owned(),
        first_seq,
        watermark: base.watermark().0,
        first_manifest: first_manifest(reader.store(), seen, first_seq).await?,
        wall_time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        reason: keep.to_string(),
    };
    floor::follows(seen, &next)?;
    Ok((next, base))
}

/// A base that the log is to begin with must be whole: of this log's commit, and all that it names is read once more, for
/// what it stands for goes.
async fn check(reader: &LogReader, base: &Base) -> Result<()> {
    let seq = base.seq();
    if reader.existing(seq).await?.digest != base.after.digest {
        let why = format!("is the base of another commit {seq} than the log has");
        return Err(Damage::new(&layout::base(seq), None, why).into());
    }
    if let Some(named) = &base.after.commit.catalog {
        reader.catalog(named).await?;
    }
    base::check_stored(reader, base).await?;
    for segment in &base.segments {
        reader.segment(segment).await?;
    }
    Ok(())
}

/// The first manifest of the archive with rows of commits that stay; the next to be written where there is none.
async fn first_manifest(store: &Store, seen: Option<&Floor>, first_seq: u64) -> Result<u64> {
    let gone = seen.map_or(0, |floor| floor.first_manifest.saturating_sub(1));
    let (mut low, mut high) = (gone, MANIFESTS.last(store, gone).await?.saturating_add(1));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if manifest(store, middle).await?.last_seq < first_seq {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(high)
}

/// A manifest of the archive that must be there.
async fn manifest(store: &Store, n: u64) -> Result<ArchiveManifest> {
    let key = layout::manifest(n);
    let bytes = store.get(&key).await?;
    let bytes = bytes.ok_or_else(|| Error::retry(format!("{key} was there and is not now, in {store}")))?;
    Ok(envelope::open(Kind::ArchiveManifest, &key, bytes)?)
}
