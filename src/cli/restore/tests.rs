use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cli::{Cli, Command};
use crate::log::store::Store;
use crate::progress::RecordProgress;
use crate::recorder::{Recorder, Start};
use crate::replayer::Planned;
use crate::selection::Selection;
use crate::source::memory::{CollectionSpec, MemorySource};
use crate::task::log::Look;
use crate::task::status::Moment;

/// A small log in a folder, and its window.
async fn recorded(folder: &std::path::Path) -> (Moment, Moment) {
    let url = format!("file://{}", folder.display());
    let mut source = MemorySource::new(1);
    source.create_collection(CollectionSpec::new("docs"));
    let recorder = Recorder {
        queue: Arc::new(source.queue.clone()),
        catalog: Box::new(source.catalog.reader()),
        milvus: None,
        replicate_channel: Some(source.replicate_channel()),
        store: Store::open(&url, &Default::default()).await.unwrap(),
        storage: None,
        start: Start::Earliest,
        selection: Selection::default(),
    };
    let (progress, mut published) = watch::channel(RecordProgress::default());
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let recording = tokio::spawn(async move { recorder.run(&progress, stop).await });
    let opened = async { published.wait_for(|progress| progress.opens_at > Tso::ZERO).await.map(drop) };
    tokio::time::timeout(Duration::from_secs(20), opened).await.unwrap().unwrap();
    let to = source.tick();
    let reached = async { published.wait_for(|progress| progress.recorded_to >= to).await.map(drop) };
    tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap().unwrap();
    cancel.cancel();
    recording.await.unwrap().unwrap();
    let spec = serde_json::from_value(json!({"url": url})).unwrap();
    let view = crate::task::log::view(&spec, &mut Look::default(), Duration::from_secs(20)).await;
    let window = view.unwrap().unwrap().windows.remove(0);
    (window.from.unwrap(), window.to.unwrap())
}

fn args(more: &str) -> Args {
    let line = format!("tapedeck restore {more}");
    match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Restore(args) => args,
        other => panic!("{other:?}"),
    }
}

fn spec(more: &str) -> TaskSpec {
    args(&format!("--log file:///l --to 9 --target http://h:1 {more}")).spec().unwrap()
}

#[test]
fn the_same_command_has_the_same_name_and_another_instant_target_or_choice_another() {
    let name = |line: &str| args(line).spec().unwrap().name;
    let base = "--log file:///l --to 2026-11-23T08:00:00Z --target http://h:1";
    let same = "--target http://h:1/ --log file:///l --to 2026-11-23T08:00:00.000Z --token-env TOKEN";
    assert_eq!(name(base), name(same));
    for other in [
        "--log file:///l --to 2026-11-23T08:00:01Z --target http://h:1",
        "--log file:///l --to 2026-11-23T08:00:00Z --target http://h:2",
        &format!("{base} --select a.*"),
        &format!("{base} --exclude a.*"),
        &format!("{base} --rename a.b=a.c"),
        &format!("{base} --skip 1:2"),
    ] {
        assert_ne!(name(base), name(other), "{other}");
    }
    assert_eq!(
        name(&format!("{base} --skip 1:2 --skip tso:3")),
        name(&format!("{base} --skip tso:3 --skip 1:2"))
    );
    assert_eq!(name(&format!("{base} --name mine")), "mine");
}

#[test]
fn what_is_asked_for_becomes_a_replay_task() {
    let spec = spec("--select a.* --rename a.b=a.c --skip 12:3 --token-file /t");
    let document = serde_json::to_value(&spec).unwrap();
    assert_eq!((&document["kind"], &document["until"]), (&json!("replay"), &json!(9)));
    assert_eq!((&document["rename"], &document["skip"]), (&json!({"a.b": "a.c"}), &json!(["12:3"])));
    assert_eq!(document["target"]["token"], json!({"file": "/t"}));
}

#[test]
fn wrong_arguments_are_refused_by_name_with_what_to_write() {
    let base = "--log file:///l --target http://h:1";
    for (line, says) in [
        ("--to yesterday", "\"yesterday\" is no instant"),
        ("--to 9 --skip 12", "skip[0]: \"12\" is no place"),
        ("--to 9 --skip 0:1", "skip[0]"),
        ("--to 9 --skip 1:2 --skip tso:x", "skip[1]"),
        ("--to 9 --rename a.b", "--rename \"a.b\" has no ="),
        ("--to 9 --rename a.b=a.c --rename a.b=a.d", "renames what another"),
        ("--to 9 --select docs", "select.include[0]"),
        ("--to 9 --name ../x", "name"),
    ] {
        let error = args(&format!("{base} {line}")).spec().unwrap_err();
        assert!(error.message.contains(says), "{line}: {error}");
        assert_eq!((error.exit_code(), error.advice.is_some()), (2, true), "{line}");
    }
    for line in ["--to 9 --json", "--to 9 --token-env A --token-file B"] {
        let line = format!("tapedeck restore {base} {line}");
        assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
    }
}

