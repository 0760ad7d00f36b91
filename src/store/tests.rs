use std::collections::BTreeSet;

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::StatusCode;
use object_store::memory::InMemory;

use super::*;
use crate::error::Verdict;
use crate::log::faulty_store::{Fault, FaultyStore};
use crate::log::{layout, tail};
use crate::loopback::tests::behind_a_proxy;
use crate::position::Seq;

mod policy;

fn faulty(fault: Fault) -> Store {
    Store::new(
        Arc::new(FaultyStore::new(Arc::new(InMemory::new()), fault)),
        Path::from("a/b"),
        "faulty://".into(),
    )
}

/// An S3 that gives one answer to everything.
async fn s3_that_answers(status: u16, body: &'static str) -> Store {
    s3_of(move |_: Request| async move { (StatusCode::from_u16(status).unwrap(), body) }).await
}

async fn s3_of<A: Handler<T, ()>, T: 'static>(answer: A) -> Store {
    s3(s3_server(answer).await).await
}

async fn s3_server<A: Handler<T, ()>, T: 'static>(answer: A) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    endpoint
}

async fn s3(endpoint: String) -> Store {
    s3_with(endpoint, StoreOptions::default()).await
}

async fn s3_with(endpoint: String, options: StoreOptions) -> Store {
    let options = StoreOptions {
        endpoint: Some(endpoint),
        access_key_id: Some("the-key".into()),
        secret_access_key: Some("the-secret".into()),
        ..options
    };
    Store::open("s3://bucket/log", &options).await.unwrap()
}

async fn keeps_its_promises(store: Store) {
    store.probe().await.unwrap();
    assert_eq!(store.list("", None).await.unwrap(), []);
    assert_eq!(store.get("x/1").await.unwrap(), None);
    assert!(!store.exists("x/1").await.unwrap());
    assert_eq!(store.create("x/1", Bytes::from_static(b"one")).await.unwrap(), Created::Yes);
    assert_eq!(
        store.create("x/1", Bytes::from_static(b"two")).await.unwrap(),
        Created::No(Bytes::from_static(b"one"))
    );
    assert_eq!(store.create("x/1", Bytes::from_static(b"one")).await.unwrap(), Created::Yes);
    store.put("x/3", Bytes::from_static(b"three")).await.unwrap();
    store.put("x/2", Bytes::from_static(b"three")).await.unwrap();
    store.put("x/2", Bytes::from_static(b"22")).await.unwrap();
    store.put("xy/2", Bytes::new()).await.unwrap();
    let keys =
        |list: &[(&str, u64)]| list.iter().map(|(key, size)| ((*key).to_owned(), *size)).collect::<Vec<_>>();
    assert_eq!(store.list("x", None).await.unwrap(), keys(&[("x/1", 3), ("x/2", 2), ("x/3", 5)]));
    assert_eq!(store.list("x", Some("x/1")).await.unwrap(), keys(&[("x/2", 2), ("x/3", 5)]));
    assert_eq!(store.list("nothing", None).await.unwrap(), []);
    assert!(store.exists("x/2").await.unwrap());
    store.delete("x/2").await.unwrap();
    store.delete("x/2").await.unwrap();
    assert_eq!(store.get("x/2").await.unwrap(), None);
    assert_eq!(store.get("x/3").await.unwrap().unwrap(), "three");
}

#[tokio::test]
async fn memory_and_folders_keep_the_promises() {
    keeps_its_promises(Store::memory()).await;
    keeps_its_promises(faulty(Fault::None)).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/new/log", folder.path().display());
    keeps_its_promises(Store::open(&url, &StoreOptions::default()).await.unwrap()).await;
}

