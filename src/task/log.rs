//! What a log holds, for people who want to restore.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::connect;
use super::spec::LogSpec;
use super::status::{Moment, moment};
use super::validate;
use crate::error::Result;
use crate::log::layout;
use crate::log::reader::LogReader;
use crate::position::Position;
use crate::tick::Tso;

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
    /// Instants that it can be restored to; none before its first cut.
    pub windows: Vec<Window>,
    /// Ranges of the source that it lacks.
    pub holes: Vec<HoleView>,
    /// The last commit.
    pub commits: u64,
    /// Objects that are stored.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Instants that can be restored, both ends included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Window {
    /// From here...
    pub from: Moment,
    /// ...to here.
    pub to: Moment,
}

/// A range of a channel that the log lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HoleView {
    /// The channel.
    pub channel: String,
    /// First position that is missing.
    pub start: String,
    /// The position after the last one that is missing.
    pub end: String,
    /// Why.
    pub reason: String,
}

/// Reads a log's identity, its last commit and the sizes of its objects; nothing where no log is. Holes are those of the
/// last commit.
pub async fn view(spec: &LogSpec) -> Result<Option<LogView>> {
    validate::log(spec)?;
    let Some(store) = connect::store_to_read(spec).await? else { return Ok(None) };
    let Some(reader) = LogReader::find(store.clone()).await? else { return Ok(None) };
    let last = match reader.tail().await? {
        Some(seq) => reader.commit(seq).await?.map(|sealed| sealed.commit),
        None => None,
    };
    let (mut objects, mut bytes) = (0u64, 0u64);
    for folder in [layout::COMMITS, layout::SEGMENTS, layout::CATALOGS] {
        for (_, size) in store.list(folder, None).await? {
            objects = objects.saturating_add(1);
            bytes = bytes.saturating_add(size);
        }
    }
    let identity = reader.identity();
    let last = last.unwrap_or_default();
    let window = moment(Tso(last.opens_at)).zip(moment(Tso(last.watermark)));
    Ok(Some(LogView {
        url: spec.url.clone(),
        log_id: identity.log_id.clone(),
        created: identity.created.clone(),
        format: identity.format,
        windows: window.map(|(from, to)| Window { from, to }).into_iter().collect(),
        holes: last.holes.into_iter().map(HoleView::from).collect(),
        commits: last.seq,
        objects,
        bytes,
    }))
}

impl From<crate::pb::log::Hole> for HoleView {
    fn from(hole: crate::pb::log::Hole) -> HoleView {
        HoleView {
            channel: hole.channel,
            start: Position::from(hole.start.unwrap_or_default()).to_string(),
            end: Position::from(hole.end.unwrap_or_default()).to_string(),
            reason: hole.reason,
        }
    }
}
