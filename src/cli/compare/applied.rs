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
use crate::task::status::Status;
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
            if reached(&self.task().await?.status, tso)? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            backoff.wait(&CancellationToken::new()).await;
        }
    }
}

/// Whether everything up to a TSO is applied; an error where it will not be.
fn reached(status: &Status, tso: Tso) -> Result<bool> {
    let applied = status.applied_to.as_ref();
    if applied.is_some_and(|applied| applied.tso >= tso.0) {
        return Ok(true);
    }
    let (why, advice) = match status.state {
        State::Failed => ("failed", "see its last error: tapedeck task get"),
        State::Paused => ("paused", "resume it: tapedeck task resume"),
        State::Done => ("done", "compare at an instant up to there: --at"),
        _ => return Ok(false),
    };
    let to = applied.map_or("nothing".to_owned(), |applied| format!("everything up to {}", applied.time));
    Err(Error::operator(format!("the task has applied {to}, and is {why}")).advice(advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::fake::spec;
    use crate::task::status::{moment, status};
    use std::time::SystemTime;

    #[test]
    fn a_task_that_stands_is_not_waited_for_but_what_it_has_applied_counts() {
        let spec = spec("a", "replay");
        let mut status = status(&spec, &Default::default(), &Default::default(), SystemTime::now());
        assert!(!reached(&status, Tso(7)).unwrap());
        status.applied_to = moment(Tso(7));
        for state in [State::Running, State::Paused, State::Done, State::Failed] {
            status.state = state;
            assert!(reached(&status, Tso(7)).unwrap(), "{state:?}");
            assert_eq!(reached(&status, Tso(8)).is_err(), state != State::Running, "{state:?}");
        }
    }
}
