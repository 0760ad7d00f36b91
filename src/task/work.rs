//! What tasks do, behind function values, so that tests can put their own in their place.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::check::{Check, check};
use super::connect::{recorder, replayer, store_to_read};
use super::encryption::EncryptionSpec;
use super::spec::{LogSpec, TaskSpec};
use super::upkeep::{Chore, DoChore, UpkeepSpec};
use super::verification::gently;
use crate::archive::archiver::{Limits, archive};
use crate::archive::base;
use crate::error::{Error, Result};
use crate::log::prune::{self, Removed, prune};
use crate::log::reader::no_log;
use crate::log::verify::{Report, Scope};
use crate::progress::{RecordProgress, ReplayProgress};

/// A half of a task: connects and runs until cancelled, until its end, or until an error.
pub type Half<P> = Arc<
    dyn Fn(Arc<TaskSpec>, Arc<watch::Sender<P>>, CancellationToken) -> BoxFuture<'static, Result<()>>
        + Send
        + Sync,
>;

/// Verifies a part of a task's log.
pub type Verify = Arc<dyn Fn(Arc<TaskSpec>, Scope) -> BoxFuture<'static, Result<Report>> + Send + Sync>;

/// What tasks do. Tests put their own here.
#[derive(Clone)]
pub struct Work {
    /// The recording half.
    pub record: Half<RecordProgress>,
    /// The replaying half.
    pub replay: Half<ReplayProgress>,
    /// Tries every connection of a task once.
    pub check: Arc<dyn Fn(Arc<TaskSpec>) -> BoxFuture<'static, Vec<Check>> + Send + Sync>,
    /// Verifies its log.
    pub verify: Verify,
    /// Does something for its log.
    pub upkeep: DoChore,
}

impl Work {
    /// With real connections.
    pub fn real() -> Work {
        Work {
            record: Arc::new(|spec, progress, cancel| {
                let log_id = progress.borrow().log_id.clone();
                async move { recorder(&spec, log_id.as_deref()).await?.run(&progress, cancel).await }.boxed()
            }),
            replay: Arc::new(|spec, progress, cancel| {
                let log_id = progress.borrow().log_id.clone();
                async move {
                    match replayer(&spec, log_id.as_deref(), &cancel).await? {
                        Some(replayer) => replayer.run(&progress, cancel).await,
                        None => Ok(()),
                    }
                }
                .boxed()
            }),
            check: Arc::new(|spec| async move { check(&spec).await }.boxed()),
            verify: Arc::new(|spec, scope| {
                async move {
                    rows_can_be_read(&spec.log)?;
                    let store = store_to_read(&spec.log).await?.ok_or_else(|| no_log(&spec.log.url))?;
                    gently(store, scope).await
                }
                .boxed()
            }),
            upkeep: Arc::new(|spec, chore| upkeep_beside(spec, chore).boxed()),
        }
    }
}

/// On a thread that serves nothing else: rows are coded for long without a pause. Given up when it is dropped.
async fn upkeep_beside(spec: Arc<TaskSpec>, chore: Chore) -> Result<Option<String>> {
    let (dropped, runtime) = (CancellationToken::new(), Handle::current());
    let _dropped = dropped.clone().drop_guard();
    let work = move || runtime.block_on(dropped.run_until_cancelled(upkeep(&spec, chore)));
    let done = tokio::task::spawn_blocking(work).await;
    let panicked = |error| Error::operator(format!("upkeep ended without an answer: {error}"));
    done.map_err(panicked)?.unwrap_or(Ok(None))
}

