//! `/v1/logs/timeline`: what happened in a log.

use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use utoipa::IntoParams;

use super::{Api, Problem, logs};
use crate::error::{Error, Result};
use crate::log::reader::no_log;
use crate::log::timeline::{Entry, Part, timeline as tell};
use crate::period::Period;
use crate::task::log;
use crate::tick::Tso;

const USUAL_PERIOD: Duration = Duration::from_secs(3600);
/// Lines that are read before they are sent.
const LINES_AHEAD: usize = 64;
/// Each has some segments in memory.
const MOST_AT_ONCE: usize = 4;
static TURNS: Semaphore = Semaphore::const_new(MOST_AT_ONCE);

/// Which part of which log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Its URL, as of `/v1/logs`.
    url: String,
    /// Changes from this instant on: a TSO or RFC 3339.
    from: Option<String>,
    /// Changes up to this instant, included.
    to: Option<String>,
    /// The time over which rows are counted together; 1h where it is left out.
    #[param(value_type = Option<String>)]
    period: Option<Period>,
}

/// What `tapedeck log timeline --json` prints, as it is read, a JSON object a line: changes of definitions
/// with their instants, deletes, rows per period, holes, restore points, windows, and the totals last. An
/// answer that breaks off before those is not all: a damage or the store was in the way.
#[utoipa::path(get, path = "/v1/logs/timeline", tag = "logs", params(Which), responses(
    (status = 200, description = "The entries.", body = String, content_type = "application/x-ndjson"),
    (status = 404, description = "There is no log.", body = Problem),
    (status = 409, description = "The log is damaged.", body = Problem),
    (status = 422, description = "The URL or an instant is wrong.", body = Problem),
    (status = 502, description = "The store cannot be used.", body = Problem),
    (status = 503, description = "The store does not answer, or many timelines are being read.", body = Problem),
))]
pub async fn timeline(
    State(api): State<Api>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Which { url, from, to, period }) = which?;
    let part = Part {
        from: from.map_or(Ok(Tso::ZERO), |from| from.parse())?,
        to: to.map_or(Ok(Tso::MAX), |to| to.parse())?,
        period: period.map_or(USUAL_PERIOD, |Period(period)| period),
    };
    let spec = logs::spec(&api, url);
    let turn = TURNS.try_acquire().map_err(|_| {
        Error::retry(format!("{MOST_AT_ONCE} timelines are being read"))
            .advice("ask again when one has ended")
    })?;
    let reader = log::reader(&spec).await?;
    let reader = reader.ok_or_else(|| Problem::not_found(no_log(&spec.url).message))?;
    let (lines, mut told) = mpsc::channel(LINES_AHEAD);
    let telling = AbortOnDropHandle::new(tokio::spawn(async move {
        let _turn = turn;
        let show = |entry| {
            let (line, lines) = (line(&entry), &lines);
            async move { lines.send(Ok(line?)).await.map_err(|_| Error::operator("nobody reads any more")) }
        };
        if let Err(error) = tell(&reader, part, show, |_, _| {}).await {
            // Nobody may be reading.
            let _ = lines.send(Err(error)).await;
        }
    }));
    // What is wrong at once still gets a status of its own.
    let first = told.recv().await.transpose()?;
    let rest = stream::unfold((told, telling), |(mut told, telling)| async move {
        told.recv().await.map(|line| (line, (told, telling)))
    });
    let body = Body::from_stream(stream::iter(first.map(Ok)).chain(rest));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

fn line(entry: &Entry) -> Result<String> {
    let line = serde_json::to_string(entry).map_err(|error| Error::operator(error.to_string()))?;
    Ok(line + "\n")
}
