//! Kafka: SASL, TLS, both.

use serde_json::{Value, json};

use crate::document::Place;
use crate::queue::Queue;
use crate::refused::{CERTIFICATE, Case, wrong};
use crate::stand::{Outcome, Stand};

pub struct Kafka;

const CONNECTION: &str = "source.queue.kafka";
const SECTION: &str = "/source/queue";

impl Queue for Kafka {
    fn connection(&self) -> &'static str {
        CONNECTION
    }

    fn service(&self) -> &'static str {
        "kafka"
    }

    fn section(&self, place: &Place) -> Outcome<Value> {
        login(place, main(&place.stand), "scram-sha-512", Some(place.one_way()))
    }

    fn with_secret(&self, place: &Place, secret: Value) -> Outcome<(Value, [&'static str; 2])> {
        let mut section = self.section(place)?;
        section["kafka"]["password"] = secret;
        Ok((section, ["Kafka at ", "invalid credentials"]))
    }

    fn plain<'a>(&self, place: &'a Place) -> &'a str {
        &place.secured.kafka_login
    }

    fn secrets(&self, place: &Place) -> Outcome<Vec<Case>> {
        let scram = login(place, self.plain(place), "scram-sha-256", None)?;
        let mut plain = login(place, main(&place.stand), "plain", Some(place.one_way()))?;
        plain["kafka"]["password"] = wrong();
        let case = |name, section, says| Case::one(name, (SECTION, Some(section)), CONNECTION, says);
        Ok(vec![
            case(
                "kafka-scram",
                self.with_secret(place, wrong())?.0,
                &["SCRAM-SHA-512", "invalid credentials", "check username, password"],
            ),
            case("kafka-password", plain, &["Invalid username or password", "check username, password"]),
            case("kafka-mechanism", scram, &["SCRAM-SHA-256", "supported mechanisms: PLAIN", "mechanism"]),
        ])
    }

    fn certificates(&self, place: &Place) -> Outcome<Vec<Case>> {
        let case = |name, change, says| Case::one(name, change, CONNECTION, says);
        let mut other_key = mutual(place, place.two_way("client"));
        other_key["kafka"]["tls"]["key"] = place.certificate("stranger.key");
        Ok(vec![
            case(
                "other-ca",
                ("/source/queue/kafka/tls/ca", Some(place.certificate("other-ca.pem"))),
                &["certificate could not be verified", "source.queue.kafka.tls", "ca"],
            ),
            case("no-certificate", (SECTION, Some(mutual(place, place.one_way()))), CERTIFICATE),
            case("stranger", (SECTION, Some(mutual(place, place.two_way("stranger")))), CERTIFICATE),
            case("key-of-another", (SECTION, Some(other_key)), &["ssl.key", "source.queue.kafka.tls"]),
            case("without-tls", ("/source/queue/kafka/tls", None), &["whether they want TLS"]),
        ])
    }

    fn mixed_up(&self, place: &Place) -> Outcome<Vec<Case>> {
        let tls_to_plain = login(place, self.plain(place), "plain", Some(place.one_way()))?;
        let no_login = json!({ "kafka": { "brokers": self.plain(place) } });
        let case = |name, section, says| Case::one(name, (SECTION, Some(section)), CONNECTION, says);
        Ok(vec![
            case("tls-to-none", tls_to_plain, &["connecting to a PLAINTEXT broker listener?", "TLS"]),
            case("no-login", no_login, &["a login"]),
        ])
    }
}

/// host:port of the listener with TLS and a login.
fn main(stand: &Stand) -> &str {
    stand.queue["kafka"]["brokers"].as_str().unwrap_or_default()
}

fn login(place: &Place, brokers: &str, mechanism: &str, tls: Option<Value>) -> Outcome<Value> {
    let mut kafka = json!({ "brokers": brokers, "mechanism": mechanism });
    kafka["username"] = place.secret("user", &place.secured.user)?;
    kafka["password"] = place.secret("password", &place.secured.password)?;
    if let Some(tls) = tls {
        kafka["tls"] = tls;
    }
    Ok(json!({ "kafka": kafka }))
}

fn mutual(place: &Place, tls: Value) -> Value {
    json!({ "kafka": { "brokers": place.secured.kafka_mutual, "tls": tls } })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_into_kafka_works() -> Outcome {
    let Some(place) = Place::on("kafka").await? else { return Ok(()) };
    let (main, plain) = (main(&place.stand), Kafka.plain(&place));
    let tls = || Some(place.one_way());
    for (name, section) in [
        ("kafka-plain", login(&place, plain, "plain", None)?),
        ("kafka-plain-tls", login(&place, main, "plain", tls())?),
        ("kafka-scram-256", login(&place, main, "scram-sha-256", tls())?),
        ("kafka-scram-512", login(&place, main, "scram-sha-512", tls())?),
        ("kafka-certificates", mutual(&place, place.two_way("client"))),
    ] {
        place.all_good(name, &[(SECTION, Some(section))]).await?;
    }
    Ok(())
}
