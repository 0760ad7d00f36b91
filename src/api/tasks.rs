//! `/v1/tasks`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Api, Problem};
use crate::task::runner::Task;
use crate::task::service::Creation;
use crate::task::spec::{self, TaskSpec};
use crate::task::status::Status;

const USUAL_PAGE: usize = 100;
const MOST_PAGE: usize = 1000;

/// A task as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// What was asked for; secrets by reference.
    pub spec: TaskSpec,
    /// When (RFC 3339).
    pub created: String,
    /// How it is.
    pub status: Status,
}

impl From<&Task> for TaskView {
    fn from(task: &Task) -> TaskView {
        TaskView { spec: (**task.spec()).clone(), created: task.created(), status: task.status() }
    }
}

/// A page of tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskList {
    /// By name.
    pub tasks: Vec<TaskView>,
    /// `after` of the next page; null on the last.
    pub next: Option<String>,
}

/// How to create.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HowToCreate {
    /// Whether every connection is tried first, so that a task that cannot work is not created. True where it is left out.
    check: Option<bool>,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// The last name of the page before.
    after: Option<String>,
    /// Tasks on a page: 1 to 1000, usually 100.
    limit: Option<usize>,
}

/// Creates a task and starts it. The same document again is answered with 200.
#[utoipa::path(post, path = "/v1/tasks", tag = "tasks", params(HowToCreate), request_body = TaskSpec, responses(
    (status = 201, description = "Created.", body = TaskView),
    (status = 200, description = "It was there, with the same document.", body = TaskView),
    (status = 400, description = "The body is no JSON, or the query is wrong.", body = Problem),
    (status = 409, description = "It was there, with another document.", body = Problem),
    (status = 413, description = "The body is larger than 1 MB.", body = Problem),
    (status = 415, description = "The body is not said to be JSON.", body = Problem),
    (status = 422, description = "The document has an unknown field or a wrong value, or a connection does not work. Nothing was created.", body = Problem),
))]
pub async fn create(
    State(api): State<Api>,
    how: Result<Query<HowToCreate>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Query(how) = how?;
    let spec = TaskSpec::parse(&json(&headers, body)?)?;
    let (status, task) = match api.service.create(spec, how.check.unwrap_or(true)).await? {
        Creation::New(task) => (StatusCode::CREATED, task),
        Creation::Same(task) => (StatusCode::OK, task),
    };
    let location = format!("/v1/tasks/{}", task.spec().name);
    Ok((status, [(header::LOCATION, location)], Json(TaskView::from(&*task))).into_response())
}

/// All tasks, by name.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", params(Page), responses(
    (status = 200, description = "A page of tasks.", body = TaskList),
))]
pub async fn list(
    State(api): State<Api>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<TaskList>, Problem> {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(USUAL_PAGE).clamp(1, MOST_PAGE);
    let mut found = api.service.list(page.after.as_deref(), limit.saturating_add(1));
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|task| task.spec().name.clone());
    Ok(Json(TaskList { tasks: found.iter().map(|task| TaskView::from(&**task)).collect(), next }))
}

/// One task.
#[utoipa::path(get, path = "/v1/tasks/{name}", tag = "tasks", params(("name" = String, Path)), responses(
    (status = 200, description = "The task.", body = TaskView),
    (status = 404, description = "No such task.", body = Problem),
))]
pub async fn get(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<TaskView>, Problem> {
    Ok(Json(TaskView::from(&*api.service.get(&name?.0)?)))
}

/// Stops a task until it is resumed.
#[utoipa::path(post, path = "/v1/tasks/{name}/pause", tag = "tasks", params(("name" = String, Path)), responses(
    (status = 200, description = "It is paused.", body = TaskView),
    (status = 404, description = "No such task.", body = Problem),
    (status = 409, description = "It is done.", body = Problem),
))]
pub async fn pause(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<TaskView>, Problem> {
    Ok(Json(TaskView::from(&*api.service.pause(&name?.0).await?)))
}

/// Starts a paused or failed task again, where it had stopped.
#[utoipa::path(post, path = "/v1/tasks/{name}/resume", tag = "tasks", params(("name" = String, Path)), responses(
    (status = 200, description = "It works.", body = TaskView),
    (status = 404, description = "No such task.", body = Problem),
    (status = 409, description = "It is done.", body = Problem),
))]
pub async fn resume(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<TaskView>, Problem> {
    Ok(Json(TaskView::from(&*api.service.resume(&name?.0).await?)))
}

/// Stops a task and forgets it. Its log stays.
#[utoipa::path(delete, path = "/v1/tasks/{name}", tag = "tasks", params(("name" = String, Path)), responses(
    (status = 204, description = "It is forgotten."),
    (status = 404, description = "No such task.", body = Problem),
))]
pub async fn delete(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    api.service.delete(&name?.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The body of a request that says that it is JSON, and is: what a foreign page sends without asking first does not
/// say so.
pub fn json(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let body = body?;
        spec::check_json(&body).map_err(Problem::malformed)?;
        Ok(body)
    } else {
        Err(Problem::media_type())
    }
}
