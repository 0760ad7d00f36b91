//! The OpenAPI 3.1 document at `/v1/openapi.json`.

use axum::Json;
use utoipa::OpenApi;

use super::{cdc, events, logs, metrics, tasks, timeline};

#[derive(OpenApi)]
#[openapi(
    info(title = "tapedeck", description = "Record, rewind and replay for Milvus."),
    paths(
        tasks::create,
        tasks::list,
        tasks::get,
        tasks::delete,
        tasks::pause,
        tasks::resume,
        events::events,
        logs::log,
        timeline::timeline,
        json,
        super::healthz,
        super::readyz,
        metrics::metrics,
        cdc::request,
    )
)]
struct Document;

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "service", responses(
    (status = 200, description = "OpenAPI 3.1.", body = serde_json::Value),
))]
pub async fn json() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