/// `TAPEDECK_TEST_S3=http://127.0.0.1:9000/bucket` with the keys in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
#[tokio::test]
async fn a_real_s3_keeps_the_promises() {
    let Ok(stand) = std::env::var("TAPEDECK_STAND") else {
        return eprintln!("skipped: no stand (deploy/test starts one)");
    };
    let stand = std::fs::read(format!("{stand}/stand.json")).unwrap();
    let stand: serde_json::Value = serde_json::from_slice(&stand).unwrap();
    let minio = |key: &str| stand["minio"][key].as_str().unwrap().to_owned();
    let options = StoreOptions {
        endpoint: Some(minio("endpoint")),
        access_key_id: Some(minio("access_key")),
        secret_access_key: Some(minio("secret_key")),
        ..Default::default()
    };
    let bucket = minio("bucket");
    let prefix = format!("s3://{bucket}/{}", uuid::Uuid::new_v4());
    keeps_its_promises(Store::open(&prefix, &options).await.unwrap()).await;
    let missing = Store::open("s3://no-such-bucket-here/log", &options).await.unwrap();
    for error in [missing.probe().await.unwrap_err(), missing.get("x").await.unwrap_err()] {
        assert_eq!(error.verdict, Verdict::Operator);
        assert!(error.message.contains("no such bucket"), "{error}");
    }
    let wrong = StoreOptions { secret_access_key: Some("not the secret".into()), ..options };
    let error = Store::open(&prefix, &wrong).await.unwrap().probe().await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    assert!(error.message.contains("access denied") && !error.message.contains("not the secret"), "{error}");
}

#[tokio::test]
async fn a_store_in_memory_is_shared_by_its_name() {
    let open = async |url| Store::open(url, &StoreOptions::default()).await.unwrap();
    open("memory://one/a").await.put("k", Bytes::from_static(b"x")).await.unwrap();
    assert!(open("memory://one/a").await.exists("k").await.unwrap());
    assert!(!open("memory://one/b").await.exists("k").await.unwrap());
    assert!(!open("memory://two/a").await.exists("k").await.unwrap());
}

#[tokio::test]
async fn a_store_that_ignores_put_if_absent_is_refused() {
    let store = faulty(Fault::IgnoreCreate);
    let error = store.probe().await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    assert!(error.message.contains("creates an object that is already there"), "{error}");
    assert_eq!(store.list("", None).await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_ignores_where_a_listing_begins_is_filtered() {
    let store = faulty(Fault::IgnoreOffset);
    keeps_its_promises(store.clone()).await;
    store.put(&layout::commit(Seq(1)), Bytes::new()).await.unwrap();
    tail::nothing_beyond(&store, Seq(1)).await.unwrap();
}

#[tokio::test]
async fn a_store_that_lists_nothing_after_a_key_is_refused() {
    let store = faulty(Fault::NothingAfter);
    let error = store.probe().await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    assert!(error.message.contains("start-after"), "{error}");
    assert_eq!(store.list("", None).await.unwrap(), []);
}

#[tokio::test]
async fn a_lost_answer_to_a_create_is_resolved_by_reading_the_slot() {
    let store = faulty(Fault::LoseAnswer(1));
    assert_eq!(store.create("k", Bytes::from_static(b"x")).await.unwrap(), Created::Yes);
    let store = faulty(Fault::FailOnce(1));
    assert!(store.create("k", Bytes::from_static(b"x")).await.unwrap_err().is_retry());
    assert_eq!(store.create("k", Bytes::from_static(b"x")).await.unwrap(), Created::Yes);
}

/// Its folder may not have been synced after the file was linked.
#[tokio::test]
async fn what_a_folder_holds_after_a_failed_create_is_written_once_more() {
    let inner = FaultyStore::new(Arc::new(InMemory::new()), Fault::LoseAnswer(1));
    let calls = inner.calls();
    let store = Store::new(Arc::new(inner), Path::ROOT, "file:///folder".into());
    assert_eq!(store.create("k", Bytes::from_static(b"x")).await.unwrap(), Created::Yes);
    let (put, read, put_again) = (1, 1, 1);
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), put + read + put_again);
}

