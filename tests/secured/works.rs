//! Everything right.

use serde_json::{Value, json};

use crate::document::{CONNECTIONS, Place, line};
use crate::session;
use crate::stand::{Outcome, ensure};

impl Place {
    async fn all_good(&self, name: &str, changes: &[(&str, Option<Value>)]) -> Outcome {
        let done = self.check(name, changes).await?;
        ensure(done.code == Some(0), || format!("{name}: exit code {:?}; {}", done.code, done.output))?;
        for connection in CONNECTIONS {
            let line = line(&done.output, connection).unwrap_or_default();
            ensure(line.starts_with("ok ") && !line.contains('\n'), || {
                format!("{name}: {connection}: {}", done.output)
            })?;
        }
        ensure(done.output.contains("all 5 connections work"), || done.output.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_prints_one_line_for_each_secured_connection() -> Outcome {
    let Some(place) = Place::find().await? else { return Ok(()) };
    place.all_good("good", &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_into_kafka_works() -> Outcome {
    let Some(place) = Place::find().await? else { return Ok(()) };
    let (main, login) = (place.kafka_main(), &place.secured.kafka_login);
    let tls = || Some(place.one_way());
    let mutual = json!({ "brokers": place.secured.kafka_mutual, "tls": place.two_way("client") });
    for (name, kafka) in [
        ("kafka-plain", place.kafka(login, "plain", None)?),
        ("kafka-plain-tls", place.kafka(main, "plain", tls())?),
        ("kafka-scram-256", place.kafka(main, "scram-sha-256", tls())?),
        ("kafka-scram-512", place.kafka(main, "scram-sha-512", tls())?),
        ("kafka-certificates", mutual),
    ] {
        place.all_good(name, &[("/source/queue/kafka", Some(kafka))]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_one_way_tls_works() -> Outcome {
    let Some(place) = Place::find().await? else { return Ok(()) };
    // the source is one; what would be replayed into itself is refused
    let changes = [
        ("/target/uri", Some(json!(place.stand.source.uri))),
        ("/target/tls", Some(place.one_way())),
        ("/rename", Some(json!({ "default.from": "default.to" }))),
    ];
    place.all_good("target-one-way", &changes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_credentials_with_a_session_token_work() -> Outcome {
    let Some(place) = Place::find().await? else { return Ok(()) };
    let session = session::assume_role(&place).await?;
    let changes = |token: Value| {
        Outcome::Ok([
            ("/log/options/access_key_id", Some(place.secret("session-key", &session.key)?)),
            ("/log/options/secret_access_key", Some(place.secret("session-secret", &session.secret)?)),
            ("/log/options/session_token", Some(token)),
        ])
    };
    let token = place.secret("session-token", &session.token)?;
    place.all_good("session", &changes(token)?).await?;
    let wrong = place.secret("wrong-token", "HiddenToken")?;
    let done = place.check("session-wrong", &changes(wrong)?).await?;
    let line = line(&done.output, "log").unwrap_or_default();
    ensure(line.starts_with("FAILED") && line.contains("token"), || done.output.clone())?;
    ensure(!done.output.contains(&session.secret), || done.output.clone())
}
