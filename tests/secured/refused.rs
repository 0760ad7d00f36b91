//! One thing wrong with each connection: its line says which and why, and the lines of the others that all is well.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::document::{CONNECTIONS, Place, line};
use crate::stand::{Failure, Outcome, RUN, Service, ensure};

/// How long a check may take on a busy machine.
const SOON: Duration = Duration::from_secs(15);

type Change = (&'static str, Option<Value>);

/// What is wrong.
struct Case {
    name: &'static str,
    changes: Vec<Change>,
    /// Connections that fail, and what their lines say.
    fails: Vec<(&'static str, &'static [&'static str])>,
}

const ETCD: &str = "source.etcd";
const KAFKA: &str = "source.queue.kafka";
const SOURCE: &str = "source.milvus";
const TARGET: &str = "target";
const LOG: &str = "log";

/// A secret that is wrong.
fn secrets(place: &Place) -> Outcome<Vec<Case>> {
    let wrong = || Some(json!({ "env": "TAPEDECK_TEST_WRONG" }));
    let case = |name, at, connection, says| Case {
        name,
        changes: vec![(at, wrong())],
        fails: vec![(connection, says)],
    };
    let nobody = place.secret("nobody", "nobody")?;
    let login = place.kafka(&place.secured.kafka_login, "scram-sha-256", None)?;
    let mut plain = place.kafka(place.kafka_main(), "plain", Some(place.one_way()))?;
    plain["password"] = json!({ "env": "TAPEDECK_TEST_WRONG" });
    Ok(vec![
        case(
            "etcd-password",
            "/source/etcd/password",
            ETCD,
            &["invalid user ID or password", "check user, password"],
        ),
        Case {
            name: "etcd-role",
            changes: vec![("/source/etcd/username", Some(nobody))],
            fails: vec![(ETCD, &["permission denied", "role"])],
        },
        case(
            "kafka-scram",
            "/source/queue/kafka/password",
            KAFKA,
            &["SCRAM-SHA-512", "invalid credentials", "check username, password"],
        ),
        Case {
            name: "kafka-password",
            changes: vec![("/source/queue/kafka", Some(plain))],
            fails: vec![(KAFKA, &["Invalid username or password", "check username, password"])],
        },
        Case {
            name: "kafka-mechanism",
            changes: vec![("/source/queue/kafka", Some(login))],
            fails: vec![(KAFKA, &["SCRAM-SHA-256", "supported mechanisms: PLAIN", "mechanism"])],
        },
        case(
            "source-token",
            "/source/milvus/token",
            SOURCE,
            &["auth check failure", "check source.milvus.token"],
        ),
        case("target-token", "/target/token", TARGET, &["auth check failure", "check the target's token"]),
        case(
            "log-secret",
            "/log/options/secret_access_key",
            LOG,
            &["access denied", "SignatureDoesNotMatch", "check access key and secret"],
        ),
    ])
}

/// All connections have the same thing wrong.
fn certificates(place: &Place) -> Outcome<Vec<Case>> {
    let other = || Some(place.certificate("other-ca.pem"));
    let mutual = |tls: Value| json!({ "brokers": place.secured.kafka_mutual, "tls": tls });
    let plainly = |uri: &str| Some(json!(uri.replacen("https", "http", 1)));
    let without = |own: Option<Value>| {
        let tls = own.unwrap_or_else(|| place.one_way());
        vec![
            ("/source/etcd/tls", Some(tls.clone())),
            ("/source/queue/kafka", Some(mutual(tls.clone()))),
            ("/target/tls", Some(tls)),
        ]
    };
    // TLS 1.3 has no answer to a client's certificate: what comes first, the alert or the end, is chance
    let certificate: &[&str] = &["certificate"];
    let elsewhere = || Some(json!("elsewhere.example"));
    Ok(vec![
        Case {
            name: "other-ca",
            changes: vec![
                ("/source/etcd/tls/ca", other()),
                ("/source/queue/kafka/tls/ca", other()),
                ("/source/milvus/tls/ca", other()),
                ("/target/tls/ca", other()),
                ("/log/options/tls/ca", other()),
            ],
            fails: vec![
                (ETCD, &["UnknownIssuer", "check source.etcd.tls", "ca"]),
                (KAFKA, &["certificate could not be verified", "source.queue.kafka.tls", "ca"]),
                (SOURCE, &["UnknownIssuer", "check source.milvus.tls", "ca"]),
                (TARGET, &["UnknownIssuer", "check target.tls", "ca"]),
                (LOG, &["UnknownIssuer", "check log.options.tls", "ca"]),
            ],
        },
        Case {
            name: "other-name",
            changes: vec![
                ("/source/etcd/tls/server_name", elsewhere()),
                ("/source/milvus/tls/server_name", elsewhere()),
                ("/target/tls/server_name", elsewhere()),
            ],
            fails: vec![
                (ETCD, &["elsewhere.example", "server_name"]),
                (SOURCE, &["elsewhere.example", "server_name"]),
                (TARGET, &["elsewhere.example", "server_name"]),
            ],
        },
        Case {
            name: "no-certificate",
            changes: without(None),
            fails: vec![(ETCD, certificate), (KAFKA, certificate), (TARGET, certificate)],
        },
        Case {
            name: "stranger",
            changes: without(Some(place.two_way("stranger"))),
            fails: vec![(ETCD, certificate), (KAFKA, certificate), (TARGET, certificate)],
        },
        Case {
            name: "key-of-another",
            changes: vec![
                ("/source/etcd/tls/key", Some(place.certificate("stranger.key"))),
                ("/source/queue/kafka", {
                    let mut kafka = mutual(place.two_way("client"));
                    kafka["tls"]["key"] = place.certificate("stranger.key");
                    Some(kafka)
                }),
                ("/target/tls/key", Some(place.certificate("stranger.key"))),
            ],
            fails: vec![
                (ETCD, &["KeyMismatch", "source.etcd.tls"]),
                (KAFKA, &["ssl.key", "source.queue.kafka.tls"]),
                (TARGET, &["KeyMismatch", "target"]),
            ],
        },
        Case {
            name: "no-pem",
            changes: vec![
                ("/source/etcd/tls/ca", Some(place.secret("no-pem", "Hidden")?)),
                ("/target/tls/key", Some(place.certificate("client.pem"))),
            ],
            fails: vec![(ETCD, &["holds no certificate", "PEM"]), (TARGET, &["holds no private key", "PEM"])],
        },
        Case {
            name: "without-tls",
            changes: vec![
                ("/source/etcd/tls", None),
                ("/source/etcd/endpoints", Some(json!([format!("http://{}", place.stand.etcd)]))),
                ("/source/queue/kafka/tls", None),
                ("/source/milvus/tls", None),
                ("/source/milvus/uri", plainly(&place.stand.source.uri)),
                ("/target/tls", None),
                ("/target/uri", plainly(&place.stand.target.uri)),
                ("/log/options/tls", None),
                ("/log/options/endpoint", plainly(&place.stand.minio.endpoint)),
            ],
            fails: vec![
                (ETCD, &["source.etcd.tls", "https://"]),
                (KAFKA, &["whether they want TLS"]),
                (SOURCE, &["source.milvus.tls", "https://"]),
                (TARGET, &["target.tls", "https://"]),
                (LOG, &["it wants TLS", "https://"]),
            ],
        },
    ])
}

/// TLS where there is none, and no login where one is wanted.
fn mixed_up(place: &Place) -> Outcome<Vec<Case>> {
    let login = place.secured.kafka_login.as_str();
    let tls_to_plain = place.kafka(login, "plain", Some(place.one_way()))?;
    Ok(vec![
        Case {
            name: "tls-to-none",
            changes: vec![
                ("/source/queue/kafka", Some(tls_to_plain)),
                ("/target/uri", Some(json!(format!("https://{login}")))),
            ],
            fails: vec![
                (KAFKA, &["connecting to a PLAINTEXT broker listener?", "TLS"]),
                (TARGET, &["target.tls"]),
            ],
        },
        Case {
            name: "no-login",
            changes: vec![
                ("/source/etcd/username", None),
                ("/source/etcd/password", None),
                ("/source/queue/kafka", Some(json!({ "brokers": login }))),
                ("/source/milvus/token", None),
                ("/target/token", None),
            ],
            fails: vec![
                (ETCD, &["permission denied"]),
                (KAFKA, &["a login"]),
                (SOURCE, &["missing authorization", "source.milvus.token"]),
                (TARGET, &["missing authorization", "token"]),
            ],
        },
    ])
}

impl Place {
    /// Those lines fail that must, with the right words; the others do not.
    async fn told(&self, case: &Case) -> Outcome {
        let begin = Instant::now();
        let done = self.check(case.name, &case.changes).await?;
        let (name, output) = (case.name, &done.output);
        ensure(begin.elapsed() < SOON, || format!("{name}: after {:?}: {output}", begin.elapsed()))?;
        ensure(done.code == Some(1), || format!("{name}: exit code {:?}; {output}", done.code))?;
        for connection in CONNECTIONS {
            let line = line(output, connection).unwrap_or_default();
            let fails = case.fails.iter().find(|(fails, _)| *fails == connection);
            let begins = if fails.is_some() { "FAILED" } else { "ok" };
            ensure(line.starts_with(begins), || format!("{name}: {connection}: no {begins} in: {output}"))?;
            for words in fails.map(|(_, words)| *words).unwrap_or_default() {
                ensure(line.contains(words), || {
                    format!("{name}: {connection}: \"{words}\" is not in: {line}")
                })?;
            }
        }
        Ok(())
    }

    /// All cases are tried before one fails.
    async fn all_told(&self, cases: Vec<Case>) -> Outcome {
        let mut failures = Vec::new();
        for case in &cases {
            if let Err(Failure(text)) = self.told(case).await {
                failures.push(text);
            }
        }
        ensure(failures.is_empty(), || failures.join("\n"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_told_of_its_connection_alone() -> Outcome {
    let Some(place) = Place::find().await? else { return Ok(()) };
    place.all_told(secrets(&place)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_is_told_of_every_connection() -> Outcome {
    let Some(place) = Place::find().await? else { return Ok(()) };
    place.all_told(certificates(&place)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_or_a_login_that_only_one_side_has_is_told() -> Outcome {
    let Some(place) = Place::find().await? else { return Ok(()) };
    place.all_told(mixed_up(&place)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_refuses_a_task_with_a_wrong_secret_and_shows_none() -> Outcome {
    let Some(place) = Place::find().await? else { return Ok(()) };
    let service = Service::start(&place.stand, "wrong").await?;
    let mut spec = place.replicate("wrong", &["default.*"])?;
    spec["source"]["queue"]["kafka"]["password"] = place.secret("wrong", "HiddenPassword")?;
    let answer = service.api.post("/v1/tasks", Some(&spec)).await?;
    let text = answer.body.to_string();
    ensure((400..500).contains(&answer.status), || format!("{} {text}", answer.status))?;
    ensure(text.contains("Kafka at ") && text.contains("invalid credentials"), || text.clone())?;
    place.no_secret_in(&text)?;
    let left = service.api.get(&format!("/v1/tasks/{}-wrong", *RUN)).await?.status;
    ensure(left == 404, || format!("the task is there ({left})"))?;
    place.no_secret_in(&service.said()?)
}
