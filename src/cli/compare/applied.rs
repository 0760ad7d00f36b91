//! How far a task of a service has brought its target.

use std::time::Duration;

use reqwest::Method;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::client::Server;
use crate::api::TaskView;
use crate::backoff::Backoff;
use crate::compare;
use crate::error::{Error, Result};
use crate::task::state::State;
use crate::task::validate;
use crate::tick::Tso;

/// The watermark of a task.
pub struct Applied {
    server: Server,
    path: String,
}

impl Applied {
    /// Nothing is asked yet.
    pub fn new(server: Server, task: &str) -> Result<Applied> {
        validate::name(task)?;
        Ok(Applied { server, path: format!("/v1/tasks/{task}") })
    }

    /// The task now.
    pub async fn task(&self) -> Result<TaskView> {
        let task = self.server.ask(Method::GET, &self.path, None).await?;
        task.ok_or_else(|| Error::operator("the service shows no task"))
    }
}

impl compare::Applied for Applied {
    async fn reaches(&self, tso: Tso, until: Instant) -> Result<bool> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let status = self.task().await?.status;
            if status.applied_to.as_ref().is_some_and(|applied| applied.tso >= tso.0) {
                return Ok(true);
            }
            let at = status.applied_to.map_or("nothing yet".to_owned(), |applied| applied.time);
            let stands = |why: &str| Error::operator(format!("the task has applied {at}, and {why}"));
            match status.state {
                State::Failed => {
                    let why = status.last_error.map_or(String::new(), |error| error.message);
                    return Err(stands(&format!("has failed: {why}")).advice("see tapedeck task get"));
                }
                State::Paused => return Err(stands("is paused").advice("resume it: tapedeck task resume")),
                State::Done => return Err(stands("has ended").advice("give --at an instant up to there")),
                _ if Instant::now() >= until => return Ok(false),
                _ => {}
            }
            backoff.wait(&CancellationToken::new()).await;
        }
    }
}
