//! One thing wrong with each connection: its line says which and why, and the lines of the others that all is well.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::document::{Place, line};
use crate::stand::{Failure, Outcome, RUN, Service, ensure};

/// How long a check may take on a busy machine.
const SOON: Duration = Duration::from_secs(15);

type Change = (&'static str, Option<Value>);

/// What is wrong.
pub struct Case {
    name: &'static str,
    changes: Vec<Change>,
    /// Connections that fail, and what their lines say.
    fails: Vec<(&'static str, &'static [&'static str])>,
}

impl Case {
    /// With one connection.
    pub fn one(
        name: &'static str,
        change: Change,
        connection: &'static str,
        says: &'static [&'static str],
    ) -> Case {
        Case { name, changes: vec![change], fails: vec![(connection, says)] }
    }
}

/// Those of the same name become one.
fn together(mut cases: Vec<Case>, more: Vec<Case>) -> Vec<Case> {
    for case in more {
        match cases.iter_mut().find(|known| known.name == case.name) {
            Some(known) => {
                known.changes.extend(case.changes);
                known.fails.extend(case.fails);
            }
            None => cases.push(case),
        }
    }
    cases
}

/// A reference to a secret that is wrong.
pub fn wrong() -> Value {
    json!({ "env": "TAPEDECK_TEST_WRONG" })
}

/// TLS 1.3 has no answer to a client's certificate: what comes first, the alert or the end, is chance.
pub const CERTIFICATE: &[&str] = &["certificate"];

const ETCD: &str = "source.etcd";
const SOURCE: &str = "source.milvus";
const TARGET: &str = "target";
const LOG: &str = "log";
const DAMAGED: &[&str] = &["holds a damaged certificate", "copy the certificate again"];

/// A secret that is wrong.
fn secrets(place: &Place) -> Outcome<Vec<Case>> {
    let case = |name, at, connection, says| Case::one(name, (at, Some(wrong())), connection, says);
    let nobody = place.secret("nobody", "nobody")?;
    let cases = vec![
        case(
            "etcd-password",
            "/source/etcd/password",
            ETCD,
            &["invalid user ID or password", "check user, password"],
        ),
        Case::one("etcd-role", ("/source/etcd/username", Some(nobody)), ETCD, &["permission denied", "role"]),
        case(
            "source-token",
            "/source/milvus/token",
            SOURCE,
            &["auth check failure", "check source.milvus.token"],
        ),
        case("target-token", "/target/token", TARGET, &["auth check failure", "check the target's token"]),
        Case::one(
            "log-key-of-two-lines",
            ("/log/options/access_key_id", Some(place.secret("two-lines", "[default]\nkey = 1")?)),
            LOG,
            &["two-lines holds more than one line", "alone"],
        ),
        case(
            "log-secret",
            "/log/options/secret_access_key",
            LOG,
            &["access denied", "SignatureDoesNotMatch", "check access key and secret"],
        ),
    ];
    Ok(together(cases, place.queue.secrets(place)?))
}

/// All connections have the same thing wrong.
fn certificates(place: &Place) -> Outcome<Vec<Case>> {
    let other = || Some(place.certificate("other-ca.pem"));
    let damaged = || place.cut_short("other-ca.pem").map(Some);
    let plainly = |uri: &str| Some(json!(uri.replacen("https", "http", 1)));
    let without = |own: Option<Value>| {
        let tls = own.unwrap_or_else(|| place.one_way());
        vec![("/source/etcd/tls", Some(tls.clone())), ("/target/tls", Some(tls))]
    };
    let elsewhere = || Some(json!("elsewhere.example"));
    let cases = vec![
        Case {
            name: "other-ca",
            changes: vec![
                ("/source/etcd/tls/ca", other()),
                ("/source/milvus/tls/ca", other()),
                ("/target/tls/ca", other()),
                ("/log/options/tls/ca", other()),
            ],
            fails: vec![
                (ETCD, &["UnknownIssuer", "check source.etcd.tls", "ca"]),
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
            fails: vec![(ETCD, CERTIFICATE), (TARGET, CERTIFICATE)],
        },
        Case {
            name: "stranger",
            changes: without(Some(place.two_way("stranger"))),
            fails: vec![(ETCD, CERTIFICATE), (TARGET, CERTIFICATE)],
        },
        Case {
            name: "key-of-another",
            changes: vec![
                ("/source/etcd/tls/key", Some(place.certificate("stranger.key"))),
                ("/target/tls/key", Some(place.certificate("stranger.key"))),
            ],
            fails: vec![(ETCD, &["KeyMismatch", "source.etcd.tls"]), (TARGET, &["KeyMismatch", "target"])],
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
            name: "damaged-ca",
            changes: vec![
                ("/source/etcd/tls/ca", damaged()?),
                ("/source/milvus/tls/ca", damaged()?),
                ("/target/tls/ca", damaged()?),
                ("/log/options/tls/ca", damaged()?),
            ],
            fails: vec![(ETCD, DAMAGED), (SOURCE, DAMAGED), (TARGET, DAMAGED), (LOG, DAMAGED)],
        },
        Case {
            name: "without-tls",
            changes: vec![
                ("/source/etcd/tls", None),
                ("/source/etcd/endpoints", Some(json!([format!("http://{}", place.stand.etcd)]))),
                ("/source/milvus/tls", None),
                ("/source/milvus/uri", plainly(&place.stand.source.uri)),
                ("/target/tls", None),
                ("/target/uri", plainly(&place.stand.target.uri)),
                ("/log/options/tls", None),
                ("/log/options/endpoint", plainly(&place.stand.minio.endpoint)),
            ],
            fails: vec![
                (ETCD, &["source.etcd.tls", "https://"]),
                (SOURCE, &["source.milvus.tls", "https://"]),
                (TARGET, &["target.tls", "https://"]),
                (LOG, &["it wants TLS", "https://"]),
            ],
        },
    ];
    Ok(together(cases, place.queue.certificates(place)?))
}

/// TLS where there is none, and no login where one is wanted.
fn mixed_up(place: &Place) -> Outcome<Vec<Case>> {
    let plain = json!(format!("https://{}", place.queue.plain(place)));
    let cases = vec![
        Case::one("tls-to-none", ("/target/uri", Some(plain)), TARGET, &["target.tls"]),
        Case {
            name: "no-login",
            changes: vec![
                ("/source/etcd/username", None),
                ("/source/etcd/password", None),
                ("/source/milvus/token", None),
                ("/target/token", None),
            ],
            fails: vec![
                (ETCD, &["permission denied"]),
                (SOURCE, &["missing authorization", "source.milvus.token"]),
                (TARGET, &["missing authorization", "token"]),
            ],
        },
    ];
    Ok(together(cases, place.queue.mixed_up(place)?))
}

impl Place {
    /// Those lines fail that must, with the right words; the others do not.
    async fn told(&self, case: &Case) -> Outcome {
        let begin = Instant::now();
        let done = self.check(case.name, &case.changes).await?;
        let (name, output) = (case.name, &done.output);
        ensure(begin.elapsed() < SOON, || format!("{name}: after {:?}: {output}", begin.elapsed()))?;
        ensure(done.code == Some(1), || format!("{name}: exit code {:?}; {output}", done.code))?;
        for connection in self.connections() {
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
    let (queue, says) = place.queue.with_secret(&place, place.secret("wrong", "HiddenSecret")?)?;
    spec["source"]["queue"] = queue;
    let answer = service.api.post("/v1/tasks", Some(&spec)).await?;
    let text = answer.body.to_string();
    ensure((400..500).contains(&answer.status), || format!("{} {text}", answer.status))?;
    ensure(says.iter().all(|words| text.contains(words)), || text.clone())?;
    place.no_secret_in(&text)?;
    let left = service.api.get(&format!("/v1/tasks/{}-wrong", *RUN)).await?.status;
    ensure(left == 404, || format!("the task is there ({left})"))?;
    place.no_secret_in(&service.said()?)
}
