//! What is done for the logs of tasks that record, beside recording: rows are archived, bases taken, and what nobody
//! needs any more is pruned, each on its schedule. One thing at a time in the whole service: each takes memory. What was
//! done or failed is told in the task's status and events; nothing is stopped by it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use utoipa::ToSchema;

use super::runner::Task;
use super::schedule::{self, Failed};
use super::service::Service;
use super::spec::TaskSpec;
use super::status::rfc3339;
use crate::error::{Error, Result};
use crate::log::prune::Keep;
use crate::period::Period;

/// How often it is seen whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is done for a log, and how often.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpkeepSpec {
    /// What was committed since is archived as Parquet files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_every: Option<Period>,
    /// A base is taken, from which restores begin; what it needs of the archive is written first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_every: Option<Period>,
    /// After each base, what no instant of this last time needs is removed for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_window: Option<Period>,
    /// So many bases stay in any case; 1 where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_bases: Option<usize>,
}

impl UpkeepSpec {
    /// Whether it says one thing.
    pub fn check(&self) -> Result<()> {
        let refused = |field: &str, why: &str, advice: &str| {
            Err(Error::usage(format!("upkeep.{field}: {why}")).advice(advice))
        };
        match self {
            UpkeepSpec { archive_every: None, base_every: None, keep_window: None, .. } => refused(
                "archive_every",
                "nothing is to be done",
                "give archive_every, base_every, or both; or take upkeep out",
            ),
            UpkeepSpec { base_every: None, keep_window: Some(_), .. } => {
                refused("keep_window", "without newer bases nothing can go", "give base_every, e.g. 24h")
            }
            UpkeepSpec { keep_window: None, keep_bases: Some(_), .. } => {
                refused("keep_bases", "nothing is removed", "give keep_window, e.g. 7d, or take it out")
            }
            UpkeepSpec { keep_bases: Some(0), .. } => {
                refused("keep_bases", "restores begin with a base", "give 1 or more")
            }
            _ => Ok(()),
        }
    }

    /// What is not to be removed; none: nothing is.
    pub fn keep(&self) -> Option<Keep> {
        let Period(window) = self.keep_window?;
        Some(Keep { window, bases: self.keep_bases.unwrap_or(1) })
    }

    fn every(&self, chore: Chore) -> Option<Duration> {
        let every = match chore {
            Chore::Archive => self.archive_every,
            Chore::Base => self.base_every,
            Chore::Prune => self.keep_window.and(self.base_every),
        };
        every.map(|Period(every)| every)
    }
}

/// Something to be done for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Archive what is committed.
    Archive,
    /// Take a base.
    Base,
    /// Remove what nobody needs.
    Prune,
}

impl Chore {
    /// In the order in which they are done where several are due.
    const ALL: [Chore; 3] = [Chore::Archive, Chore::Base, Chore::Prune];

    /// What has happened when it was done, and when it could not be: names of events.
    fn events(self) -> [&'static str; 2] {
        match self {
            Chore::Archive => ["archived", "unarchived"],
            Chore::Base => ["base", "no_base"],
            Chore::Prune => ["pruned", "unpruned"],
        }
    }
}

/// Does a chore for a task's log and says what was done; none where there was nothing to do.
pub type DoChore =
    Arc<dyn Fn(Arc<TaskSpec>, Chore) -> BoxFuture<'static, Result<Option<String>>> + Send + Sync>;

/// What was done for a task's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Upkeep {
    /// Its rows as Parquet files.
    pub archive: Done,
    /// Bases.
    pub base: Done,
    /// What was removed.
    pub prune: Done,
}

/// The last times that a chore was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Done {
    /// When it was done last (RFC 3339); null: never.
    pub at: Option<String>,
    /// What was done when there was something to do.
    pub what: Option<String>,
    /// Why it could not be done since.
    pub failed: Option<Failed>,
}

impl Upkeep {
    fn of(&self, chore: Chore) -> &Done {
        match chore {
            Chore::Archive => &self.archive,
            Chore::Base => &self.base,
            Chore::Prune => &self.prune,
        }
    }

    fn of_mut(&mut self, chore: Chore) -> &mut Done {
        match chore {
            Chore::Archive => &mut self.archive,
            Chore::Base => &mut self.base,
            Chore::Prune => &mut self.prune,
        }
    }
}

