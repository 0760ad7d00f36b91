//! A client of the API.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::api::Problem;
use crate::config;
use crate::error::{Error, Result};
use crate::loopback::is_loopback;
use crate::task::secret::Secret;

/// Longer than any line of the service.
const MOST_LINE_BYTES: usize = 1 << 20;
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Longer than the service takes for any answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Which service.
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// Address of the service
    #[arg(
        long,
        alias = "api",
        env = "TAPEDECK_SERVER",
        default_value = "http://127.0.0.1:8444",
        value_name = "URL"
    )]
    server: String,
    /// File with the service's token (else the variable TAPEDECK_TOKEN)
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The API of a service.
pub struct Server {
    client: Client,
    address: String,
    token: Option<String>,
    patience: Duration,
}

impl Server {
    /// A client; nothing is asked yet.
    pub fn new(args: &ServerArgs) -> Result<Server> {
        let token = config::token(args.token_file.clone().map(Secret::File).as_ref())?;
        let address = args.server.trim_end_matches('/').to_owned();
        let mut client = Client::builder().connect_timeout(CONNECT_TIME);
        let host = Url::parse(&address).ok().and_then(|url| url.host_str().map(is_loopback));
        if host == Some(true) {
            // It would be given the token, and has no way back to this machine.
            client = client.no_proxy();
        }
        let client = client.build();
        let client =
            client.map_err(|error| Error::operator(format!("no HTTP client can be made: {error}")))?;
        Ok(Server { client, address, token, patience: ANSWER_TIME })
    }

    /// Asks, and reads the answer as JSON; none where it has no body.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Option<T>> {
        let response = self.send(method, path, body, Some(self.patience)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let answer = serde_json::from_slice(&bytes);
        answer.map(Some).map_err(|error| self.strange(&error))
    }

    /// Asks for a stream of events, and gives each one's data to `show`, until the stream ends.
    pub async fn follow(&self, path: &str, mut show: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let mut stream = self.send(Method::GET, path, None, None).await?.bytes_stream();
        let mut kept = Vec::new();
        while let Some(bytes) = stream.next().await {
            kept.extend_from_slice(&bytes.map_err(|error| self.unreachable(&error))?);
            while let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
                let line = kept.drain(..=end).collect::<Vec<_>>();
                if let Some(data) = String::from_utf8_lossy(&line).strip_prefix("data: ") {
                    show(data.trim_end())?;
                }
            }
            if kept.len() > MOST_LINE_BYTES {
                return Err(self.strange(&"a line without an end"));
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        within: Option<Duration>,
    ) -> Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.address));
        if let Some(within) = within {
            request = request.timeout(within);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem = response.json::<Problem>().await;
        Err(problem.map_or_else(|_| self.strange(&status), error_of))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Error::retry(format!("the service at {} cannot be reached: {cause}", self.address))
            .advice("start it (tapedeck serve), or give its address with --server")
    }

    fn strange(&self, what: &dyn std::fmt::Display) -> Error {
        Error::operator(format!("{} answers like no tapedeck: {what}", self.address))
    }
}

fn error_of(problem: Problem) -> Error {
    let error = match problem.kind.trim_start_matches("urn:tapedeck:") {
        "retry" | "timeout" => Error::retry(problem.detail),
        "operator" | "connection" | "unauthorized" => Error::operator(problem.detail),
        "fenced" => Error::fenced(problem.detail),
        "refused" => Error::refused(problem.detail),
        _ => Error::usage(problem.detail),
    };
    Error { advice: problem.advice, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::tests::behind_a_proxy;
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    /// A client of a service that takes its time before each line.
    async fn server(time: Duration) -> Server {
        // Another test may have chosen one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let line = move || async move {
            tokio::time::sleep(time).await;
            "data: 7\n"
        };
        let router = Router::new().route("/events", get(line)).route("/number", get(|| async { "7" }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server::new(&ServerArgs { server, token_file: None }).unwrap()
    }

    #[tokio::test]
    async fn a_token_for_this_machine_is_given_to_no_proxy() {
        if behind_a_proxy("cli::client::tests::a_token_for_this_machine_is_given_to_no_proxy") {
            let server = server(Duration::ZERO).await;
            assert_eq!(server.ask::<u32>(Method::GET, "/number", None).await.unwrap(), Some(7));
        }
    }

    #[tokio::test]
    async fn an_answer_is_not_waited_for_without_end_but_events_are() {
        let mut server = server(Duration::from_millis(600)).await;
        server.patience = Duration::from_millis(100);
        let error = server.ask::<u32>(Method::GET, "/events", None).await.unwrap_err();
        assert!(error.is_retry() && error.message.contains("cannot be reached"), "{error}");
        let mut events = Vec::new();
        let show = |data: &str| {
            events.push(data.to_owned());
            Ok(())
        };
        server.follow("/events", show).await.unwrap();
        assert_eq!(events, ["7"]);
    }
}
