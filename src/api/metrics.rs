//! `/metrics`: made at each scrape from the status of the tasks, so that lags grow by the clock and deleted tasks
//! are gone.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use metrics::{counter, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::Api;
use crate::task::spec::TaskSpec;
use crate::task::state::State as TaskState;
use crate::task::status::Status;
use crate::telemetry::{self as name, describe};

/// Metrics of all tasks and of the process, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, description = "Prometheus text.", body = String, content_type = "text/plain"),
))]
pub async fn metrics(State(api): State<Api>) -> Response {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    with_local_recorder(&recorder, || {
        describe();
        for task in api.service.list(None, usize::MAX) {
            show(task.spec(), &task.status());
        }
    });
    let mut text = handle.render();
    if let Some(process) = &api.process {
        process.run_upkeep();
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", process.render());
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn show(spec: &TaskSpec, status: &Status) {
    let task = || spec.name.clone();
    for state in TaskState::ALL {
        let is = if status.state == state { 1.0 } else { 0.0 };
        gauge!(name::STATE, "task" => task(), "state" => state.as_str()).set(is);
    }
    for (half, lag) in [("record", status.record_lag_s), ("apply", status.apply_lag_s)] {
        if let Some(lag) = lag {
            gauge!(name::LAG, "task" => task(), "half" => half).set(lag);
        }
    }
    let rows = status.rows;
    for (op, rows) in [("insert", rows.inserted), ("delete", rows.deleted), ("upsert", rows.upserted)] {
        counter!(name::ROWS, "task" => task(), "op" => op).absolute(rows);
    }
    counter!(name::BYTES, "task" => task()).absolute(status.bytes);
    counter!(name::COMMITS, "task" => task()).absolute(status.commits);
    counter!(name::RETRIES, "task" => task()).absolute(status.retries);
    if let Some(progress) = &status.progress {
        gauge!(name::PROGRESS, "task" => task()).set(progress.percent / 100.0);
    }
    if let Some(checked) = &status.verification
        && let Some(at) = checked.at.as_ref().and_then(|at| at.parse::<jiff::Timestamp>().ok())
    {
        gauge!(name::LOG_DAMAGES, "task" => task()).set(checked.damages as f64);
        gauge!(name::LOG_VERIFIED, "task" => task()).set(at.as_second() as f64);
    }
}
