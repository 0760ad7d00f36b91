//! Buckets whose policy keeps what was written.

use std::sync::Mutex;

use super::*;

/// An S3 with one object, whose deletion it answers so.
async fn s3_that_deletes(status: u16, body: &'static str) -> Store {
    let kept = Arc::new(Mutex::new(None::<(String, Bytes)>));
    s3_of(move |request: Request| {
        let kept = kept.clone();
        async move {
            let key = request.uri().path().to_owned();
            let (method, is_list) = (request.method().clone(), request.uri().query().is_some());
            let put = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
            let mut kept = kept.lock().unwrap();
            let etag = [("etag", "\"1\""), ("last-modified", "Tue, 01 Dec 2026 00:00:00 GMT")];
            match (method.as_str(), &*kept) {
                ("DELETE", _) => (StatusCode::from_u16(status).unwrap(), etag, body.into()),
                ("PUT", Some(_)) => (StatusCode::PRECONDITION_FAILED, etag, Bytes::new()),
                ("PUT", None) => {
                    *kept = Some((key, put));
                    (StatusCode::OK, etag, Bytes::new())
                }
                (_, Some((key, _))) if is_list => {
                    let key = key.trim_start_matches("/bucket/");
                    let listed = format!(
                        "<ListBucketResult><Contents><Key>{key}</Key><Size>5</Size>\
                         <LastModified>2026-12-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
                    );
                    (StatusCode::OK, etag, listed.into())
                }
                (_, Some((there, bytes))) if *there == key => (StatusCode::OK, etag, bytes.clone()),
                _ => (StatusCode::NOT_FOUND, etag, "<Error><Code>NoSuchKey</Code></Error>".into()),
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_store_whose_policy_keeps_what_was_written_can_hold_a_log() {
    for (status, body) in [
        (409, "<Error><Code>BlobImmutableDueToPolicy</Code></Error>"),
        (400, "<Error><Code>ObjectLocked</Code><Message>Object is WORM protected</Message></Error>"),
        (403, "<Error><Code>RetentionPolicyNotMet</Code></Error>"),
        (
            403,
            "<Error><Code>AccessDenied</Code><Message>not authorized to perform: s3:DeleteObject with an \
             explicit deny in a resource-based policy</Message></Error>",
        ),
    ] {
        let store = s3_that_deletes(status, body).await;
        assert!(store.probe().await.unwrap().unwrap().contains("a policy of the store keeps"), "{body}");
        let error = store.delete("k").await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.message.contains("a policy of the store keeps it ("), "{error}");
        assert!(error.advice.unwrap().contains("nothing is lost"));
    }
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    let error = s3_that_deletes(403, denied).await.probe().await.unwrap_err();
    assert!(error.message.contains("access denied"), "{error}");
    assert_eq!(s3_that_deletes(204, "").await.probe().await.unwrap(), None);
}

#[tokio::test]
async fn a_conflict_that_is_none_of_creates_is_told_with_its_code() {
    let store = s3_that_answers(409, "<Error><Code>BlobArchived</Code></Error>").await;
    for error in [store.get("k").await.unwrap_err(), store.delete("k").await.unwrap_err()] {
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.message.contains("it answers 409 (BlobArchived)"), "{error}");
    }
    let store = s3_that_answers(409, "<Error><Code>OperationAborted</Code></Error>").await;
    assert!(store.delete("k").await.unwrap_err().is_retry());
}

#[tokio::test]
async fn a_bucket_that_wants_checksums_gets_them_or_says_so() {
    let store = async |checksum| {
        let answer = |request: Request| async move {
            let wanted = request.headers().contains_key("x-amz-checksum-sha256");
            let missing = "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header \
                           is required for Put Object requests with Object Lock parameters</Message></Error>";
            if wanted { (200, "") } else { (400, missing) }
        };
        let answer = move |request: Request| async move {
            let (status, body) = answer(request).await;
            (StatusCode::from_u16(status).unwrap(), [("etag", "\"1\"")], body)
        };
        s3_with(s3_server(answer).await, StoreOptions { checksum, ..Default::default() }).await
    };
    store(true).await.put("k", Bytes::from_static(b"x")).await.unwrap();
    let error = store(false).await.put("k", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Operator, "{error}");
    assert!(error.advice.unwrap().contains("\"checksum\": true"), "{}", error.message);
}
