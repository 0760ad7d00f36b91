//! Who needs what: where replayers stand, and named restore points.

use std::collections::BTreeSet;
use std::fmt;

use crate::error::{Context, Error, Result};
use crate::log::checkpoint::{self, Checkpoints};
use crate::log::damage::Damage;
use crate::log::reader::LogReader;
use crate::log::{layout, points};
use crate::pb::log::Checkpoint;
use crate::position::Seq;
use crate::tick::Tso;

/// How often a checkpoint may be replaced while it is looked for.
const TRIES: u32 = 5;

/// One who needs a part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// A replayer needs what comes after a commit.
    Reader {
        /// Its task.
        name: String,
        /// The commit.
        seq: Seq,
    },
    /// A restore to a named instant needs what leads there.
    Point {
        /// Its name.
        name: String,
        /// The instant.
        at: Tso,
    },
}

impl Pin {
    /// Whether it needs more than a base of this commit and watermark, and what comes after.
    pub fn needs_below(&self, base: Seq, watermark: Tso) -> bool {
        match self {
            Pin::Reader { seq, .. } => *seq < base,
            Pin::Point { at, .. } => *at < watermark,
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pin::Reader { name, seq } => write!(
                f,
                "reader {name} needs what follows commit {seq} (where it is no more: delete the folder {}/{name})",
                layout::READERS
            ),
            Pin::Point { name, at } => write!(
                f,
                "restore point {name} is at {} (`tapedeck log keep URL {name} --release`)",
                at.time()
            ),
        }
    }
}

/// All of a log. What cannot be read is an error: it may be a pin.
pub async fn pins(reader: &LogReader) -> Result<Vec<Pin>> {
    let mut names = BTreeSet::new();
    let see = |key: &str, _| names.extend(layout::parse_reader(key).map(str::to_owned));
    reader.store().scan(layout::READERS, None, see).await?;
    let mut pins = Vec::new();
    for name in names {
        let checkpoint = last(reader, &name).await.context(|| format!("reader {name}"))?;
        if let Some(seq) = checkpoint.as_ref().and_then(checkpoint::pinned) {
            pins.push(Pin::Reader { name, seq });
        }
    }
    let points = points::all(reader).await?.into_iter();
    pins.extend(points.map(|point| Pin::Point { name: point.name, at: Tso(point.tso) }));
    Ok(pins)
}

async fn last(reader: &LogReader, name: &str) -> Result<Option<Checkpoint>> {
    let mut failed = Error::retry("no try");
    for _ in 0..TRIES {
        match Checkpoints::open(reader.store().clone(), name).await {
            Ok((_, last)) => {
                if let Some(last) = &last {
                    let key = layout::checkpoint(&layout::reader(name)?, last.n);
                    Damage::check_log(&key, &last.log_id, reader.log_id())?;
                }
                return Ok(last);
            }
            // A replayer at work has replaced it.
            Err(error) if error.is_retry() => failed = error,
            Err(error) => return Err(error),
        }
    }
    Err(failed)
}
