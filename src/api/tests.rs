use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::error::Error;
use crate::log::store::Store;
use crate::task::fake::{Shared, document as task, service, until};
use crate::task::state::State as TaskState;

struct Rig {
    api: Api,
    script: Shared,
}

async fn rig() -> Rig {
    let script = Shared::default();
    let service = service(&Store::memory(), &script).await;
    Rig {
        api: Api { service, token: None, cdc: Arc::default(), looks: Arc::default(), process: None },
        script,
    }
}

impl Rig {
    async fn send(&self, request: axum::http::request::Builder, body: Body) -> (StatusCode, String) {
        let response = router(self.api.clone()).oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let (status, text) = self.send(request, body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

#[tokio::test]
async fn a_task_is_created_shown_paused_resumed_and_deleted() {
    let rig = rig().await;
    let (status, created) = rig.ask("POST", "/v1/tasks", Some(&task("a", "replicate"))).await;
    assert_eq!((status, &created["spec"]), (StatusCode::CREATED, &task("a", "replicate")));
    assert_eq!(rig.ask("POST", "/v1/tasks", Some(&task("a", "replicate"))).await.0, StatusCode::OK);
    assert_eq!(rig.ask("POST", "/v1/tasks", Some(&task("a", "record"))).await.0, StatusCode::CONFLICT);
    let mut replayed = rig.api.service.get("a").unwrap().replayed();
    replayed.wait_for(|progress| progress.commits == 3).await.unwrap();
    let (_, shown) = rig.ask("GET", "/v1/tasks/a", None).await;
    assert_eq!(shown["status"]["state"], "running");
    assert_eq!(
        shown["status"]["applied_to"],
        json!({"tso": 470656465160896520u64, "time": "2026-11-23T05:32:10.698Z"})
    );
    assert_eq!(shown["status"]["progress"]["percent"], 100.0);
    assert_eq!(rig.ask("POST", "/v1/tasks/a/pause", None).await.1["status"]["state"], "paused");
    assert_eq!(rig.ask("POST", "/v1/tasks/a/resume", None).await.1["status"]["state"], "running");
    let (_, events) = rig.ask("GET", "/v1/tasks/a/events?limit=3", None).await;
    let what =
        events["events"].as_array().unwrap().iter().map(|event| event["what"].clone()).collect::<Vec<_>>();
    assert_eq!(what, ["resumed", "paused", "started"]);
    assert_eq!(rig.ask("DELETE", "/v1/tasks/a", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(rig.ask("GET", "/v1/tasks/a", None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_wrong_is_told_in_a_problem_body_with_its_status() {
    let script = Shared::default();
    let state = Store::new(
        Arc::new(object_store::memory::InMemory::new()),
        object_store::path::Path::ROOT,
        "file:///state".into(),
    );
    let service = service(&state, &script).await;
    let rig = Rig {
        api: Api { service, token: None, cdc: Arc::default(), looks: Arc::default(), process: None },
        script,
    };
    let unknown = json!({"name": "a", "kind": "replay", "colour": 1});
    let literal = {
        let mut literal = task("a", "replay");
        literal["target"]["token"] = json!("hunter2");
        literal
    };
    let wrong_type = json!({"name": 1});
    let over_state = {
        let mut over_state = task("a", "replay");
        over_state["log"]["url"] = json!("file:///state/log");
        over_state
    };
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().join("nothing");
    let no_log = format!("/v1/logs?url=file://{}", nothing.display());
    let big = json!({"name": "x".repeat(2 << 20)});
    for (method, path, body, status, detail) in [
        ("GET", "/nothing", None, 404, "nothing at this path"),
        ("PUT", "/v1/tasks", None, 405, "no such method"),
        ("GET", "/v1/tasks/none", None, 404, "there is no task \"none\""),
        ("POST", "/v1/tasks/none/pause", None, 404, "there is no task \"none\""),
        ("DELETE", "/v1/tasks/none", None, 404, "there is no task \"none\""),
        ("POST", "/v1/tasks", Some(&unknown), 422, "colour: unknown field"),
        ("POST", "/v1/tasks", Some(&literal), 422, "target.token: a secret itself may not stand"),
        ("POST", "/v1/tasks", Some(&big), 413, "1 MB"),
        ("POST", "/v1/tasks?cheque=1", Some(&unknown), 400, "unknown field `cheque`"),
        ("GET", "/v1/tasks?limit=x", None, 400, "limit"),
        ("GET", "/v1/logs?url=ftp://h/x", None, 422, "no store is called \"ftp\""),
        ("GET", "/v1/logs", None, 400, "missing field `url`"),
        ("GET", &no_log, None, 404, "there is no log at file://"),
        ("POST", "/v1/tasks", Some(&over_state), 422, "log.url: file:///state/log and the service's state"),
        ("POST", "/v1/tasks", Some(&wrong_type), 422, "name: invalid type"),
    ] {
        let (got, problem) = rig.ask(method, path, body).await;
        assert_eq!((got.as_u16(), &problem["status"]), (status, &json!(status)), "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{path}: {problem}");
        assert!(
            problem["type"].as_str().unwrap().starts_with("urn:tapedeck:") && problem["title"].is_string()
        );
        assert!(!problem.to_string().contains("hunter2"));
    }
    assert!(!nothing.exists(), "a look has made a folder");
}

#[tokio::test]
async fn a_body_that_is_no_json_is_a_bad_request_with_its_line_and_column() {
    let rig = rig().await;
    for path in ["/v1/tasks", "/cdc"] {
        let request = Request::builder().method("POST").uri(path).header("content-type", "application/json");
        let (status, body) = rig.send(request, Body::from("{\n\"name\": tru")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(body.contains("this is no JSON: ") && body.contains("line 2 column 11"), "{body}");
    }
}

#[tokio::test]
async fn a_task_whose_connection_fails_leaves_nothing_unless_the_check_is_left_out() {
    let rig = rig().await;
    let fail = || rig.script.lock().unwrap().check.push_back(Error::operator("wrong token").advice("set it"));
    fail();
    let (status, problem) = rig.ask("POST", "/v1/tasks", Some(&task("a", "replay"))).await;
    assert_eq!((status.as_u16(), &problem["detail"]), (422, &json!("target http://h:1: wrong token")));
    assert_eq!(problem["advice"], "set it");
    assert_eq!(rig.ask("GET", "/v1/tasks", None).await.1, json!({"tasks": [], "next": null}));
    fail();
    assert_eq!(
        rig.ask("POST", "/v1/tasks?check=false", Some(&task("a", "replay"))).await.0,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn tasks_are_listed_in_pages() {
    let rig = rig().await;
    for name in ["c", "a", "b"] {
        rig.ask("POST", "/v1/tasks", Some(&task(name, "replay"))).await;
    }
    let mut names = Vec::new();
    let mut path = "/v1/tasks?limit=2".to_owned();
    loop {
        let (_, page) = rig.ask("GET", &path, None).await;
        names.extend(page["tasks"].as_array().unwrap().iter().map(|task| task["spec"]["name"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/tasks?limit=2&after={next}");
    }
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn requests_need_the_token_where_there_is_one() {
    let mut rig = rig().await;
    rig.api.token = Some(Token::new("hunter2"));
    let ask = async |path: &str, header: &str| {
        rig.send(Request::builder().uri(path).header("authorization", header), Body::empty()).await.0
    };
    assert_eq!(ask("/v1/tasks", "Bearer hunter2").await, StatusCode::OK);
    assert_eq!(ask("/v1/tasks", "Bearer hunter").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("/v1/tasks", "hunter2").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("/metrics", "").await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask("/healthz", "").await, StatusCode::OK);
    assert!(!format!("{:?}", rig.api.token).contains("hunter2"));
}

#[tokio::test]
async fn pages_of_other_sites_cannot_use_the_api() {
    let rig = rig().await;
    let ask = async |origin: &str| {
        let request =
            Request::builder().uri("/v1/tasks").header("host", "127.0.0.1:8444").header("origin", origin);
        rig.send(request, Body::empty()).await.0
    };
    assert_eq!(ask("http://evil.example").await, StatusCode::FORBIDDEN);
    assert_eq!(ask("null").await, StatusCode::FORBIDDEN);
    assert_eq!(ask("http://127.0.0.1:8444").await, StatusCode::OK);
    let form = Request::builder().method("POST").uri("/v1/tasks").header("content-type", "text/plain");
    assert_eq!(rig.send(form, Body::from("{}")).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_name_that_was_made_to_mean_this_machine_is_not_answered_without_a_token() {
    let mut rig = rig().await;
    let ask = async |rig: &Rig, host: &[u8], token: &str| {
        let host = axum::http::HeaderValue::from_bytes(host).unwrap();
        let request = Request::builder().uri("/v1/tasks").header("host", host).header("authorization", token);
        rig.send(request, Body::empty()).await.0
    };
    for own in ["localhost:8444", "127.0.0.1:8444", "127.0.0.1", "[::1]:8444"] {
        assert_eq!(ask(&rig, own.as_bytes(), "").await, StatusCode::OK, "{own}");
    }
    for other in ["evil.example:8444", "localhost.evil.example", "10.0.0.1:8444", "", "\u{e9}"] {
        assert_eq!(ask(&rig, other.as_bytes(), "").await, StatusCode::MISDIRECTED_REQUEST, "{other}");
    }
    rig.api.token = Some(Token::new("t"));
    assert_eq!(ask(&rig, b"backup.example:8444", "Bearer t").await, StatusCode::OK);
}

#[tokio::test]
async fn listening_to_other_machines_needs_a_token() {
    for address in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        assert!(listen(address, None).await.unwrap_err().message.contains("no token"));
    }
    assert!(listen("127.0.0.1:0", None).await.is_ok());
    assert!(listen("0.0.0.0:0", Some(&Token::new("t"))).await.is_ok());
    assert_eq!(listen("localhost", None).await.unwrap_err().exit_code(), 2);
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_document_has_no_other() {
    let document = serde_json::to_value(document()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let documented = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
    });
    let routes = routes().into_iter().map(|(method, path, _)| (method.to_owned(), path.to_owned()));
    let (documented, routes) = (documented.collect::<BTreeSet<_>>(), routes.collect::<BTreeSet<_>>());
    assert_eq!(documented, routes);
    // The list says the method that the handler has.
    let rig = rig().await;
    for (method, path) in routes {
        let path = path.replace("{name}", "none");
        let (status, _) = rig.ask(&method.to_uppercase(), &path, None).await;
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
}

#[tokio::test]
async fn a_log_is_shown_with_identity_windows_holes_and_size() {
    let rig = rig().await;
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/formats/golden/v1");
    let path = format!("/v1/logs?url=file://{golden}");
    let (status, log) = rig.ask("GET", &path, None).await;
    assert_eq!((status, &log["log_id"]), (StatusCode::OK, &json!("6a2f41a3-c54c-4e8a-9f0e-3b1f3d6a7c11")));
    assert_eq!(log["source"], json!({"queue": "kafka:abc", "etcd": "1234/by-dev/meta"}));
    assert_eq!((&log["commits"], &log["read_to"], &log["rows"]), (&json!(3), &json!(3), &json!(2)));
    assert_eq!(log["windows"], json!([]), "the first commit has a hole");
    let hole = json!({"commit": 1, "after": null, "channel": "other", "start": "0", "end": "1", "reason": "retention"});
    assert_eq!(
        (&log["holes"], &log["objects"]),
        (&json!([hole]), &json!(8)),
        "two objects are the archive's"
    );
    // A second look goes on from there.
    assert_eq!(rig.ask("GET", &path, None).await.1, log);
}

#[tokio::test]
async fn the_timeline_of_a_log_is_what_the_command_prints() {
    use crate::log::reader::LogReader;
    use crate::log::timeline::{Part, timeline};
    let rig = rig().await;
    let golden = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/formats/golden/v1");
    let store = Store::open(golden, &Default::default()).await.unwrap();
    let reader = LogReader::open(store).await.unwrap();
    let second = Duration::from_secs(1);
    let part = Part { from: crate::tick::Tso::ZERO, to: crate::tick::Tso::MAX, period: second };
    let mut printed = String::new();
    let show = |entry| {
        printed.push_str(&format!("{}\n", serde_json::to_string(&entry).unwrap()));
        std::future::ready(Ok(()))
    };
    timeline(&reader, part, show, |_, _| {}).await.unwrap();
    let path = format!("/v1/logs/timeline?url={golden}");
    let request = Request::builder().uri(format!("{path}&period=1s")).body(Body::empty()).unwrap();
    let response = router(rig.api.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(String::from_utf8(text.to_vec()).unwrap(), printed);
    for entry in ["log", "definition", "rows", "hole", "total"] {
        assert!(printed.contains(&format!("{{\"entry\":\"{entry}\"")), "{entry}: {printed}");
    }
    for (part, status, detail) in [
        ("&from=yesterday", 422, "is no instant"),
        ("&from=9&to=8", 422, "lies after"),
        ("&period=never", 400, "is no period"),
        ("/nothing", 404, "there is no log at file://"),
    ] {
        let (got, problem) = rig.ask("GET", &format!("{path}{part}"), None).await;
        assert_eq!(got.as_u16(), status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    }
}

#[tokio::test]
async fn metrics_tell_of_damage_in_a_log() {
    let rig = rig().await;
    rig.ask("POST", "/v1/tasks", Some(&task("a", "record"))).await;
    let damaged = crate::log::verify::Report { more_damages: 2, ..Default::default() };
    rig.script.lock().unwrap().verify.push_back(Ok(damaged));
    crate::task::verification::verify_log(&rig.api.service.get("a").unwrap()).await;
    let text = rig.ask("GET", "/metrics", None).await.1;
    for line in [
        "tapedeck_task_log_damages{task=\"a\"} 2",
        "tapedeck_task_log_verified_timestamp_seconds{task=\"a\"} ",
        "tapedeck_task_state{task=\"a\",state=\"running\"} 1",
    ] {
        assert!(text.as_str().unwrap().contains(line), "{text}");
    }
    assert_eq!(rig.ask("GET", "/v1/tasks/a", None).await.1["status"]["verification"]["damages"], 2);
}

#[tokio::test]
async fn metrics_show_each_task_and_forget_deleted_ones() {
    let rig = rig().await;
    rig.ask("POST", "/v1/tasks", Some(&task("a", "record"))).await;
    let mut recorded = rig.api.service.get("a").unwrap().recorded();
    recorded.wait_for(|progress| progress.bytes == 99).await.unwrap();
    let text = rig.ask("GET", "/metrics", None).await.1;
    for line in [
        "tapedeck_task_state{task=\"a\",state=\"running\"} 1",
        "tapedeck_task_rows_total{task=\"a\",op=\"delete\"} 2",
        "tapedeck_task_bytes_total{task=\"a\"} 99",
        "tapedeck_task_lag_seconds{task=\"a\",half=\"record\"} ",
    ] {
        assert!(text.as_str().unwrap().contains(line), "{text}");
    }
    rig.ask("DELETE", "/v1/tasks/a", None).await;
    assert!(!rig.ask("GET", "/metrics", None).await.1.as_str().unwrap().contains("task=\"a\""));
}

#[tokio::test]
async fn events_can_be_followed() {
    let rig = rig().await;
    rig.ask("POST", "/v1/tasks", Some(&task("a", "replay"))).await;
    let request = Request::builder().uri("/v1/tasks/a/events?follow").body(Body::empty()).unwrap();
    let response = router(rig.api.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    rig.ask("POST", "/v1/tasks/a/pause", None).await;
    // The stream ends with the task.
    rig.ask("DELETE", "/v1/tasks/a", None).await;
    let text = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let what = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect::<Vec<_>>();
    assert_eq!(what, ["created", "started", "paused", "deleted"]);
}

#[tokio::test]
async fn a_script_for_milvus_cdc_gets_the_answers_that_it_knows() {
    let mut rig = rig().await;
    let spec: crate::task::spec::TaskSpec = serde_json::from_value(task("x", "replicate")).unwrap();
    let create = json!({"request_type": "create", "request_data": {
        "milvus_connect_param": {"uri": "http://127.0.0.1:19530", "connect_timeout": 10, "username": "",
            "password": "", "token": "", "enable_tls": false, "ignore_partition": false},
        "collection_infos": [{"name": "*"}], "rpc_channel_info": {"name": "by-dev-replicate-msg"}}});
    let (status, answer) = rig.ask("POST", "/cdc", Some(&create)).await;
    assert_eq!((status.as_u16(), &answer["code"]), (422, &json!(422)));
    assert!(answer["message"].as_str().unwrap().contains("request_data.source: it is missing"), "{answer}");

    rig.api.cdc = Arc::new(CdcDefaults { source: spec.source, log: Some(spec.log), token: None });
    let (_, answer) = rig.ask("POST", "/cdc", Some(&create)).await;
    assert_eq!(answer["code"], 200, "{answer}");
    let id = answer["data"]["task_id"].as_str().unwrap().to_owned();
    until(&rig.api.service, &id, TaskState::Running).await;
    let ask = async |kind: &str| {
        rig.ask("POST", "/cdc", Some(&json!({"request_type": kind, "request_data": {"task_id": id}}))).await.1
            ["data"]
            .clone()
    };
    let mut replayed = rig.api.service.get(&id).unwrap().replayed();
    replayed.wait_for(|progress| progress.commits == 3).await.unwrap();
    assert_eq!(ask("position").await["target_positions"][0]["time"], 1795411930698u64);
    assert_eq!(ask("get").await["task"]["state"], "Running");
    assert_eq!(ask("pause").await, json!({}));
    assert_eq!(ask("get").await["task"]["state"], "Paused");
    assert_eq!(ask("resume").await, json!({}));
    let (_, list) = rig.ask("POST", "/cdc", Some(&json!({"request_type": "list"}))).await;
    assert_eq!(list["data"]["tasks"][0]["collection_infos"], json!([{"name": "*"}]));
    assert_eq!(ask("delete").await, json!({}));
    assert_eq!(
        rig.ask("POST", "/cdc", Some(&json!({"request_type": "get", "request_data": {"task_id": id}})))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn what_does_not_fit_into_the_dialect_is_refused_and_no_secret_repeated() {
    let rig = rig().await;
    for (change, message) in [
        (json!({"token": "hunter2"}), "milvus_connect_param.token: a secret itself may not stand"),
        (json!({"password": "hunter2"}), "milvus_connect_param.password: a login may not stand in a request"),
        (
            json!({"ignore_partition": true}),
            "milvus_connect_param.ignore_partition: partitions are replicated",
        ),
        (json!({"dial_config": {}}), "unknown field `dial_config`"),
    ] {
        let request = json!({"request_type": "create", "request_data": {"milvus_connect_param": change, "collection_infos": []}});
        let (status, answer) = rig.ask("POST", "/cdc", Some(&request)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer["message"].as_str().unwrap().contains(message), "{answer}");
        assert!(!answer.to_string().contains("hunter2"));
    }
    let (_, answer) = rig.ask("POST", "/cdc", Some(&json!({"request_type": "restart"}))).await;
    assert!(answer["message"].as_str().unwrap().contains("known are create"), "{answer}");
}
