//! Halves for tests: each run of a half takes the next outcome from a script; without one it works until cancelled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;

use super::check::Check;
use super::service::Service;
use super::spec::TaskSpec;
use super::state::State;
use super::store::TaskStore;
use super::upkeep::Chore;
use super::work::Work;
use crate::error::{Error, Result};
use crate::log::store::Store;
use crate::log::verify::{Report, Scope};
use crate::progress::{RecordProgress, ReplayProgress, RowCounts};
use crate::tick::Tso;

/// What the fake halves do, and how often they were started.
#[derive(Default)]
pub struct Script {
    /// Outcomes of the recorder's next runs.
    pub record: VecDeque<Result<()>>,
    /// Outcomes of the replayer's next runs.
    pub replay: VecDeque<Result<()>>,
    /// What the checks of connections find.
    pub check: VecDeque<Error>,
    /// What the checks of logs find; without one a log is well, with three commits more.
    pub verify: VecDeque<Result<Report>>,
    /// What those checks were of.
    pub verified: Vec<Scope>,
    /// What comes of chores; without one something was done.
    pub upkeep: VecDeque<Result<Option<String>>>,
    /// Chores that were done.
    pub chores: Vec<Chore>,
    /// Runs that were started, of both halves.
    pub started: usize,
    /// Runs that ended because they were cancelled.
    pub cancelled: usize,
    /// How long after that they ended.
    pub ends_after: Duration,
}

/// The script, shared with the halves.
pub type Shared = Arc<Mutex<Script>>;

/// Where the fake halves say they are.
pub const AT: Tso = Tso(470656465160896520);

/// Work by a script.
pub fn work(script: &Shared) -> Work {
    let (for_record, for_replay, for_check) = (script.clone(), script.clone(), script.clone());
    let (for_verify, for_upkeep) = (script.clone(), script.clone());
    Work {
        record: Arc::new(move |_, progress: Arc<watch::Sender<RecordProgress>>, cancel| {
            let script = for_record.clone();
            async move {
                let next = take(&script, |script| script.record.pop_front());
                let rows = RowCounts { inserted: 7, deleted: 2, upserted: 1 };
                progress.send_replace(RecordProgress {
                    recorded_to: AT,
                    seen_to: AT,
                    rows,
                    bytes: 99,
                    ..Default::default()
                });
                wait_unless(next, &script, cancel).await
            }
            .boxed()
        }),
        replay: Arc::new(move |_, progress: Arc<watch::Sender<ReplayProgress>>, cancel| {
            let script = for_replay.clone();
            async move {
                let next = take(&script, |script| script.replay.pop_front());
                progress.send_replace(ReplayProgress {
                    applied_to: AT,
                    log_to: AT,
                    commits: 3,
                    ..Default::default()
                });
                wait_unless(next, &script, cancel).await
            }
            .boxed()
        }),
        check: Arc::new(move |_| {
            let outcome =
                for_check.lock().unwrap().check.pop_front().map_or_else(|| Ok("well".to_owned()), Err);
            async move { vec![Check { what: "target http://h:1".to_owned(), outcome }] }.boxed()
        }),
        verify: Arc::new(move |_, scope| {
            let mut script = for_verify.lock().unwrap();
            script.verified.push(scope);
            let log_id = Some("a log".to_owned());
            let to = 3 * script.verified.len() as u64;
            let well = Ok(Report { log_id, to, ..Report::default() });
            let found = script.verify.pop_front().unwrap_or(well);
            async move { found }.boxed()
        }),
        upkeep: Arc::new(move |_, chore| {
            let mut script = for_upkeep.lock().unwrap();
            script.chores.push(chore);
            let done = script.upkeep.pop_front().unwrap_or_else(|| Ok(Some(format!("{chore:?} done"))));
            async move { done }.boxed()
        }),
    }
}

fn take<T>(script: &Shared, next: impl FnOnce(&mut Script) -> Option<T>) -> Option<T> {
    let mut script = script.lock().unwrap();
    script.started += 1;
    next(&mut script)
}

async fn wait_unless(
    next: Option<Result<()>>,
    script: &Shared,
    cancel: tokio_util::sync::CancellationToken,
) -> Result<()> {
    match next {
        Some(outcome) => outcome,
        None => {
            cancel.cancelled().await;
            let ends_after = script.lock().unwrap().ends_after;
            tokio::time::sleep(ends_after).await;
            script.lock().unwrap().cancelled += 1;
            Ok(())
        }
    }
}

/// A service over a store in memory.
pub async fn service(store: &Store, script: &Shared) -> Arc<Service> {
    Service::start(TaskStore::new(store.clone()), work(script)).await.unwrap()
}

/// A document of a kind.
pub fn document(name: &str, kind: &str) -> serde_json::Value {
    let mut document =
        serde_json::json!({"name": name, "kind": kind, "log": {"url": format!("file:///logs/{name}")}});
    if kind != "replay" {
        document["source"] = serde_json::json!({
            "etcd": {"endpoints": ["http://127.0.0.1:2379"], "root_path": "by-dev", "meta_sub_path": "meta"},
            "queue": {"kafka": {"brokers": "127.0.0.1:9092"}}
        });
    }
    if kind != "record" {
        document["target"] = serde_json::json!({"uri": "http://127.0.0.1:19530", "token": {"env": "PATH"}});
    }
    document
}

/// The document, read.
pub fn spec(name: &str, kind: &str) -> TaskSpec {
    TaskSpec::parse(document(name, kind).to_string().as_bytes()).unwrap()
}

/// Waits until a task is in a state.
pub async fn until(service: &Service, name: &str, wanted: State) {
    let mut state = service.get(name).unwrap().state();
    let reached = state.wait_for(|state| *state == wanted);
    tokio::time::timeout(Duration::from_secs(10), reached).await.expect("the state is not reached").unwrap();
}

/// A task on the log in a folder.
pub fn replay_of(folder: &std::path::Path, kind: &str) -> TaskSpec {
    let mut spec = serde_json::json!({"name": "r", "kind": kind, "log": {"url": format!("file://{}", folder.display())},
        "target": {"uri": "http://127.0.0.1:1"}});
    if kind == "replicate" {
        spec["source"] = serde_json::json!({"etcd": {"endpoints": ["http://127.0.0.1:1"]}, "queue": {"kafka": {"brokers": "127.0.0.1:1"}}});
    }
    TaskSpec::parse(spec.to_string().as_bytes()).unwrap()
}
