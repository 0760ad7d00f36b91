//! Logs and the names of metrics.

use std::io::IsTerminal;

use metrics::{Unit, describe_counter, describe_gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// 1 for the state that a task is in, 0 for the others.
pub const STATE: &str = "tapedeck_task_state";
/// Seconds from what is recorded (or applied) to now.
pub const LAG: &str = "tapedeck_task_lag_seconds";
/// Rows that were applied, or recorded where the task has no replayer.
pub const ROWS: &str = "tapedeck_task_rows_total";
/// Bytes of segments, likewise.
pub const BYTES: &str = "tapedeck_task_bytes_total";
/// Commits, likewise.
pub const COMMITS: &str = "tapedeck_task_commits_total";
/// Failed tries.
pub const RETRIES: &str = "tapedeck_task_retries_total";
/// How much of what there is to do is done, 0 to 1.
pub const PROGRESS: &str = "tapedeck_task_progress_ratio";
/// Damages in the task's log, as its last check found them.
pub const LOG_DAMAGES: &str = "tapedeck_task_log_damages";
/// When that check ended.
pub const LOG_VERIFIED: &str = "tapedeck_task_log_verified_timestamp_seconds";

/// Says what the metrics of tasks are, to the current recorder.
pub fn describe() {
    describe_gauge!(STATE, "1 for the state that a task is in, 0 for the others");
    describe_gauge!(LAG, Unit::Seconds, "Seconds from what is recorded (or applied) to now");
    describe_counter!(ROWS, "Rows that were applied, or recorded where the task has no replayer");
    describe_counter!(BYTES, Unit::Bytes, "Bytes of segments that were applied, or recorded");
    describe_counter!(COMMITS, "Commits that were applied, or recorded");
    describe_counter!(RETRIES, "Failed tries");
    describe_gauge!(PROGRESS, "How much of what there is to do is done");
    describe_gauge!(LOG_DAMAGES, "Damages in the task's log, as its last check found them");
    describe_gauge!(LOG_VERIFIED, Unit::Seconds, "When the task's log was last checked, since 1970");
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs go to standard error; `RUST_LOG` says which.
pub fn logs(format: LogFormat, usual: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // they would be written to the same place, which panics where that is closed
        .log_internal_errors(false);
    // An error means that there is a subscriber already, as in tests.
    let _ = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    // below that the Pulsar client shows its token
    log::set_max_level(log::max_level().min(log::LevelFilter::Debug));
}

/// Collects the metrics of the process; none when something else does so already.
pub fn metrics() -> Option<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().ok()
}
