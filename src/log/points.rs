//! Named restore points: instants that a person wants to keep. Nothing that a restore to one needs is pruned.

use std::time::{SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;

use super::coverage::Coverage;
use super::damage::Damage;
use super::envelope::{self, Kind};
use super::layout;
use super::reader::LogReader;
use super::store::Created;
use crate::error::{Error, Result};
use crate::pb::log::RestorePoint;
use crate::position::Seq;
use crate::tick::Tso;

/// The restore point in an object's bytes.
pub fn open(log_id: &str, key: &str, name: &str, bytes: bytes::Bytes) -> Result<RestorePoint, Damage> {
    let point: RestorePoint = envelope::open(Kind::RestorePoint, key, bytes)?;
    Damage::check_log(key, &point.log_id, log_id)?;
    if point.name == name {
        Ok(point)
    } else {
        Err(Damage::new(key, None, format!("is the restore point \"{}\"", point.name.escape_debug())))
    }
}

/// The restore points of a log, by name.
pub async fn all(reader: &LogReader) -> Result<Vec<RestorePoint>> {
    let mut points = Vec::new();
    for (key, _) in reader.store().list(layout::POINTS, None).await? {
        let Some(name) = layout::parse_point(&key) else { continue };
        if let Some(bytes) = reader.store().get(&key).await? {
            points.push(open(reader.log_id(), &key, name, bytes)?);
        }
    }
    Ok(points)
}

/// Keeps an instant, without one the log's last, under a name. The same again changes nothing; another instant under the
/// name is refused, like one that cannot be restored. `on_progress` gets each commit and the last one.
pub async fn keep(
    reader: &LogReader,
    name: &str,
    at: Option<Tso>,
    mut on_progress: impl FnMut(Seq, Seq),
) -> Result<RestorePoint> {
    let key = layout::point(name)?;
    let beginning = reader.beginning().await?;
    let mut coverage = beginning.as_ref().map(Coverage::after).unwrap_or_default();
    let last = reader.last().await?;
    let mut commits = Box::pin(reader.commits(beginning.map(|base| base.after), last));
    while let Some(sealed) = commits.try_next().await? {
        coverage.add(&sealed.commit);
        on_progress(sealed.seq(), last);
    }
    let tso = at.unwrap_or(coverage.watermark);
    if !coverage.holds(tso) {
        return Err(cannot_be_restored(tso, &coverage));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let point = RestorePoint {
        name: name.to_owned(),
        log_id: reader.log_id().to_owned(),
        tso: tso.0,
        wall_time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
    };
    match reader.store().create(&key, envelope::seal(Kind::RestorePoint, &point)).await? {
        Created::Yes => {}
        Created::No(existing) => {
            let existing = open(reader.log_id(), &key, name, existing)?;
            if at.is_none_or(|at| at.0 == existing.tso) {
                return Ok(existing);
            }
            let at = Tso(existing.tso);
            return Err(Error::refused(format!("\"{name}\" is {} ({at}) already", at.time()))
                .advice("choose another name, or release that one first"));
        }
    }
    // A prune that did not see it has put its floor before this look.
    match reader.floors().look().await?.filter(|floor| floor.watermark > point.tso) {
        None => Ok(point),
        Some(floor) => {
            reader.store().delete(&key).await?;
            Err(Error::refused(format!(
                "{} ({tso}) was pruned meanwhile: the log begins at {} ({})",
                tso.time(),
                Tso(floor.watermark).time(),
                floor.watermark
            ))
            .advice("choose a later instant"))
        }
    }
}

fn cannot_be_restored(tso: Tso, coverage: &Coverage) -> Error {
    let windows = coverage.windows.iter();
    let windows = windows.map(|window| {
        format!("{} ({}) to {} ({})", window.from.time(), window.from, window.to.time(), window.to)
    });
    let windows = windows.collect::<Vec<_>>();
    let error = Error::refused(format!("{} ({tso}) cannot be restored", tso.time()));
    match windows.is_empty() {
        true => error.advice("no instant of this log can be restored yet"),
        false => error.advice(format!("choose an instant from {}", windows.join(", or from "))),
    }
}

/// Releases a restore point: what it kept may be pruned. Refused: there is none of that name.
pub async fn release(reader: &LogReader, name: &str) -> Result<()> {
    let key = layout::point(name)?;
    if !reader.store().exists(&key).await? {
        return Err(Error::usage(format!("there is no restore point \"{name}\""))
            .advice("`tapedeck log timeline` lists them"));
    }
    reader.store().delete(&key).await
}