#[tokio::test]
async fn urls_that_are_none_are_refused_without_showing_what_may_be_a_secret() {
    let options =
        StoreOptions { endpoint: Some("http://user:hunter2@127.0.0.1".into()), ..Default::default() };
    assert!(!format!("{options:?}{:?}", Store::open("s3://b/x", &options).await).contains("hunter2"));
    for url in [
        "",
        "x",
        "ftp://a/b",
        "s3://",
        "s3://user:hunter2@bucket/x",
        "s3://bucket/x?token=hunter2",
        "file://host/x",
    ] {
        let error = Store::open(url, &StoreOptions::default()).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Usage, "{url}");
        assert!(error.advice.is_some() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let url = format!("file://{}/file/log", folder.path().display());
    let error = Store::open(&url, &StoreOptions::default()).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    assert!(error.message.contains("file/log"), "{error}");
}

#[tokio::test]
async fn keys_cannot_leave_the_prefix() {
    for key in ["../x", "a//b", "a/./b"] {
        assert_eq!(Store::memory().get(key).await.unwrap_err().verdict, Verdict::Refused, "{key}");
    }
}

#[tokio::test]
async fn answers_of_an_s3_say_who_acts() {
    let denied = "<Error><Code>InvalidAccessKeyId</Code><Message>No such key</Message><Token-0>hunter2</Token-0></Error>";
    let no_bucket = "<Error><Code>NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>";
    for (status, body, verdict, text) in [
        (403, denied, Verdict::Operator, "access denied (InvalidAccessKeyId: No such key)"),
        (404, no_bucket, Verdict::Operator, "there is no such bucket"),
        (400, denied, Verdict::Operator, "it answers 400 (InvalidAccessKeyId"),
        (301, "", Verdict::Operator, "it is in another region"),
        (409, "", Verdict::Retry, "another request is writing it"),
        (503, "", Verdict::Retry, "it answers 503"),
        (429, "", Verdict::Retry, "it answers 429"),
    ] {
        let store = s3_that_answers(status, body).await;
        let error = store.create("k", Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(error.verdict, verdict, "{status}: {error}");
        assert!(error.message.contains(text), "{status}: {error}");
        assert!(error.message.contains("create k in s3://bucket/log"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_no_object_store_is_named_as_such() {
    for (status, body) in [
        (404, "404 page not found"),
        (405, "<html><body>Method Not Allowed</body></html>"),
        (400, "Bad Request"),
        (404, ""),
    ] {
        let store = s3_that_answers(status, body).await;
        let error = store.probe().await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        let advice = error.advice.unwrap();
        assert!(
            advice.starts_with("correct the endpoint") && !advice.contains("bucket"),
            "{status}: {advice}"
        );
    }
    let error = s3_that_answers(200, "<html>Welcome</html>").await.probe().await.unwrap_err();
    assert!(!error.advice.unwrap().contains("bucket"), "{}", error.message);
}

#[tokio::test]
async fn what_a_proxy_answers_while_its_store_is_down_says_nothing_of_objects() {
    for body in ["404 page not found", "<html>Not Found</html>", ""] {
        let store = s3_that_answers(404, body).await;
        for (asked, answer) in [
            ("get", store.get("k").await.map(drop)),
            ("exists", store.exists("k").await.map(drop)),
            ("list", store.list("", None).await.map(drop)),
            ("delete", store.delete("k").await),
            ("put", store.put("k", Bytes::new()).await),
            ("create", store.create("k", Bytes::new()).await.map(drop)),
        ] {
            let error = answer.expect_err(asked);
            assert_eq!(error.verdict, Verdict::Retry, "{asked}: {error}");
            assert!(error.message.contains("not as an object store does"), "{asked}: {error}");
        }
    }
}

#[tokio::test]
async fn an_object_that_is_not_there_is_no_error_but_a_bucket_that_is_not_there_is() {
    let absent = "<Error><Code>NoSuchKey</Code></Error>";
    assert_eq!(s3_that_answers(404, absent).await.get("k").await.unwrap(), None);
    let error =
        s3_that_answers(404, "<Error><Code>NoSuchBucket</Code></Error>").await.get("k").await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
}

#[tokio::test]
async fn a_store_on_this_machine_is_reached_past_the_proxy_of_the_environment() {
    if behind_a_proxy("store::tests::a_store_on_this_machine_is_reached_past_the_proxy_of_the_environment") {
        let absent = "<Error><Code>NoSuchKey</Code></Error>";
        assert_eq!(s3_that_answers(404, absent).await.get("k").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_tried_again_with_advice() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = s3(endpoint).await;
    for error in [store.probe().await.unwrap_err(), store.list("", None).await.unwrap_err()] {
        assert_eq!(error.verdict, Verdict::Retry);
        assert!(error.message.contains("no answer"), "{error}");
        assert!(error.advice.unwrap().contains("running"));
    }
}

/// On this store a body, of any length, takes longer than an answer may.
#[tokio::test]
async fn a_large_body_may_go_up_for_longer_than_an_answer_may_take() {
    let store = s3_of(|request: Request| async {
        axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        tokio::time::sleep(2 * upload::ANSWER).await;
        ([("etag", "\"1\"")], "")
    })
    .await;
    store.put("large", vec![0; 1 << 20].into()).await.unwrap();
    let error = store.put("small", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(error.is_retry() && error.message.contains("no answer"), "{error}");
}

#[tokio::test]
async fn an_expired_token_and_a_wrong_clock_are_waited_for() {
    for (status, body, helps) in [
        (400, "<Error><Code>ExpiredToken</Code><Message>expired</Message></Error>", "session_token"),
        (400, "<Error><Code>InvalidToken</Code></Error>", "session_token"),
        (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", "clock"),
    ] {
        let error = s3_that_answers(status, body).await.get("k").await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Retry, "{error}");
        assert!(error.advice.unwrap().contains(helps));
    }
}

#[test]
fn a_full_disk_waits_and_a_forbidden_one_does_not() {
    let error = |kind: std::io::ErrorKind| {
        let source = Box::new(std::io::Error::from(kind));
        failure(
            &Store::memory(),
            "write",
            "k",
            &object_store::Error::Generic { store: "LocalFileSystem", source },
        )
    };
    let full = error(std::io::ErrorKind::StorageFull);
    assert_eq!((full.verdict, full.advice.unwrap().contains("free some room")), (Verdict::Retry, true));
    assert_eq!(error(std::io::ErrorKind::PermissionDenied).verdict, Verdict::Operator);
}

#[test]
fn no_secret_is_shown() {
    let options = StoreOptions {
        access_key_id: Some("hunter1".into()),
        secret_access_key: Some("hunter2".into()),
        session_token: Some("hunter3".into()),
        ..Default::default()
    };
    let shown = format!("{options:?}");
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(shown.matches("***").count(), 3);
}

#[test]
fn keys_for_probes_differ() {
    assert_eq!((0..10).map(|_| probe::key()).collect::<BTreeSet<_>>().len(), 10);
}

#[tokio::test]
async fn what_no_header_can_hold_is_refused_by_its_name() {
    let broken = || Some("hunter2\nhunter2".to_owned());
    for (name, options) in [
        ("region", StoreOptions { region: broken(), ..Default::default() }),
        ("access_key_id", StoreOptions { access_key_id: broken(), ..Default::default() }),
        ("session_token", StoreOptions { session_token: broken(), ..Default::default() }),
    ] {
        let error = Store::open("s3://bucket/log", &options).await.unwrap_err();
        assert!(error.message.contains(name) && error.verdict == Verdict::Usage, "{error}");
        assert!(error.advice.is_some() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

/// Without credentials the clouds' libraries would ask this machine's metadata service.
#[tokio::test]
async fn without_credentials_a_cloud_is_refused_and_nothing_is_asked() {
    for url in ["s3://bucket/log", "gs://bucket/log", "az://account/log"] {
        let error = Store::open(url, &StoreOptions::default()).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Operator, "{url}");
        assert!(error.message.contains("credentials"), "{url}: {error}");
    }
}

#[tokio::test]
async fn of_a_sources_folder_nothing_is_made_and_advice_names_its_section() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let options = StoreOptions { owner: Owner::Source, ..StoreOptions::default() };
    let error = Store::open(&format!("file://{}", missing.display()), &options).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator);
    assert!(error.advice.unwrap().contains("localStorage.path") && !missing.exists());
    let error = Store::open("s3://bucket/files", &options).await.unwrap_err();
    assert!(error.advice.unwrap().contains("source.storage.options"));
}

#[tokio::test]
async fn an_object_that_would_be_too_large_to_be_read_is_not_written() {
    let store = Store::memory();
    let large = vec![0; usize::try_from(LARGEST).unwrap() + 1];
    let error = store.put("large", large.into()).await.unwrap_err();
    assert!(error.verdict == Verdict::Refused && error.message.contains("large"), "{error}");
    assert!(!store.exists("large").await.unwrap());
}

#[tokio::test]
async fn in_another_folder_that_has_come_into_the_place_of_a_stores_nothing_is_created() {
    let disk = tempfile::tempdir().unwrap();
    let (log, away) = (disk.path().join("log"), disk.path().join("away"));
    let store = Store::open(&format!("file://{}", log.display()), &StoreOptions::default()).await.unwrap();
    store.create("a", Bytes::from_static(b"a")).await.unwrap();
    std::fs::rename(&log, &away).unwrap();
    for _ in ["no folder", "another one"] {
        let error = store.create("b", Bytes::from_static(b"b")).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.message.contains("is no longer the one that was opened"), "{error}");
        assert!(!log.join("b").exists());
        let _ = std::fs::create_dir(&log);
    }
    std::fs::remove_dir(&log).unwrap();
    std::fs::rename(&away, &log).unwrap();
    assert_eq!(store.create("b", Bytes::from_static(b"b")).await.unwrap(), Created::Yes);
}

#[tokio::test]
async fn a_token_that_is_renewed_in_its_place_is_used() {
    for (status, body) in [
        (StatusCode::BAD_REQUEST, "<Error><Code>ExpiredToken</Code></Error>"),
        (StatusCode::FORBIDDEN, "<Error><Code>InvalidAccessKeyId</Code></Error>"), // MinIO
    ] {
        renewed_after(status, body).await;
    }
}

async fn renewed_after(status: StatusCode, body: &'static str) {
    let answer = async move |request: Request| match request.headers().get("x-amz-security-token") {
        Some(token) if token == "new" => (StatusCode::OK, "an object"),
        _ => (status, body),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    let (access_key_id, secret_access_key) = ("the-key".to_owned(), "the-secret".to_owned());
    let token = Arc::new(std::sync::Mutex::new("old"));
    let (place, keys) = (token.clone(), (access_key_id.clone(), secret_access_key.clone()));
    let read = move || {
        let (access_key_id, secret_access_key) = keys.clone();
        let session_token = Some((*place.lock().unwrap()).to_owned());
        Ok(Keys { access_key_id, secret_access_key, session_token })
    };
    let options = StoreOptions {
        endpoint,
        access_key_id: Some(access_key_id),
        secret_access_key: Some(secret_access_key),
        session_token: Some("old".to_owned()),
        renewed: Some(Arc::new(read)),
        ..Default::default()
    };
    let store = Store::open("s3://bucket/log", &options).await.unwrap();
    assert!(store.exists("k").await.unwrap_err().is_retry());
    *token.lock().unwrap() = "new";
    let renewed = async {
        while store.exists("k").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), renewed).await.expect("it is not used");
}
