//! All tasks of a service.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use futures::future::join_all;
use tracing::{error, info, warn};

use super::owner::taken_over;
use super::runner::Task;
use super::spec::TaskSpec;
use super::status::rfc3339;
use super::store::{Document, TaskStore};
use super::validate;
use super::work::Work;
use crate::error::Error;

/// More would mean that something creates tasks by mistake.
const MOST_TASKS: usize = 1000;

/// Why a request about a task is not done.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such task.
    NotFound(String),
    /// It contradicts what is there.
    Conflict(Error),
    /// A connection does not work: nothing was created.
    Connection(Error),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Failed(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        match refusal {
            Refusal::NotFound(name) => Error::usage(format!("there is no task \"{name}\"")),
            Refusal::Conflict(error) | Refusal::Connection(error) | Refusal::Failed(error) => error,
        }
    }
}

/// What a creation found.
pub enum Creation {
    /// The task is new.
    New(Arc<Task>),
    /// The same task was there.
    Same(Arc<Task>),
}

/// The tasks of a service.
pub struct Service {
    store: TaskStore,
    work: Work,
    tasks: RwLock<BTreeMap<String, Arc<Task>>>,
    /// Held over a creation or a deletion.
    changing: tokio::sync::Mutex<()>,
}

impl Service {
    /// Reads the stored tasks and goes on with those that nobody stopped.
    pub async fn start(store: TaskStore, work: Work) -> Result<Arc<Service>, Error> {
        // A service that cannot read them takes nothing over. What the one before stores from then on would not be seen,
        // so they are read again.
        store.all().await?;
        match store.owner().claim().await {
            Err(error) if error.is_retry() => {
                warn!(%error, "the tasks work, and nothing is stored of them yet")
            }
            claimed => claimed?,
        }
        let mut tasks = BTreeMap::new();
        for document in store.all().await? {
            let task = Task::new(document, store.clone(), work.clone());
            task.go_on().await;
            tasks.insert(task.spec().name.clone(), task);
        }
        info!(tasks = tasks.len(), "the service works");
        let owner = store.owner().clone();
        let service = Arc::new(Service {
            store,
            work,
            tasks: RwLock::new(tasks),
            changing: tokio::sync::Mutex::default(),
        });
        let taken_over = Arc::downgrade(&service);
        tokio::spawn(async move {
            owner.lost().await;
            if let Some(service) = taken_over.upgrade() {
                service.give_up().await;
            }
        });
        Ok(service)
    }

    /// Creates and starts a task; with `check`, only if all its connections work.
    pub async fn create(self: &Arc<Self>, spec: TaskSpec, check: bool) -> Result<Creation, Refusal> {
        let service = self.clone();
        to_the_end(async move { service.create_now(spec, check).await }).await
    }

    async fn create_now(&self, spec: TaskSpec, check: bool) -> Result<Creation, Refusal> {
        if let Some(task) = self.admit(&spec)? {
            return Ok(Creation::Same(task));
        }
        if check {
            for check in (self.work.check)(Arc::new(spec.clone())).await {
                check.outcome.map_err(|error| Refusal::Connection(error.context(check.what)))?;
            }
        }
        let _one_at_a_time = self.changing.lock().await;
        if let Some(task) = self.admit(&spec)? {
            return Ok(Creation::Same(task));
        }
        let document = Document::new(spec, rfc3339(SystemTime::now()));
        if !self.store.create(&document).await? {
            return Err(conflict(
                &format!("another service has a task \"{}\" under the same state", document.spec.name),
                "start this service again to see it, or choose another name",
            ));
        }
        let task = Task::new(document, self.store.clone(), self.work.clone());
        task.events().add("created", "created", None);
        task.go_on().await;
        self.write().insert(task.spec().name.clone(), task.clone());
        Ok(Creation::New(task))
    }

    /// One task.
    pub fn get(&self, name: &str) -> Result<Arc<Task>, Refusal> {
        self.read().get(name).cloned().ok_or_else(|| Refusal::NotFound(name.to_owned()))
    }

