use std::time::Duration;

use futures::FutureExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::*;
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::log::identity::Identity;
use crate::log::store::Store;
use crate::progress::RecordProgress;
use crate::task::connect;
use crate::task::fake::{AT, Shared, document, service, spec, until, work};
use crate::task::spec::TaskSpec;
use crate::task::state::State;
use crate::task::work::Half;

async fn create(service: &Arc<Service>, name: &str, kind: &str) -> Arc<Task> {
    match service.create(spec(name, kind), true).await.unwrap() {
        Creation::New(task) => task,
        Creation::Same(_) => panic!("{name} was there"),
    }
}

/// Runs of halves that were started, and that ended because they were cancelled.
fn runs(script: &Shared) -> (usize, usize) {
    let script = script.lock().unwrap();
    (script.started, script.cancelled)
}

fn what(task: &Task) -> Vec<String> {
    task.events().newest(10).into_iter().map(|event| event.what).collect()
}

#[tokio::test]
async fn a_new_task_runs_and_the_same_document_again_is_the_same_task() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    let task = create(&service, "a", "replicate").await;
    until(&service, "a", State::Running).await;
    assert!(matches!(service.create(spec("a", "replicate"), true).await, Ok(Creation::Same(_))));
    assert!(matches!(service.create(spec("a", "record"), true).await, Err(Refusal::Conflict(_))));
    service.stop().await;
    assert_eq!(runs(&script), (2, 2));
    assert_eq!(what(&task), ["started", "created"]);
}

#[tokio::test]
async fn a_task_whose_connection_fails_is_not_created() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    script.lock().unwrap().check.push_back(Error::retry("refused").advice("check the address"));
    let Err(Refusal::Connection(error)) = service.create(spec("a", "replay"), true).await else { panic!() };
    assert_eq!(error.message, "target http://h:1: refused");
    assert!(service.get("a").is_err() && TaskStore::new(store).all().await.unwrap().is_empty());
    assert!(service.create(spec("a", "replay"), true).await.is_ok());
}

#[tokio::test]
async fn a_service_that_is_started_again_goes_on_with_what_nobody_stopped() {
    let (store, script) = (Store::memory(), Shared::default());
    let before = service(&store, &script).await;
    script
        .lock()
        .unwrap()
        .replay
        .extend([Err(Error::fenced("another replayer")), Err(Error::operator("wrong token"))]);
    create(&before, "fenced", "replay").await;
    until(&before, "fenced", State::Failed).await;
    create(&before, "failed", "replay").await;
    until(&before, "failed", State::Failed).await;
    for name in ["runs", "paused", "gone"] {
        create(&before, name, "replay").await;
    }
    let mut replayed = before.get("paused").unwrap().replayed();
    replayed.wait_for(|progress| progress.applied_to == AT).await.unwrap();
    before.pause("paused").await.unwrap();
    before.delete("gone").await.unwrap();
    before.stop().await;
    let since = before.get("failed").unwrap().status().since;
    // Times are shown in milliseconds: the second start is later than the first by more than that.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;

    let after = service(&store, &script).await;
    let state = |name: &str| after.get(name).unwrap().status().state;
    assert_eq!(
        (state("runs"), state("paused"), state("failed")),
        (State::Running, State::Paused, State::Running)
    );
    assert_eq!(state("fenced"), State::Failed);
    assert!(after.get("failed").unwrap().status().since > since);
    assert!(after.get("gone").is_err());
    let paused = after.get("paused").unwrap().status();
    assert_eq!(paused.applied_to.unwrap().tso, AT.0);
    after.stop().await;
}

#[tokio::test]
async fn a_task_that_was_deleted_is_neither_resumed_nor_paused() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    script.lock().unwrap().replay.push_back(Err(Error::operator("wrong token")));
    let task = create(&service, "a", "replay").await;
    until(&service, "a", State::Failed).await;
    let ran = runs(&script);
    service.delete("a").await.unwrap();
    // as one that was asked for beside the deletion and had to wait for it
    assert!(!task.resume().await.unwrap() && !task.pause().await.unwrap());
    assert_eq!(runs(&script), ran);
    assert!(matches!(over(&task).await, Refusal::NotFound(_)));
}

