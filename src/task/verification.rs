//! Logs are verified on a schedule: each log of a task that records, one at a time and gently. What is found is told in
//! the task's status, events and metrics; nothing is stopped by it.

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use utoipa::ToSchema;

use super::runner::Task;
use super::schedule::{self, Failed};
use super::service::Service;
use super::status::rfc3339;
use crate::archive::verify::verify_beside;
use crate::error::{Error, Result};
use crate::log::store::Store;
use crate::log::verify::{Report, Scope, verify};
use crate::position::Seq;

/// Log and archive are checked as a whole after so many checks of what is new: old objects decay too.
const WHOLE_AFTER: u32 = 6;
/// Damages that are told in words.
const MOST_TOLD: usize = 5;
/// How often it is seen whether a log is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A pause between two commits, or two manifests of the archive, is no longer.
const MOST_PAUSE: Duration = Duration::from_secs(5);

/// What the checks of a task's log have found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// When the last check ended (RFC 3339); null: there was none.
    pub at: Option<String>,
    /// The log's uuid.
    pub log_id: String,
    /// Whether that check was of the whole log and its archive, else of the commits since the one before.
    pub whole: bool,
    /// The last commit that was checked.
    pub commit: u64,
    /// Damages that it found; 0: the log is well.
    pub damages: u64,
    /// The first of them, in words.
    pub first_damages: Vec<String>,
    /// Checks since the last one of the whole log.
    pub since_whole: u32,
    /// Why a later check could not be done.
    pub failed: Option<Failed>,
}

impl Verification {
    /// What the next check is of: what is new since the last one, but the whole log now and then, and always while
    /// damages are known, so that they are told until they are gone.
    fn scope(&self) -> Scope {
        if self.at.is_none() || self.damages > 0 || self.since_whole >= WHOLE_AFTER {
            Scope::Whole
        } else {
            Scope::After(Seq(self.commit))
        }
    }

    fn after(&self, scope: Scope, report: &Report, now: SystemTime) -> Verification {
        let whole = scope == Scope::Whole;
        let told = report.damages.iter().take(MOST_TOLD);
        Verification {
            at: Some(rfc3339(now)),
            log_id: report.log_id.clone().unwrap_or_default(),
            whole,
            commit: report.to,
            damages: report.damaged(),
            first_damages: told.map(ToString::to_string).collect(),
            since_whole: if whole { 0 } else { self.since_whole.saturating_add(1) },
            failed: None,
        }
    }

    fn is_due(&self, created: &str, every: Duration, now: SystemTime) -> bool {
        schedule::is_due((created, self.at.as_deref()), self.failed.as_ref(), every, now)
    }
}

/// Verifies every log that is due, again and again until cancelled.
pub async fn keep_verifying(service: &Service, every: Duration, cancel: &CancellationToken) {
    let due = |task: &Task| {
        let last = task.verification().unwrap_or_default();
        task.spec().kind.records() && last.is_due(&task.created(), every, SystemTime::now())
    };
    let verifying = async {
        loop {
            for task in service.list(None, usize::MAX).iter().filter(|task| due(task)) {
                verify_log(task).await;
            }
            tokio::time::sleep(LOOK_EVERY.min(every)).await;
        }
    };
    tokio::select! {
        () = verifying => {}
        () = cancel.cancelled() => {}
    }
}

/// Verifies the log of a task and tells what was found.
pub async fn verify_log(task: &Task) {
    let last = task.verification().unwrap_or_default();
    let name = &task.spec().name;
    match check(task, &last).await {
        Ok((scope, report)) => {
            let found = last.after(scope, &report, SystemTime::now());
            let part =
                if found.whole { "the whole log, with its archive," } else { "what is new in the log" };
            if found.damages == 0 {
                info!(task = %name, commit = found.commit, "the log is well");
                task.events().add("verified", format!("{part} up to commit {} is well", found.commit), None);
            } else {
                let first = found.first_damages.first().map_or("", String::as_str);
                let message = format!("the log has {} damages, first: {first}", found.damages);
                error!(task = %name, "{message}");
                let advice =
                    "`tapedeck log verify` names all; bring the objects back from a copy of the bucket";
                task.events().add("damaged", message, Some(advice.to_owned()));
            }
            task.keep_verification(found).await;
        }
        Err(error) => {
            warn!(task = %name, %error, "the log could not be verified");
            let message = format!("the log could not be verified: {error}");
            task.events().add("unverified", message, error.advice.clone());
            let failed = Failed::now(error.message);
            task.keep_verification(Verification { failed: Some(failed), ..last }).await;
        }
    }
}

async fn check(task: &Task, last: &Verification) -> Result<(Scope, Report)> {
    let verify = &task.work().verify;
    let scope = last.scope();
    let report = verify(task.spec().clone(), scope).await?;
    let another = report.log_id.as_ref().is_some_and(|id| *id != last.log_id);
    match scope {
        Scope::Whole => Ok((scope, report)),
        _ if !another => Ok((scope, report)),
        _ => Ok((Scope::Whole, verify(task.spec().clone(), Scope::Whole).await?)),
    }
}