#[tokio::test]
async fn an_instant_outside_the_log_is_refused_with_3_before_the_target_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (from, end) = recorded(folder.path()).await;
    let says = format!("choose an instant from {} ({}) to ", from.time, from.tso);
    for to in [from.tso - 1, end.tso + 1] {
        for plan in ["", "--plan"] {
            let log = folder.path().display();
            let line = format!("--log {log} --to {to} --target http://127.0.0.1:1 {plan}");
            let error = restore(args(&line)).await.unwrap_err();
            assert_eq!(error.exit_code(), 3, "{error}");
            assert!(error.message.contains("it cannot be replayed to"), "{error}");
            assert!(error.advice.as_ref().unwrap().contains(&says), "{:?}", error.advice);
        }
    }
}

#[tokio::test]
async fn a_target_that_is_not_there_ends_a_restore_with_1_and_a_log_that_is_not_too() {
    let folder = tempfile::tempdir().unwrap();
    let to = recorded(folder.path()).await.1.tso;
    let empty = tempfile::tempdir().unwrap();
    for (log, says) in [(&folder, "asking the target"), (&empty, "there is no log at")] {
        let line = format!("--log {} --to {to} --target http://127.0.0.1:1", log.path().display());
        let error = restore(args(&line)).await.unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn a_restore_says_at_its_end_what_was_restored() {
    let planned = |name: &str| Planned { source: "default.docs".into(), target: name.into() };
    let to_time = "2026-11-23T08:00:00.000Z".to_owned();
    let mut plan = Plan { to: 9, to_time, collections: vec![planned("default.copy")], ..Plan::default() };
    let line = restored(&plan);
    assert_eq!(line, "restored to 2026-11-23T08:00:00.000Z (9): 1 collections: default.copy");
    plan.collections = vec![planned("a.b"); 9];
    assert!(restored(&plan).ends_with(": 9 collections"));
}

#[test]
fn a_plan_is_shown_whole() {
    let plan = Plan {
        to_time: "2026-11-23T08:00:00.000Z".into(),
        base: Some(PlannedBase { commit: 7, time: "2026-11-22T08:00:00.000Z".into(), rows: 5, bytes: 600 }),
        commits: 3,
        inserted: 10,
        operations: BTreeMap::from([("create_index", 2)]),
        notes: vec!["default.docs: its rows expire".into()],
        left_out: vec![Omitted {
            place: "12:3".into(),
            time: "2026-11-23T07:59:00.000Z".into(),
            change: "drop_collection",
            of: "default.docs".into(),
            rows: 0,
            with_it: BTreeMap::new(),
        }],
        ..Plan::default()
    };
    let text = lines(&plan).join("\n");
    for part in [
        "begins with the base of commit 7, 2026-11-22T08:00:00.000Z: 5 rows, 600 bytes",
        "3 commits",
        "10 rows inserted",
        "2 create_index",
        "note: default.docs: its rows expire",
        "left out 12:3: drop_collection default.docs at 2026-11-23T07:59:00.000Z",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn a_restore_takes_a_base_of_an_encrypted_log_only_for_readers_that_are_named() {
    let plan = Plan { inserted: 20, deleted: 19, ..Plan::default() };
    let nobody = spec("--identity k");
    let said = shortened(&plan, shorten(&nobody, &plan).await);
    assert!(said.contains("nobody is named who could read what is written (give --recipient"), "{said}");
    let reader = crate::log::store::encryption::Identity::generate().to_public().to_string();
    let named = spec(&format!("--identity k --recipient {reader}"));
    assert_eq!(named.log.encryption.unwrap().recipients, [reader]);
    let clear = args("--log file:///l --to 9 --target http://h:1 --recipient age1x").spec().unwrap_err();
    assert!(clear.message.contains("is for an encrypted log"), "{clear}");
}

#[tokio::test]
async fn a_long_history_is_shortened_by_a_base_and_where_none_can_be_taken_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = recorded(folder.path()).await;
    let base = format!("--log {} --target http://h:1", folder.path().display());
    let spec = args(&format!("{base} --to {}", to.tso)).spec().unwrap();
    let plan = |to| Plan { to, inserted: 20, deleted: 19, ..Plan::default() };
    let taken = shortened(&plan(to.tso), shorten(&spec, &plan(to.tso)).await);
    assert!(
        taken.starts_with("of 20 rows 19 are replaced or deleted later: begins with the base of "),
        "{taken}"
    );
    let early = plan(from.tso - 1);
    let none = shortened(&early, shorten(&spec, &early).await);
    assert!(none.contains("and no base could be taken, so all of it is replayed: "), "{none}");
}