#[tokio::test]
async fn that_another_process_took_over_is_remembered_over_a_later_failure() {
    let (store, script) = (Store::memory(), Shared::default());
    let before = service(&store, &script).await;
    {
        let mut script = script.lock().unwrap();
        script.record.push_back(Err(Error::fenced("another recorder")));
        script.replay.push_back(Err(Error::operator("wrong token")));
    }
    let task = create(&before, "a", "replicate").await;
    let both = async {
        while what(&task).iter().filter(|what| **what == "failed").count() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), both).await.unwrap();
    assert_eq!(task.status().last_error.unwrap().verdict, "fenced");
    before.stop().await;
    let after = service(&store, &script).await;
    assert_eq!(after.get("a").unwrap().status().state, State::Failed);
    after.stop().await;
}

#[tokio::test]
async fn what_may_pass_degrades_and_what_a_person_must_do_fails() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    script.lock().unwrap().replay.extend([
        Err(Error::retry("the target is gone").advice("start it")),
        Err(Error::operator("wrong token").advice("set another")),
    ]);
    let task = create(&service, "a", "replicate").await;
    until(&service, "a", State::Degraded).await;
    let degraded = task.status();
    let [retrying] = &degraded.retrying[..] else { panic!("{degraded:?}") };
    assert_eq!(
        (retrying.half.as_str(), retrying.message.as_str(), retrying.count),
        ("replay", "the target is gone", 1)
    );
    assert_eq!(degraded.last_error.unwrap().verdict, "retry");
    until(&service, "a", State::Failed).await;
    let failed = task.status().last_error.unwrap();
    assert_eq!(
        (failed.message.as_str(), failed.advice.as_deref(), failed.verdict.as_str()),
        ("wrong token", Some("set another"), "operator")
    );
    assert_eq!(what(&task), ["failed", "degraded", "started", "created"]);
    // The recorder goes on while the replayer waits for a person.
    assert_eq!(runs(&script).1, 0);
    service.resume("a").await.unwrap();
    assert_eq!(task.status().state, State::Running);
    service.stop().await;
    assert_eq!(runs(&script).1, 3);
}

#[tokio::test]
async fn a_replay_with_an_end_is_done_and_stays_so() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    script.lock().unwrap().replay.push_back(Ok(()));
    let mut document = document("a", "replay");
    document["until"] = "latest".into();
    let spec = TaskSpec::parse(document.to_string().as_bytes()).unwrap();
    service.create(spec, true).await.unwrap_or_else(|_| panic!());
    until(&service, "a", State::Done).await;
    let status = service.get("a").unwrap().status();
    assert_eq!((status.progress.unwrap().percent, status.apply_lag_s), (100.0, None));
    assert!(matches!(service.pause("a").await, Err(Refusal::Conflict(_))));
    assert!(matches!(service.resume("a").await, Err(Refusal::Conflict(_))));
}

#[tokio::test]
async fn a_half_that_ends_unasked_is_a_failure() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    script.lock().unwrap().record.push_back(Ok(()));
    create(&service, "a", "record").await;
    until(&service, "a", State::Failed).await;
}

#[tokio::test]
async fn a_paused_task_does_nothing_until_it_is_resumed() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    let task = create(&service, "a", "record").await;
    for _ in 0..2 {
        service.pause("a").await.unwrap();
    }
    assert_eq!(task.status().state, State::Paused);
    let (started, cancelled) = runs(&script);
    assert_eq!(started, cancelled);
    service.resume("a").await.unwrap();
    assert_eq!(task.status().state, State::Running);
    service.delete("a").await.unwrap();
    assert!(matches!(service.resume("a").await, Err(Refusal::NotFound(_))));
}