/// Verifies a log, and with all of it its archive, with pauses as long as the work between them.
pub async fn gently(store: Store, scope: Scope) -> Result<Report, Error> {
    let mut worked_from = Instant::now();
    let mut pause = || {
        let pause = worked_from.elapsed().min(MOST_PAUSE);
        worked_from = Instant::now() + pause;
        tokio::time::sleep(pause)
    };
    let mut report = verify(store.clone(), scope, |_, _| pause()).await?;
    if scope == Scope::Whole {
        verify_beside(&mut report, &store, false, |_, _| pause()).await?;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::fake::{Shared, service, spec, until};
    use crate::task::service::Creation;
    use crate::task::state::State;
    use std::sync::Arc;

    const DAY: Duration = Duration::from_secs(86_400);

    async fn task(store: &Store, script: &Shared) -> (Arc<Service>, Arc<Task>) {
        let service = service(store, script).await;
        let (Creation::New(task) | Creation::Same(task)) =
            service.create(spec("a", "record"), true).await.unwrap();
        until(&service, "a", State::Running).await;
        (service, task)
    }

    fn report(log_id: &str, to: u64, damages: &[&str]) -> Report {
        let more_damages = damages.len() as u64;
        Report { log_id: Some(log_id.to_owned()), to, more_damages, ..Report::default() }
    }

    fn verified(script: &Shared) -> Vec<Scope> {
        script.lock().unwrap().verified.clone()
    }

    #[tokio::test]
    async fn a_log_is_verified_from_the_last_checked_commit_on_and_whole_every_seventh_time() {
        let (store, script) = (Store::memory(), Shared::default());
        let (_service, task) = task(&store, &script).await;
        for _ in 0..8 {
            verify_log(&task).await;
        }
        let new = (1..=6).map(|times| Scope::After(Seq(3 * times)));
        let expected = [Scope::Whole].into_iter().chain(new).chain([Scope::Whole]).collect::<Vec<_>>();
        assert_eq!(verified(&script), expected);
        let status = task.status().verification.unwrap();
        assert_eq!((status.damages, status.commit, status.whole), (0, 24, true));
    }

    #[tokio::test]
    async fn damage_is_told_until_it_is_gone_and_stops_nothing() {
        let (store, script) = (Store::memory(), Shared::default());
        let (_service, task) = task(&store, &script).await;
        verify_log(&task).await;
        let damaged = [Ok(report("a log", 6, &["one"])), Ok(report("a log", 7, &["one"]))];
        script.lock().unwrap().verify.extend(damaged);
        verify_log(&task).await;
        verify_log(&task).await;
        let status = task.status();
        assert_eq!((status.state, status.verification.unwrap().damages), (State::Running, 1));
        assert_eq!(task.events().newest(1)[0].what, "damaged");
        verify_log(&task).await;
        assert_eq!(verified(&script)[1..], [Scope::After(Seq(3)), Scope::Whole, Scope::Whole]);
        assert_eq!(task.status().verification.unwrap().damages, 0);
        assert_eq!(task.events().newest(1)[0].what, "verified");
    }

    #[tokio::test]
    async fn another_log_in_the_place_of_the_one_before_is_verified_as_a_whole() {
        let (store, script) = (Store::memory(), Shared::default());
        let (_service, task) = task(&store, &script).await;
        verify_log(&task).await;
        script.lock().unwrap().verify.push_back(Ok(report("another", 6, &[])));
        verify_log(&task).await;
        assert_eq!(verified(&script), [Scope::Whole, Scope::After(Seq(3)), Scope::Whole]);
    }

    #[tokio::test]
    async fn what_was_found_outlives_a_restart_of_the_service_and_a_failure_hides_it_not() {
        let (store, script) = (Store::memory(), Shared::default());
        let (before, created) = task(&store, &script).await;
        verify_log(&created).await;
        let found = created.status().verification.unwrap();
        before.stop().await;
        let after = service(&store, &script).await;
        let again = after.get("a").unwrap();
        assert_eq!(again.status().verification.unwrap(), found);
        script.lock().unwrap().verify.push_back(Err(Error::retry("the store does not answer")));
        verify_log(&again).await;
        let status = again.status().verification.unwrap();
        assert_eq!((&status.at, status.commit), (&found.at, found.commit));
        assert_eq!(status.failed.unwrap().message, "the store does not answer");
    }

    #[tokio::test]
    async fn only_logs_that_are_recorded_and_due_are_verified() {
        let (store, script) = (Store::memory(), Shared::default());
        let (service, recording) = task(&store, &script).await;
        service.create(spec("b", "replay"), true).await.unwrap();
        let cancel = CancellationToken::new();
        let verifying = keep_verifying(&service, DAY, &cancel);
        tokio::pin!(verifying);
        assert!(futures::poll!(&mut verifying).is_pending());
        assert_eq!(verified(&script), [], "nothing is due on the first day");
        let verifying = keep_verifying(&service, Duration::ZERO, &cancel);
        let seen = async {
            while recording.verification().is_none() {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        };
        let both = async { tokio::join!(verifying, seen) };
        tokio::time::timeout(Duration::from_secs(10), both).await.expect("a check of the log");
        assert!(service.get("b").unwrap().verification().is_none());
    }
}
