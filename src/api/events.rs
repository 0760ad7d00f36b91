//! `/v1/tasks/{name}/events`: what happened, as a list or as a stream.

use std::convert::Infallible;
use std::future::ready;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio_stream::wrappers::BroadcastStream;
use utoipa::{IntoParams, ToSchema};

use super::{Api, Problem};
use crate::task::events::{Event, Events};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// Newest first.
    pub events: Vec<Event>,
}

/// How to show events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HowToShow {
    /// Given (with no value, or `true`): a stream (SSE) of those that are kept, oldest first, and those to come.
    follow: Option<String>,
    /// How many, newest first; all that are kept (256) where it is left out.
    limit: Option<usize>,
}

/// What happened to a task since the service started, newest first.
#[utoipa::path(get, path = "/v1/tasks/{name}/events", tag = "tasks", params(("name" = String, Path), HowToShow), responses(
    (status = 200, description = "The events, or their stream.", body = EventList),
    (status = 404, description = "No such task.", body = Problem),
))]
pub async fn events(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
    how: Result<Query<HowToShow>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(how) = how?;
    let task = api.service.get(&name?.0)?;
    Ok(match how.follow.as_deref() {
        None | Some("false") => {
            Json(EventList { events: task.events().newest(how.limit.unwrap_or(usize::MAX)) }).into_response()
        }
        Some(_) => Sse::new(follow(task.events())).keep_alive(KeepAlive::default()).into_response(),
    })
}

/// Ends with the deletion of the task, or when a reader is so slow that events would be missing.
fn follow(events: &Events) -> impl Stream<Item = Result<sse::Event, Infallible>> + use<> {
    let (before, live) = events.follow();
    let live = BroadcastStream::new(live)
        .take_while(|event| ready(event.is_ok()))
        .filter_map(|event| ready(event.ok()));
    stream::iter(before).chain(live).map(|event| {
        let shown = sse::Event::default().id(event.n.to_string()).event(event.what.clone());
        Ok(shown.json_data(&event).unwrap_or_default())
    })
}