#[tokio::test]
async fn a_log_has_one_recorder() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    create(&service, "a", "record").await;
    for same in ["file:///logs/a", "file:///logs/a/", "file:///logs//a"] {
        let mut second = spec("b", "replicate");
        second.log.url = same.to_owned();
        let Err(Refusal::Conflict(error)) = service.create(second, true).await else { panic!("{same}") };
        assert!(error.message.contains("\"a\" records into"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_is_done_though_nobody_waits_for_the_answer() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    script.lock().unwrap().ends_after = Duration::from_secs(1);
    script.lock().unwrap().replay.push_back(Err(Error::operator("wrong token")));
    let task = create(&service, "a", "replicate").await;
    until(&service, "a", State::Failed).await;
    let soon = Duration::from_millis(100);
    assert!(tokio::time::timeout(soon, service.resume("a")).await.is_err());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((task.status().state, runs(&script)), (State::Running, (4, 1)));
    assert!(tokio::time::timeout(soon, service.delete("a")).await.is_err());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(service.get("a").is_err() && TaskStore::new(store).all().await.unwrap().is_empty());
    assert_eq!(runs(&script), (4, 3));
}

/// Tasks that record one commit more, into their own log, each time that they are started.
fn recording(script: &Shared) -> Work {
    let record: Half<RecordProgress> = Arc::new(|spec, progress, cancel| {
        async move {
            let known = progress.borrow().log_id.clone();
            let store = connect::log_store_of(&spec.log, known.as_deref()).await?;
            let log_id = Identity::load_or_create(&store).await?.log_id;
            store.create(&format!("commits/{}", uuid::Uuid::new_v4()), "a commit".into()).await?;
            progress.send_modify(|progress| progress.log_id = Some(log_id));
            cancel.cancelled().await;
            Ok(())
        }
        .boxed()
    });
    Work { record, ..work(script) }
}

#[tokio::test]
async fn a_log_that_has_vanished_is_not_begun_anew_until_the_task_is() {
    let (store, disk) = (Store::memory(), tempfile::tempdir().unwrap());
    let (log, away) = (disk.path().join("log"), disk.path().join("away"));
    let start = || Service::start(TaskStore::new(store.clone()), recording(&Shared::default()));
    let mut spec = spec("a", "record");
    spec.log.url = format!("file://{}", log.display());
    let service = start().await.unwrap();
    let (Creation::New(task) | Creation::Same(task)) = service.create(spec.clone(), false).await.unwrap();
    let mut recorded = task.recorded();
    let known =
        recorded.wait_for(|progress| progress.log_id.is_some()).await.unwrap().log_id.clone().unwrap();
    service.stop().await;

    std::fs::rename(&log, &away).unwrap();
    let service = start().await.unwrap();
    until(&service, "a", State::Failed).await;
    let status = service.get("a").unwrap().status();
    let error = status.last_error.unwrap();
    assert_eq!((error.verdict.as_str(), status.log_id.as_ref()), ("operator", Some(&known)));
    assert!(error.message.contains(&known) && error.message.contains("there is no log"), "{}", error.message);
    assert!(error.advice.unwrap().contains("delete the task and create it again"));
    assert!(!log.exists(), "its disk may come back");

    let other = connect::log_store(&spec.log).await.unwrap();
    Identity::load_or_create(&other).await.unwrap();
    service.resume("a").await.unwrap();
    until(&service, "a", State::Failed).await;
    let error = service.get("a").unwrap().status().last_error.unwrap();
    assert!(error.message.contains(&known) && error.message.contains("the log is "), "{}", error.message);
    service.stop().await;

    std::fs::rename(&log, disk.path().join("another")).unwrap();
    std::fs::rename(&away, &log).unwrap();
    let service = start().await.unwrap();
    assert_eq!(service.get("a").unwrap().status().state, State::Running);
    let commits = || std::fs::read_dir(log.join("commits")).map_or(0, Iterator::count);
    until_true(|| commits() == 2).await;
    std::fs::remove_dir_all(&log).unwrap();
    service.delete("a").await.unwrap();
    service.create(spec, false).await.unwrap_or_else(|_| panic!());
    until_true(|| commits() > 0).await;
    assert_eq!(service.get("a").unwrap().status().state, State::Running);
    service.stop().await;
}

async fn until_true(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it does not come to be so");
}

#[tokio::test]
async fn a_service_that_another_one_has_taken_over_from_stores_nothing_and_stops() {
    let (store, script) = (Store::memory(), Shared::default());
    let before = service(&store, &script).await;
    create(&before, "a", "record").await;
    create(&before, "gone", "record").await;
    let after = service(&store, &Shared::default()).await;
    after.delete("gone").await.unwrap();
    let stored = async || {
        let all = TaskStore::new(store.clone()).all().await.unwrap();
        all.into_iter().map(|document| (document.spec.name, document.state)).collect::<Vec<_>>()
    };
    let running = [("a".to_owned(), State::Running)];

    // A check of its log ends late, and somebody asks the wrong one of the two.
    before.get("gone").unwrap().keep_upkeep(Default::default()).await;
    assert_eq!(stored().await, running);
    for refused in [
        before.create(spec("b", "record"), false).await.map(drop),
        before.pause("a").await.map(drop),
        before.delete("a").await,
    ] {
        let error = Error::from(refused.unwrap_err());
        assert_eq!(error.message, "another service has taken over these tasks");
        assert_eq!(error.advice.as_deref(), Some("stop one of the two"));
    }
    until(&before, "a", State::Failed).await;
    assert_eq!(before.get("a").unwrap().status().last_error.unwrap().verdict, "fenced");
    assert_eq!(runs(&script), (2, 2));
    assert_eq!(stored().await, running);
    assert_eq!(after.get("a").unwrap().status().state, State::Running);
    after.pause("a").await.unwrap();
}

#[tokio::test]
async fn a_service_that_cannot_read_the_tasks_takes_none_over() {
    let (store, script) = (Store::memory(), Shared::default());
    let before = service(&store, &script).await;
    create(&before, "a", "record").await;
    store.put("tasks/broken.json", "{".into()).await.unwrap();
    assert!(Service::start(TaskStore::new(store), work(&script)).await.is_err());
    before.pause("a").await.unwrap();
    assert!(!before.is_taken_over());
}

#[tokio::test]
async fn tasks_work_where_it_cannot_be_stored_yet_whose_they_are() {
    // of an empty store: a listing, the claim
    let inner = FaultyStore::new(Arc::new(InMemory::new()), Fault::FailOnce(2));
    let store = Store::new(Arc::new(inner), Path::ROOT, "memory://".into());
    let script = Shared::default();
    let before = service(&store, &script).await;
    create(&before, "a", "record").await;
    let after = service(&store, &Shared::default()).await;
    assert!(before.pause("a").await.is_err() && before.is_taken_over());
    after.pause("a").await.unwrap();
}

#[tokio::test]
async fn that_another_service_has_taken_over_is_no_state_of_the_task() {
    let (store, script) = (Store::memory(), Shared::default());
    // A recorder that is about to find another one in its log.
    let (fence, fenced) = tokio::sync::watch::channel(false);
    let record: Half<RecordProgress> = Arc::new(move |_, _, _| {
        let mut fenced = fenced.clone();
        async move {
            let _ = fenced.wait_for(|fenced| *fenced).await;
            Err(Error::fenced("another recorder"))
        }
        .boxed()
    });
    let before =
        Service::start(TaskStore::new(store.clone()), Work { record, ..work(&script) }).await.unwrap();
    create(&before, "a", "record").await;
    let after = service(&store, &script).await;
    fence.send_replace(true);
    until(&before, "a", State::Failed).await;
    after.stop().await;
    let again = service(&store, &script).await;
    assert_eq!(again.get("a").unwrap().status().state, State::Running);
}

#[tokio::test]
async fn a_half_of_a_service_that_another_one_has_taken_over_from_is_not_started_again() {
    let (store, script) = (Store::memory(), Shared::default());
    let before = service(&store, &script).await;
    script.lock().unwrap().record.push_back(Err(Error::retry("the queue is gone")));
    let task = create(&before, "a", "record").await;
    let mut recorded = task.recorded();
    recorded.wait_for(|progress| progress.recorded_to == AT).await.unwrap();
    let _after = service(&store, &Shared::default()).await;
    until(&before, "a", State::Failed).await;
    assert_eq!(script.lock().unwrap().started, 1);
}

#[tokio::test]
async fn what_is_found_late_does_not_bring_a_task_back_that_is_no_longer_stored() {
    let (store, script) = (Store::memory(), Shared::default());
    let service = service(&store, &script).await;
    let task = create(&service, "a", "record").await;
    store.delete("tasks/a.json").await.unwrap();
    task.keep_upkeep(Default::default()).await;
    task.keep_verification(Default::default()).await;
    assert!(TaskStore::new(store).all().await.unwrap().is_empty());
}
