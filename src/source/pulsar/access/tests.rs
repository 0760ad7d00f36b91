use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{SinkExt, StreamExt};
use pulsar::message::{Codec, Message as Frame};
use pulsar::proto::base_command::Type;
use pulsar::proto::{
    BaseCommand, CommandAuthChallenge, CommandConnected, CommandError, CommandSuccess, ServerError,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::codec::Framed;

use super::super::connection::{ANSWER, Connection, command};
use super::*;
use crate::error::Verdict;

type Client = Framed<TcpStream, Codec>;

/// A broker that serves one client.
async fn broker<T: Send + 'static, F: Future<Output = T> + Send>(
    serve: impl FnOnce(Client) -> F + Send + 'static,
) -> (Address, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address(listener.local_addr().unwrap().to_string());
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(Framed::new(stream, Codec)).await
    });
    (address, serving)
}

async fn say(client: &mut Client, kind: Type, fill: impl FnOnce(&mut BaseCommand)) {
    client.send(Frame { command: command(kind, fill), payload: None }).await.unwrap();
}

async fn heard(client: &mut Client) -> BaseCommand {
    client.next().await.unwrap().unwrap().command
}

fn access(token: Option<Token>) -> Arc<Access> {
    Arc::new(Access::new(token, false, None).unwrap())
}

/// A JWT without a signature.
fn token(claims: &str) -> String {
    format!("Hidden.{}.Hidden", BASE64_URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn the_end_of_a_token_is_read_from_it() {
    let end = |claims: &str| expiry(&token(claims)).map(Timestamp::as_second);
    assert_eq!(end(r#"{"sub": "a", "exp": 1795411930}"#), Some(1795411930));
    assert_eq!(end(r#"{"exp": 1795411930.5}"#), Some(1795411930));
    for none in [r#"{"sub": "a"}"#, r#"{"exp": "soon"}"#, r#"{"exp": 1e300}"#, "no claims"] {
        assert_eq!(end(none), None, "{none}");
    }
    assert_eq!((expiry("Hidden"), expiry("a.=.b"), expiry("")), (None, None, None));
}

#[tokio::test]
async fn a_broker_that_asks_again_gets_the_token_that_is_then_valid() {
    let (address, serving) = broker(async |mut client| {
        let hello = heard(&mut client).await.connect.unwrap();
        assert!(hello.feature_flags.unwrap().supports_auth_refresh());
        say(&mut client, Type::Connected, |command| command.connected = Some(CommandConnected::default()))
            .await;
        let challenge = CommandAuthChallenge::default();
        say(&mut client, Type::AuthChallenge, |command| command.auth_challenge = Some(challenge)).await;
        let again = heard(&mut client).await.auth_response.unwrap().response.unwrap();
        say(&mut client, Type::Success, |command| command.success = Some(CommandSuccess::default())).await;
        [(hello.auth_method_name, hello.auth_data), (again.auth_method_name, again.auth_data)]
    })
    .await;
    let reads = AtomicUsize::new(0);
    let renewed = Token::new(move || Ok(format!("token-{}", reads.fetch_add(1, Ordering::Relaxed))));
    let mut connection = Connection::open(&address, None, &access(Some(renewed))).await.unwrap();
    let answer = timeout(ANSWER, connection.receive()).await.unwrap();
    assert!(answer.unwrap().command.success.is_some());
    let shown = |data: &str| (Some("token".to_owned()), Some(data.as_bytes().to_vec()));
    assert_eq!(serving.await.unwrap(), [shown("token-0"), shown("token-1")]);
}

#[tokio::test]
async fn a_token_that_cannot_be_read_again_is_an_error_that_names_the_connection() {
    let (done, waits) = oneshot::channel::<()>();
    let (address, _serving) = broker(async move |mut client| {
        heard(&mut client).await;
        say(&mut client, Type::Connected, |command| command.connected = Some(CommandConnected::default()))
            .await;
        let challenge = CommandAuthChallenge::default();
        say(&mut client, Type::AuthChallenge, |command| command.auth_challenge = Some(challenge)).await;
        let _ = waits.await;
    })
    .await;
    let reads = AtomicUsize::new(0);
    let gone = Token::new(move || match reads.fetch_add(1, Ordering::Relaxed) {
        0 => Ok("Hidden".to_owned()),
        _ => Err(Error::operator("the secret file /t cannot be read")),
    });
    let mut connection = Connection::open(&address, None, &access(Some(gone))).await.unwrap();
    let error = timeout(ANSWER, connection.receive()).await.unwrap().err().unwrap();
    assert_eq!(error.message, format!("Pulsar at {}: the secret file /t cannot be read", address.0));
    drop(done);
}

#[tokio::test]
async fn a_login_that_is_refused_is_told_with_its_reason_and_without_the_token() {
    let fixed = |token: String| Some(Token::new(move || Ok(token.clone())));
    for (given, message, advice) in [
        (None, "Failed to authenticate", "give source.queue.pulsar.token"),
        (fixed(token("{}")), "Failed to authenticate", "check source.queue.pulsar.token"),
        (fixed(token(r#"{"exp": 1795411930}"#)), "expired at 2026-11-23T05:32:10Z", "put a valid one"),
        (
            fixed(token(r#"{"exp": 99999999999}"#)),
            "Failed to authenticate",
            "check source.queue.pulsar.token",
        ),
    ] {
        let (address, _serving) = broker(async |mut client| {
            heard(&mut client).await;
            let (error, message) = (ServerError::AuthenticationError.into(), "Failed to authenticate".into());
            let refusal = CommandError { error, message, ..CommandError::default() };
            say(&mut client, Type::Error, |command| command.error = Some(refusal)).await;
        })
        .await;
        let error = Connection::open(&address, None, &access(given)).await.err().unwrap();
        assert_eq!(error.verdict, Verdict::Operator, "{error}");
        assert!(error.message.starts_with(&format!("Pulsar at {}", address.0)), "{error}");
        assert!(error.message.contains(message), "{error}");
        assert!(error.advice.as_ref().is_some_and(|told| told.contains(advice)), "{error:?}");
        assert!(!format!("{error:?}").contains("Hidden"), "{error:?}");
    }
}

#[tokio::test]
async fn certificates_that_are_of_no_use_are_refused_by_their_place() {
    let wrong = "-----BEGIN CERTIFICATE-----\nSGlkZGVu\n-----END CERTIFICATE-----\n".to_owned();
    for (tls, message) in [
        (Tls { ca: Some(wrong.clone()), ..Tls::default() }, "of no use"),
        (Tls { server_name: Some("a b".into()), ..Tls::default() }, "no certificate has the name"),
        (Tls { identity: Some((wrong, "Hidden".into())), ..Tls::default() }, "of no use"),
    ] {
        let error = Access::new(None, true, Some(&tls)).unwrap_err();
        assert!(error.message.contains(message) && !format!("{error:?}").contains("Hidden"), "{error:?}");
        assert!(error.advice.unwrap().contains("source.queue.pulsar"));
    }
}
