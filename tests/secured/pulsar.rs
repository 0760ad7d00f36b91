//! Pulsar: tokens, TLS, both, and a certificate that is the login.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use pulsar::{Authentication, TokioExecutor};
use ring::hmac;
use serde_json::{Value, json};
use tapedeck::position::{Channel, Position};
use tapedeck::source::pulsar::{PulsarOptions, PulsarQueue, Token};
use tapedeck::source::{Queue as _, QueueMessage, Subscription};
use tapedeck::tls::Tls;
use tokio::time::timeout;

use crate::document::Place;
use crate::queue::Queue;
use crate::refused::{CERTIFICATE, Case, wrong};
use crate::stand::patience::PATIENCE;
use crate::stand::{Failure, Outcome, RUN, Stand, ensure, eventually, fail};

pub struct Pulsar;

const CONNECTION: &str = "source.queue.pulsar";
const SECTION: &str = "/source/queue";

impl Queue for Pulsar {
    fn connection(&self) -> &'static str {
        CONNECTION
    }

    fn service(&self) -> &'static str {
        "pulsar"
    }

    fn section(&self, place: &Place) -> Outcome<Value> {
        let token = place.secret("pulsar", &token(place, &place.secured.user, None)?)?;
        Ok(json!({ "pulsar": { "url": main(&place.stand), "token": token, "tls": place.one_way() } }))
    }

    fn with_secret(&self, place: &Place, secret: Value) -> Outcome<(Value, [&'static str; 2])> {
        let mut section = self.section(place)?;
        section["pulsar"]["token"] = secret;
        Ok((section, ["Pulsar at ", "Failed to authenticate"]))
    }

    fn plain<'a>(&self, place: &'a Place) -> &'a str {
        &place.secured.pulsar_plain
    }

    fn secrets(&self, place: &Place) -> Outcome<Vec<Case>> {
        let expired = place.secret("expired", &token(place, &place.secured.user, Some(-60))?)?;
        let nobody = place.secret("nobody-pulsar", &token(place, "nobody", None)?)?;
        let case = |name, secret, says| {
            Case::one(name, ("/source/queue/pulsar/token", Some(secret)), CONNECTION, says)
        };
        Ok(vec![
            case("pulsar-token", wrong(), &["Failed to authenticate", "check source.queue.pulsar.token"]),
            case("pulsar-expired", expired, &["the token expired at 2", "put a valid one"]),
            case("pulsar-role", nobody, &["namespace public/default", "not authorized", "grant-permission"]),
        ])
    }

    fn certificates(&self, place: &Place) -> Outcome<Vec<Case>> {
        let case = |name, change, says| Case::one(name, change, CONNECTION, says);
        let tls = |field| match field {
            "ca" => "/source/queue/pulsar/tls/ca",
            _ => "/source/queue/pulsar/tls/server_name",
        };
        let mut other_key = mutual(place, "client");
        other_key["pulsar"]["tls"]["key"] = place.certificate("stranger.key");
        let mut without = self.section(place)?;
        without["pulsar"] = json!({ "url": main(&place.stand).replacen("+ssl", "", 1) });
        Ok(vec![
            case(
                "other-ca",
                (tls("ca"), Some(place.certificate("other-ca.pem"))),
                &["UnknownIssuer", "check source.queue.pulsar.tls", "ca"],
            ),
            case(
                "other-name",
                (tls("server_name"), Some(json!("elsewhere.example"))),
                &["elsewhere.example", "server_name"],
            ),
            case("stranger", (SECTION, Some(mutual(place, "stranger"))), CERTIFICATE),
            case("key-of-another", (SECTION, Some(other_key)), &["KeyMismatch", "source.queue.pulsar.tls"]),
            case("without-tls", (SECTION, Some(without)), &["where it wants TLS", "pulsar+ssl://"]),
        ])
    }

    fn mixed_up(&self, place: &Place) -> Outcome<Vec<Case>> {
        let url = format!("pulsar+ssl://{}", self.plain(place));
        let case = |name, change, says| Case::one(name, change, CONNECTION, says);
        Ok(vec![
            case(
                "tls-to-none",
                ("/source/queue/pulsar/url", Some(json!(url))),
                &["no TLS", "write pulsar://"],
            ),
            case("no-login", ("/source/queue/pulsar/token", None), &["give source.queue.pulsar.token"]),
        ])
    }
}

/// The service URL of the listener with TLS.
fn main(stand: &Stand) -> &str {
    stand.queue["pulsar"]["url"].as_str().unwrap_or_default()
}

/// A certificate is the login.
fn mutual(place: &Place, own: &str) -> Value {
    json!({ "pulsar": { "url": main(&place.stand), "tls": place.two_way(own) } })
}

/// A token that ends so many seconds from now, if it does.
fn token(place: &Place, role: &str, seconds: Option<i64>) -> Outcome<String> {
    let mut claims = json!({ "sub": role });
    if let Some(seconds) = seconds {
        claims["exp"] = json!(Timestamp::now().as_second() + seconds);
    }
    let secret = std::fs::read(place.secured.certificates.join("pulsar.secret"))?;
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.to_string().as_bytes()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
    Ok(format!("{signed}.{}", encode(signature.as_ref())))
}

