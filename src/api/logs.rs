//! `/v1/logs`: what a log holds.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Api, Problem};
use crate::task::log::{self, LogView};
use crate::task::spec::LogSpec;

/// Which log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Its URL. Where a task has the same one, that task's options are used; else those of the service's environment.
    url: String,
}

/// Identity, window of restores, holes and size of a log.
#[utoipa::path(get, path = "/v1/logs", tag = "logs", params(Which), responses(
    (status = 200, description = "The log.", body = LogView),
    (status = 502, description = "There is no log, or it cannot be reached.", body = Problem),
))]
pub async fn log(
    State(api): State<Api>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<LogView>, Problem> {
    let Query(Which { url }) = which?;
    let tasks = api.service.list(None, usize::MAX);
    let known = tasks.iter().map(|task| &task.spec().log).find(|log| log.url == url);
    let spec = known.cloned().unwrap_or_else(|| LogSpec { url, options: Default::default() });
    Ok(Json(log::view(&spec).await?))
}
