//! Everything right.

use serde_json::{Value, json};

use crate::document::{Place, line};
use crate::session;
use crate::stand::{Outcome, ensure};

impl Place {
    /// A check finds nothing wrong.
    pub async fn all_good(&self, name: &str, changes: &[(&str, Option<Value>)]) -> Outcome {
        let done = self.check(name, changes).await?;
        ensure(done.code == Some(0), || format!("{name}: exit code {:?}; {}", done.code, done.output))?;
        for connection in self.connections() {
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