/// A queue whose token is in a file, and how often that was read.
fn queue(place: &Place, file: &Value) -> Outcome<(PulsarQueue, Arc<AtomicUsize>)> {
    let reads = Arc::new(AtomicUsize::new(0));
    let (path, counted) = (file["file"].as_str().unwrap_or_default().to_owned(), reads.clone());
    let token = Token::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::fs::read_to_string(&path).map_err(|error| tapedeck::error::Error::operator(error.to_string()))
    });
    let ca = std::fs::read_to_string(place.secured.certificates.join("ca.pem"))?;
    let queue = PulsarQueue::connect(&PulsarOptions {
        url: main(&place.stand).to_owned(),
        token: Some(token),
        tls: Some(Tls { ca: Some(ca), ..Tls::default() }),
        ..PulsarOptions::default()
    })?;
    Ok((queue, reads))
}

/// Writes as Milvus does.
async fn write(place: &Place, topic: &Channel, text: &str) -> Outcome<Position> {
    let data = token(place, "milvus", None)?.into_bytes();
    let client = pulsar::Pulsar::builder(format!("pulsar://{}", place.secured.pulsar_plain), TokioExecutor)
        .with_auth(Authentication { name: "token".into(), data })
        .build()
        .await?;
    let mut producer = client.producer().with_topic(topic.as_str()).build().await?;
    let Some(id) = producer.send_non_blocking(text).await?.await?.message_id else {
        return fail("a receipt without an id");
    };
    producer.close().await?;
    Ok(Position::entry(id.ledger_id, id.entry_id as i64, 0))
}

async fn next(reading: &mut Box<dyn Subscription>) -> Outcome<QueueMessage> {
    Ok(timeout(PATIENCE, reading.next()).await??)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_into_pulsar_works() -> Outcome {
    let Some(place) = Place::on("pulsar").await? else { return Ok(()) };
    let secured = Pulsar.section(&place)?;
    let mut both = secured.clone();
    both["pulsar"]["tls"] = place.two_way("client");
    let url = format!("pulsar://{}", Pulsar.plain(&place));
    let plain = json!({ "pulsar": { "url": url, "token": secured["pulsar"]["token"] } });
    for (name, section) in [
        ("pulsar-token-plain", plain),
        ("pulsar-token-tls", secured),
        ("pulsar-token-certificate", both),
        ("pulsar-certificate", mutual(&place, "client")),
    ] {
        place.all_good(name, &[(SECTION, Some(section))]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_changed_in_its_file_is_taken_at_the_next_connection() -> Outcome {
    let Some(place) = Place::on("pulsar").await? else { return Ok(()) };
    let role = &place.secured.user;
    let file = place.secret("changed", &token(&place, role, Some(-60))?)?;
    let (queue, _) = queue(&place, &file)?;
    let error = queue.identity().await.err().map(|error| error.message).unwrap_or_default();
    ensure(error.contains("the token expired at") && !error.contains("eyJ"), || error)?;
    place.secret("changed", &token(&place, role, None)?)?;
    ensure(queue.identity().await? == "pulsar:public/default", || "another".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_renewed_before_it_expires_keeps_the_connection() -> Outcome {
    let Some(place) = Place::on("pulsar").await? else { return Ok(()) };
    let (role, topic) = (&place.secured.user, Channel::from(format!("renewed_{}", *RUN).as_str()));
    let at = write(&place, &topic, "before").await?;
    let file = place.secret("renewed", &token(&place, role, Some(10))?)?;
    let (queue, reads) = queue(&place, &file)?;
    let mut reading = queue.subscribe(&topic, at).await?;
    ensure(next(&mut reading).await?.payload == "before", || "another".into())?;
    place.secret("renewed", &token(&place, role, None)?)?;
    let opened = reads.load(Ordering::Relaxed);
    // the broker asks again when the first one has expired, and each time a reader opens it is read more than once
    let asked = eventually("asked for a token again", async || {
        Ok((reads.load(Ordering::Relaxed) == opened).then(|| "not asked".into()))
    });
    let told = tokio::select! {
        asked = asked => asked,
        message = reading.next() => fail(format!("{message:?}")),
    };
    told?;
    write(&place, &topic, "after").await?;
    ensure(next(&mut reading).await?.payload == "after", || "another".into())?;
    let again = reads.load(Ordering::Relaxed) - opened;
    ensure(again == 1, || format!("the token was read {again} times"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_while_it_is_in_use_is_told() -> Outcome {
    let Some(place) = Place::on("pulsar").await? else { return Ok(()) };
    let topic = Channel::from(format!("expiring_{}", *RUN).as_str());
    let at = write(&place, &topic, "before").await?;
    let file = place.secret("expiring", &token(&place, &place.secured.user, Some(10))?)?;
    let (queue, _) = queue(&place, &file)?;
    let mut reading = queue.subscribe(&topic, at).await?;
    ensure(next(&mut reading).await?.payload == "before", || "another".into())?;
    let Err(Failure(error)) = next(&mut reading).await else { return fail("it goes on") };
    ensure(error.contains("the token expired at") && !error.contains("eyJ"), || error)
}
