//! A recorder or a replayer in a process of its own, so that CPU time and memory are its alone.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::Value;
use tapedeck::tick::Tso;

use crate::machine;
use crate::stand::process::tail;
use crate::stand::{Outcome, Service, Stand, ensure, fail};

/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// A service with one task.
pub struct Half {
    service: Service,
    task: String,
    created: Instant,
    cpu_before: Duration,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Of a recorder; 0 before the first commit.
    pub recorded_to: u64,
    /// Of a replayer.
    pub applied_to: u64,
    /// Age of `recorded_to`.
    pub record_lag_s: f64,
    /// Age of the newest tick of the source that a recorder has read.
    pub tick_age_s: f64,
    /// Rows since the process was started.
    pub inserted: u64,
}

impl Half {
    /// Starts a service and creates its task.
    pub async fn start(stand: &Stand, spec: &Value) -> Outcome<Half> {
        let task = spec["name"].as_str().unwrap_or_default().to_owned();
        let service = Service::start(stand, &task).await?;
        let (created, cpu_before) = (Instant::now(), machine::cpu_time(service.process.id())?);
        let answer = service.api.post("/v1/tasks", Some(spec)).await?;
        ensure(answer.status == 201, || format!("{task}: {} {}", answer.status, answer.body))?;
        Ok(Half { service, task, created, cpu_before })
    }

    /// How far it is. A task that has failed is an error.
    pub async fn progress(&self) -> Outcome<Progress> {
        let status = self.service.api.status(&self.task).await?;
        if status["state"] == "failed" {
            return fail(format!("{}: {status}\n{}", self.task, tail(&self.service.place().1)));
        }
        let seen_to = Tso(status["seen_to"]["tso"].as_u64().unwrap_or_default());
        let now = UNIX_EPOCH.elapsed()?;
        Ok(Progress {
            recorded_to: status["recorded_to"]["tso"].as_u64().unwrap_or_default(),
            applied_to: status["applied_to"]["tso"].as_u64().unwrap_or_default(),
            record_lag_s: status["record_lag_s"].as_f64().unwrap_or_default(),
            tick_age_s: now.as_secs_f64() - seen_to.millis() as f64 / 1e3,
            inserted: status["rows"]["inserted"].as_u64().unwrap_or_default(),
        })
    }

    /// Waits until it is so far; returns the seconds since the task was created.
    pub async fn reaches(&self, what: &str, good: impl Fn(&Progress) -> bool) -> Outcome<f64> {
        loop {
            let progress = self.progress().await?;
            if good(&progress) {
                return Ok(self.created.elapsed().as_secs_f64());
            }
            ensure(self.created.elapsed() < PATIENCE, || {
                format!("{}: {what} not within {PATIENCE:?}: {progress:?}", self.task)
            })?;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// CPU time since the task was created.
    pub fn cpu_time(&self) -> Outcome<Duration> {
        Ok(machine::cpu_time(self.service.process.id())?.saturating_sub(self.cpu_before))
    }

    /// The most memory that it has had, in MiB.
    pub fn peak_memory(&self) -> Outcome<u64> {
        self.service.process.peak_memory()
    }

    /// kill -9 and a new start with the same task.
    pub async fn crash(&mut self) -> Outcome {
        self.service.crash().await
    }

    /// Ends it by SIGTERM.
    pub async fn stop(mut self) -> Outcome {
        self.service.stop().await
    }
}
