//! The HTTP API: what it serves and what it refuses. Handlers convert, call the service, convert back.

mod auth;
mod cdc;
mod connections;
mod error;
mod events;
mod logs;
mod metrics;
mod openapi;
mod tasks;
mod timeline;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::task::service::Service;
pub use auth::Token;
pub use cdc::Defaults as CdcDefaults;
use connections::Bounds;
pub use error::Problem;
pub use events::EventList;
pub use logs::Looks;
pub use openapi::document;
pub use tasks::{TaskList, TaskView};

const MOST_BODY_BYTES: usize = 1 << 20;
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
    /// The tasks.
    pub service: Arc<Service>,
    /// What requests must carry; none: the service listens on this machine only.
    pub token: Option<Token>,
    /// What requests of the dialect at `/cdc` leave out.
    pub cdc: Arc<CdcDefaults>,
    /// What answers about logs have read.
    pub looks: Arc<Looks>,
    /// Metrics of the process.
    pub process: Option<PrometheusHandle>,
}

/// Every route: method, path, handler. The document and its test read this list.
fn routes() -> Vec<(&'static str, &'static str, MethodRouter<Api>)> {
    vec![
        ("post", "/v1/tasks", post(tasks::create)),
        ("get", "/v1/tasks", get(tasks::list)),
        ("get", "/v1/tasks/{name}", get(tasks::get)),
        ("delete", "/v1/tasks/{name}", delete(tasks::delete)),
        ("post", "/v1/tasks/{name}/pause", post(tasks::pause)),
        ("post", "/v1/tasks/{name}/resume", post(tasks::resume)),
        ("get", "/v1/tasks/{name}/events", get(events::events)),
        ("get", "/v1/logs", get(logs::log)),
        ("get", "/v1/logs/timeline", get(timeline::timeline)),
        ("get", "/v1/openapi.json", get(openapi::json)),
        ("get", "/healthz", get(healthz)),
        ("get", "/readyz", get(readyz)),
        ("get", "/metrics", get(metrics::metrics)),
        ("post", "/cdc", post(cdc::request)),
    ]
}

/// The router.
pub fn router(api: Api) -> Router {
    let routes = routes().into_iter();
    routes
        .fold(Router::new(), |router, (_, path, handler)| router.route(path, handler))
        .fallback(|| async { Problem::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .layer(middleware::from_fn_with_state(api.clone(), guard))
        .with_state(api)
}

/// Serves until cancelled.
pub async fn serve(api: Api, listener: TcpListener, cancel: CancellationToken) {
    connections::serve(router(api), listener, Bounds::default(), cancel).await;
}

/// Opens the listening socket. Without a token only loopback addresses are allowed: whoever reaches the API can
/// make the service connect, read and write with its own rights.
pub async fn listen(address: &str, token: Option<&Token>) -> Result<TcpListener> {
    let address: SocketAddr = address.parse().map_err(|_| {
        Error::usage(format!("\"{address}\" is no address to listen on")).advice("write e.g. 127.0.0.1:8444")
    })?;
    if !address.ip().to_canonical().is_loopback() && token.is_none() {
        return Err(Error::usage(format!(
            "{address} can be reached from other machines, and there is no token"
        ))
        .advice("give --token-file (or TAPEDECK_TOKEN), or listen on 127.0.0.1"));
    }
    TcpListener::bind(address).await.map_err(|error| {
        Error::operator(format!("cannot listen on {address}: {error}"))
            .advice("choose another address, or stop what uses it")
    })
}

/// Before every handler: who asks, from where, and for how long.
async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let open = matches!(request.uri().path(), "/healthz" | "/readyz");
    if !open && let Err(problem) = auth::allowed(api.token.as_ref(), request.headers()) {
        return problem.into_response();
    }
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::timeout(REQUEST_TIME).into_response(),
    }
}

/// The process works.
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, description = "The process works.")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// The tasks are read and the API answers: it does so only then. A service whose tasks another one has taken over is not
/// ready any more.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, description = "Requests are served."),
    (status = 503, description = "Another service has taken over the tasks."),
))]
async fn readyz(State(api): State<Api>) -> (StatusCode, &'static str) {
    match api.service.is_taken_over() {
        false => (StatusCode::OK, "ready\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "another service has taken over the tasks\n"),
    }
}

#[cfg(test)]
mod tests;
