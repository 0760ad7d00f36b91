//! `/v1/logs`: what a log holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Api, Problem};
use crate::log::reader::no_log;
use crate::task::log::{self, LogView, Look};
use crate::task::spec::LogSpec;

/// A log is read no longer for one answer: less than a request may take.
const READ_TIME: Duration = Duration::from_secs(24);
/// Logs of which it is remembered what was read.
const MOST_LOOKS: usize = 64;

/// Which log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Its URL. Where a task has the same one, that task's options are used; else those of the service's environment.
    url: String,
}

/// What earlier answers have read, by URL.
#[derive(Debug, Default)]
pub struct Looks(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Look>>>>);

impl Looks {
    fn at(&self, url: &str) -> Arc<tokio::sync::Mutex<Look>> {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() >= MOST_LOOKS && !looks.contains_key(url) {
            looks.clear();
        }
        looks.entry(url.to_owned()).or_default().clone()
    }
}

/// Identity, windows of restores, holes and size of a log.
#[utoipa::path(get, path = "/v1/logs", tag = "logs", params(Which), responses(
    (status = 200, description = "The log.", body = LogView),
    (status = 404, description = "There is no log.", body = Problem),
    (status = 409, description = "The log is damaged.", body = Problem),
    (status = 422, description = "The URL is wrong.", body = Problem),
    (status = 502, description = "The store cannot be used.", body = Problem),
    (status = 503, description = "The store does not answer.", body = Problem),
))]
pub async fn log(
    State(api): State<Api>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<LogView>, Problem> {
    let Query(Which { url }) = which?;
    let spec = spec(&api, url);
    let look = api.looks.at(&spec.url);
    let found = log::view(&spec, &mut *look.lock().await, READ_TIME).await?;
    found.map(Json).ok_or_else(|| Problem::not_found(no_log(&spec.url).message))
}

/// How to reach a log: as a task does, if there is one.
pub fn spec(api: &Api, url: String) -> LogSpec {
    let tasks = api.service.list(None, usize::MAX);
    let known = tasks.iter().map(|task| &task.spec().log).find(|log| log.url == url);
    known.cloned().unwrap_or_else(|| LogSpec { url, options: Default::default(), encryption: None })
}