/// Does a chore for the log of a task; says what was done if there was something to do.
async fn upkeep(spec: &TaskSpec, chore: Chore) -> Result<Option<String>> {
    let store = store_to_read(&spec.log).await?.ok_or_else(|| no_log(&spec.log.url))?;
    match chore {
        Chore::Archive => {
            let done = archive(store, Limits::default(), |_, _, _| {}).await?;
            let (rows, files) = (done.inserted + done.deleted + done.upserted, done.files);
            Ok((files > 0).then(|| format!("{rows} rows up to commit {} in {files} files", done.to)))
        }
        Chore::Base => {
            let base = base::take(store, None, base::Limits::default(), |_| {}).await?;
            let (rows, time) = (base.rows, &base.time);
            Ok(base.taken.then(|| format!("{rows} rows of commit {}, {time}", base.commit)))
        }
        Chore::Prune => {
            let Some(keep) = spec.upkeep.as_ref().and_then(UpkeepSpec::keep) else { return Ok(None) };
            pruned(prune(store, keep, false, |_| {}).await?)
        }
    }
}

/// What a prune did. That something is held which could go is for a person to see; that it is not yet time is not.
fn pruned(report: prune::Report) -> Result<Option<String>> {
    let mut needed = report.waits_for;
    if report.held {
        needed.extend(report.in_the_way);
    }
    if !needed.is_empty() {
        return Err(Error::refused(format!("nothing is removed: {}", needed.join("; "))));
    }
    let Removed { commits, segments, .. } = report.removed;
    let first = report.first_commit;
    Ok((commits > 0).then(|| format!("{commits} commits, {segments} segments; the first is now {first}")))
}

fn rows_can_be_read(spec: &LogSpec) -> Result<()> {
    match &spec.encryption {
        Some(EncryptionSpec { identity: None, .. }) => {
            Err(Error::usage("log.encryption.identity: it is missing; rows cannot be verified without it")
                .advice(
                    "add it to the task, or verify where the key is: `tapedeck log verify --identity FILE`",
                ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::layout;
    use crate::log::store::Store;
    use crate::position::Seq;
    use crate::task::fake::replay_of;

    #[test]
    fn who_holds_what_could_go_is_told_and_that_it_is_not_yet_time_is_not() {
        let why = vec!["reader dr-west needs what follows commit 5".to_owned()];
        let report = prune::Report { in_the_way: why.clone(), ..prune::Report::default() };
        assert_eq!(pruned(report.clone()).unwrap(), None);
        let error = pruned(prune::Report { held: true, ..report }).unwrap_err();
        assert!(error.message.contains(&why[0]), "{error}");
        assert!(pruned(prune::Report { waits_for: why, ..prune::Report::default() }).is_err());
    }

    #[tokio::test]
    async fn the_log_of_a_task_is_verified_with_pauses_and_from_where_it_is_asked() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/golden/v1");
        let spec = Arc::new(replay_of(&folder, "replay"));
        let verify = Work::real().verify;
        let whole = verify(spec.clone(), Scope::Whole).await.unwrap();
        let part = verify(spec, Scope::After(Seq(1))).await.unwrap();
        assert_eq!([(whole.from, whole.segments), (part.from, part.segments)], [(1, 2), (2, 1)]);
    }

    #[tokio::test]
    async fn a_check_of_a_whole_log_looks_at_its_archive_too() {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/golden/v1");
        let folder = tempfile::tempdir().unwrap();
        let open = async |folder: &std::path::Path| {
            Store::open(&format!("file://{}", folder.display()), &Default::default()).await.unwrap()
        };
        let (source, store) = (open(&golden).await, open(folder.path()).await);
        for (key, _) in source.list("", None).await.unwrap() {
            let bytes = source.get(&key).await.unwrap().unwrap();
            let lost = usize::from(layout::is_archive_file(&key));
            store.put(&key, bytes.slice(lost..)).await.unwrap();
        }
        let spec = Arc::new(replay_of(folder.path(), "replay"));
        let verify = Work::real().verify;
        let archive =
            |report: Report| report.damages.iter().any(|damage| damage.object.starts_with("archive/"));
        assert!(archive(verify(spec.clone(), Scope::Whole).await.unwrap()));
        assert!(!archive(verify(spec, Scope::After(Seq(1))).await.unwrap()));
    }
}