    /// Up to `limit` tasks by name, after one.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Task>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read()
            .range::<str, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(_, task)| task.clone())
            .collect()
    }

    /// Stops a task until it is resumed.
    pub async fn pause(&self, name: &str) -> Result<Arc<Task>, Refusal> {
        let task = self.get(name)?;
        let pausing = task.clone();
        if to_the_end(async move { Ok(pausing.pause().await?) }).await? {
            Ok(task)
        } else {
            Err(over(&task).await)
        }
    }

    /// Starts a paused or failed task again.
    pub async fn resume(&self, name: &str) -> Result<Arc<Task>, Refusal> {
        let task = self.get(name)?;
        let resuming = task.clone();
        if to_the_end(async move { Ok(resuming.resume().await?) }).await? {
            Ok(task)
        } else {
            Err(over(&task).await)
        }
    }

    /// Stops a task and forgets it. Its log stays.
    pub async fn delete(self: &Arc<Self>, name: &str) -> Result<(), Refusal> {
        let (service, name) = (self.clone(), name.to_owned());
        to_the_end(async move {
            let _one_at_a_time = service.changing.lock().await;
            let task = service.get(&name)?;
            task.close().await?;
            service.write().remove(&name);
            Ok(())
        })
        .await
    }

    /// Whether another service has taken the tasks over: they do not work here any more.
    pub fn is_taken_over(&self) -> bool {
        self.store.owner().is_known_lost()
    }

    /// Stops all tasks; the next start goes on with them.
    pub async fn stop(&self) {
        let tasks = self.list(None, usize::MAX);
        join_all(tasks.iter().map(|task| task.stop())).await;
    }

    /// Another service has taken over.
    async fn give_up(&self) {
        let error = taken_over();
        error!(%error, advice = error.advice, "all tasks stop here");
        let tasks = self.list(None, usize::MAX);
        join_all(tasks.iter().map(|task| task.give_up())).await;
    }

    /// The task of this very document, if it is there; an error where a new one may not be.
    fn admit(&self, spec: &TaskSpec) -> Result<Option<Arc<Task>>, Refusal> {
        validate::apart(&spec.log.url, self.store.url())?;
        let tasks = self.read();
        if let Some(task) = tasks.get(&spec.name) {
            if **task.spec() == *spec {
                return Ok(Some(task.clone()));
            }
            return Err(conflict(
                &format!("there is another task \"{}\"", spec.name),
                "choose another name, or delete that one first (its log stays)",
            ));
        }
        let log = validate::folder(&spec.log);
        let writes =
            |task: &&Arc<Task>| task.spec().kind.records() && validate::folder(&task.spec().log) == log;
        if let Some(writer) = tasks.values().find(writes).filter(|_| spec.kind.records()) {
            let writer = &writer.spec().name;
            return Err(conflict(
                &format!("the task \"{writer}\" records into {} already", spec.log.url),
                "a log has one recorder: give another URL, or make it a task of kind replay",
            ));
        }
        if tasks.len() >= MOST_TASKS {
            return Err(conflict(&format!("there are {MOST_TASKS} tasks already"), "delete some"));
        }
        Ok(None)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Task>>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Task>>> {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does it even if whoever asked for it does not wait: stopped half-way, a task would say one thing and do
/// another.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(work).await.unwrap_or_else(|broken| {
        let broken = Error::operator(format!("the request broke off: {broken}"));
        Err(broken.advice("this is a bug: please report it with the log of the service").into())
    })
}

fn conflict(message: &str, advice: &str) -> Refusal {
    Refusal::Conflict(Error::usage(message).advice(advice))
}

/// Why a task is neither paused nor resumed any more.
async fn over(task: &Task) -> Refusal {
    let name = &task.spec().name;
    match task.is_forgotten().await {
        true => Refusal::NotFound(name.clone()),
        false => conflict(&format!("the task \"{name}\" is done"), "delete it, or create another"),
    }
}

#[cfg(test)]
mod tests;
