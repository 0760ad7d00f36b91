//! `tapedeck run`: one task in the foreground.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::progress::ProgressLine;
use super::{SpecFile, signal};
use crate::error::{Error, Result};
use crate::log::store::Store;
use crate::task::runner::Task;
use crate::task::service::{Creation, Service};
use crate::task::spec::TaskSpec;
use crate::task::state::State;
use crate::task::status::Status;
use crate::task::store::TaskStore;
use crate::task::upkeep::keep_up;
use crate::task::work::Work;
use crate::telemetry::{self, LogFormat};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: SpecFile,
    /// Begin without trying every connection first
    #[arg(long)]
    no_check: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

pub async fn run(args: Args) -> Result<()> {
    telemetry::logs(args.log_format, "warn");
    let spec = args.spec.read()?;
    let ends = spec.until.is_some();
    match foreground(spec, !args.no_check).await? {
        Some(status) => check_complete(&status, "replayed"),
        None if ends => Err(stopped("replay")),
        None => Ok(()),
    }
}

/// Of something that has an end, and was stopped before.
pub fn stopped(what: &str) -> Error {
    Error::operator(format!("the {what} was stopped before its end"))
        .advice("give the same command again: it goes on")
}

/// What a target lacks at the end is an error.
pub fn check_complete(status: &Status, done: &str) -> Result<()> {
    let Some(incomplete) = &status.incomplete else { return Ok(()) };
    let (since, what) = (incomplete.since(), incomplete.what.join(", "));
    Err(Error::operator(format!("{done}, but the target lacks, since {since}: {what}"))
        .advice("these changes cannot be applied: make them at the target by hand where they matter"))
}

/// Runs a task until its end; with `check`, only if all its connections work. None: it was stopped before.
pub async fn foreground(spec: TaskSpec, check: bool) -> Result<Option<Status>> {
    let cancel = signal::stop()?;
    // Nothing of the task outlives the process but its log and its positions there.
    let service = Service::start(TaskStore::new(Store::memory()), Work::real()).await?;
    let (Creation::New(task) | Creation::Same(task)) = tokio::select! {
        created = service.create(spec, check) => created?,
        () = cancel.cancelled() => return Ok(None),
    };
    let _upkeep = AbortOnDropHandle::new(tokio::spawn(keep_up(service.clone(), cancel.clone())));
    let outcome = tokio::select! {
        outcome = ended(&task) => outcome.map(Some),
        () = cancel.cancelled() => Ok(None),
    };
    service.stop().await;
    outcome
}

async fn ended(task: &Task) -> Result<Status> {
    let line = ProgressLine::new();
    let mut state = task.state();
    loop {
        line.show(&task.status());
        let ended = state.wait_for(|state| matches!(state, State::Done | State::Failed));
        let Ok(ended) = tokio::time::timeout(Duration::from_secs(1), ended).await else { continue };
        let state = ended.map(|state| *state).map_err(|_| Error::operator("the task is gone"))?;
        let status = task.status();
        line.finish(&status);
        return match status.last_error.clone() {
            Some(error) if state == State::Failed => Err(error.into()),
            _ => Ok(status),
        };
    }
}