/// Does what is due, again and again until cancelled.
pub async fn keep_up(service: Arc<Service>, cancel: CancellationToken) {
    let working = async {
        loop {
            for task in service.list(None, usize::MAX) {
                for chore in Chore::ALL.into_iter().filter(|chore| is_due(&task, *chore)).collect::<Vec<_>>()
                {
                    do_for(&task, chore).await;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = working => {}
        () = cancel.cancelled() => {}
    }
}

fn is_due(task: &Task, chore: Chore) -> bool {
    let every = task.spec().upkeep.as_ref().and_then(|upkeep| upkeep.every(chore));
    let Some(every) = every.filter(|_| task.is_recording()) else { return false };
    let Done { at, failed, .. } = task.upkeep().unwrap_or_default().of(chore).clone();
    schedule::is_due((&task.created(), at.as_deref()), failed.as_ref(), every, SystemTime::now())
}

/// Does a chore and tells what was done.
async fn do_for(task: &Task, chore: Chore) {
    let name = &task.spec().name;
    let outcome = (task.work().upkeep)(task.spec().clone(), chore).await;
    let mut upkeep = task.upkeep().unwrap_or_default();
    let done = upkeep.of_mut(chore);
    let [well, ill] = chore.events();
    match outcome {
        Ok(what) => {
            if let Some(what) = &what {
                info!(task = %name, "{well}: {what}");
                task.events().add(well, what.clone(), None);
            }
            *done = Done {
                at: Some(rfc3339(SystemTime::now())),
                what: what.or_else(|| done.what.take()),
                failed: None,
            };
        }
        Err(error) => {
            warn!(task = %name, %error, "{ill}");
            task.events().add(ill, error.message.clone(), error.advice);
            done.failed = Some(Failed::now(error.message));
        }
    }
    task.keep_upkeep(upkeep).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::store::Store;
    use crate::task::fake::{Shared, document, service, until};
    use crate::task::service::Creation;
    use crate::task::state::State;

    async fn task(upkeep: serde_json::Value, script: &Shared) -> (Arc<Service>, Arc<Task>) {
        let service = service(&Store::memory(), script).await;
        let mut document = document("a", "record");
        document["upkeep"] = upkeep;
        let spec = TaskSpec::parse(document.to_string().as_bytes()).unwrap();
        let (Creation::New(task) | Creation::Same(task)) = service.create(spec, true).await.unwrap();
        until(&service, "a", State::Running).await;
        (service, task)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_done_in_order_and_told() {
        let script = Shared::default();
        let every = serde_json::json!({"archive_every": "1s", "base_every": "1s", "keep_window": "7d"});
        let (service, task) = task(every, &script).await;
        let cancel = CancellationToken::new();
        let seen = async {
            while task.upkeep().is_none_or(|upkeep| upkeep.prune.at.is_none()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                std::thread::sleep(Duration::from_millis(10)); // what is due goes by the clock on the wall
            }
            cancel.cancel();
        };
        tokio::join!(keep_up(service.clone(), cancel.clone()), seen);
        assert_eq!(script.lock().unwrap().chores[..3], Chore::ALL);
        let told = task.events().newest(3).into_iter().map(|event| event.what).collect::<Vec<_>>();
        assert_eq!(told, ["pruned", "base", "archived"]);
    }

    #[tokio::test]
    async fn a_failure_is_told_and_kept_beside_what_was_done_before() {
        let script = Shared::default();
        let (_service, task) = task(serde_json::json!({"base_every": "1h"}), &script).await;
        do_for(&task, Chore::Base).await;
        let before = task.status().upkeep.unwrap().base;
        script.lock().unwrap().upkeep.push_back(Err(Error::retry("the store does not answer")));
        do_for(&task, Chore::Base).await;
        let after = task.status().upkeep.unwrap().base;
        assert_eq!((&after.at, &after.what), (&before.at, &before.what));
        assert_eq!(after.failed.unwrap().message, "the store does not answer");
        assert_eq!(task.events().newest(1)[0].what, "no_base");
        assert_eq!(task.status().state, State::Running);
    }

    #[tokio::test]
    async fn a_log_is_kept_up_as_long_as_it_is_recorded_whatever_becomes_of_the_replay() {
        let script = Shared::default();
        let service = service(&Store::memory(), &script).await;
        let fails = || Err(Error::operator("wrong token"));
        for (name, recording) in [("recorded", true), ("unrecorded", false)] {
            match recording {
                true => script.lock().unwrap().replay.push_back(fails()),
                false => script.lock().unwrap().record.push_back(fails()),
            }
            let mut document = document(name, "replicate");
            document["upkeep"] = serde_json::json!({"archive_every": "1s"});
            let spec = TaskSpec::parse(document.to_string().as_bytes()).unwrap();
            service.create(spec, true).await.unwrap_or_else(|_| panic!());
            until(&service, name, State::Failed).await;
        }
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let due = |name| is_due(&service.get(name).unwrap(), Chore::Archive);
        assert_eq!((due("recorded"), due("unrecorded")), (true, false));
        service.pause("recorded").await.unwrap();
        assert!(!due("recorded"));
    }

    #[test]
    fn a_schedule_that_does_nothing_or_promises_what_cannot_be_is_refused() {
        for (upkeep, field) in [
            (serde_json::json!({}), "archive_every"),
            (serde_json::json!({"keep_window": "7d"}), "keep_window"),
            (serde_json::json!({"base_every": "1d", "keep_bases": 2}), "keep_bases"),
            (serde_json::json!({"base_every": "1d", "keep_window": "7d", "keep_bases": 0}), "keep_bases"),
        ] {
            let spec: UpkeepSpec = serde_json::from_value(upkeep).unwrap();
            let error = spec.check().unwrap_err();
            assert!(error.message.starts_with(&format!("upkeep.{field}: ")), "{error}");
        }
    }
}
