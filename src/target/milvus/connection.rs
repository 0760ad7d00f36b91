//! The connections to a Milvus, and how a request is sent over them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::error::{Error, Result};
use crate::pb::milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use crate::pb::milvus::proto::milvus::{ClientInfo, ConnectRequest, GetVersionRequest, ListDatabasesRequest};
use crate::target::milvus::MilvusOptions;

/// What Milvus takes and gives in one message.
const MAX_MESSAGE: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Milvus refuses pings that come more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The generated client.
pub(super) type Service = MilvusServiceClient<InterceptedService<Channel, Credential>>;

/// A few connections that are used in turn.
pub(super) struct Connection {
    services: Vec<Service>,
    next: AtomicUsize,
    timeout: Duration,
}

/// Calls a method of the service: its answer, or a [`Failure`].
macro_rules! call {
    ($connection:expr, $method:ident, $request:expr) => {
        $crate::target::milvus::failure::answer(
            $connection.service().$method($connection.request($request)).await,
            stringify!($method),
        )
    };
}
pub(super) use call;

impl Connection {
    pub(super) fn new(options: &MilvusOptions) -> Result<Connection> {
        let endpoint = endpoint(&options.uri)?;
        let credential = Credential::new(options.token.as_deref())?;
        let service = || {
            MilvusServiceClient::with_interceptor(endpoint.connect_lazy(), credential.clone())
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE)
        };
        let services = (0..options.connections.max(1)).map(|_| service()).collect();
        Ok(Connection { services, next: AtomicUsize::new(0), timeout: options.timeout })
    }

    /// The connection whose turn it is.
    pub(super) fn service(&self) -> Service {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        // `new` makes at least one
        self.services[turn % self.services.len()].clone()
    }

    /// A request with its deadline.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// What the server says it is. Tries the credentials as well: some versions answer a greeting without them.
    pub(super) async fn hello(&self) -> Result<String> {
        let client_info = ClientInfo {
            sdk_type: "tapedeck".to_owned(),
            sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        };
        let greeting = call!(self, connect, ConnectRequest { client_info: Some(client_info) });
        let version = match greeting {
            Ok(greeting) => greeting.server_info.map(|server| server.build_tags).unwrap_or_default(),
            Err(failure) if failure.is_unimplemented() => String::new(),
            Err(failure) => return Err(failure.into()),
        };
        let version = match version.as_str() {
            "" => call!(self, get_version, GetVersionRequest {})?.version,
            _ => version,
        };
        match call!(self, list_databases, ListDatabasesRequest {}) {
            Err(failure) if !failure.is_unimplemented() => Err(failure.into()),
            _ => Ok(format!("Milvus {version}")),
        }
    }
}

fn endpoint(uri: &str) -> Result<Endpoint> {
    let advice = "write http://host:19530, or https://host:443";
    let wrong = |why: &str| Error::usage(format!("the target's address is wrong: {why}")).advice(advice);
    let parsed = url::Url::parse(uri).map_err(|error| wrong(&error.to_string()))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(wrong("a user and a password do not belong into it but into the token"));
    }
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(wrong("it needs http:// or https:// and a host"));
    }
    let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(|error| wrong(&error.to_string()))?;
    let endpoint = endpoint
        .user_agent(concat!("tapedeck/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| wrong(&error.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    if parsed.scheme() == "http" {
        return Ok(endpoint);
    }
    endpoint
        .tls_config(ClientTlsConfig::new().with_native_roots())
        .map_err(|error| Error::operator(format!("TLS cannot be set up: {error}")))
}

/// Puts the token into each request.
#[derive(Clone)]
pub(super) struct Credential(Option<MetadataValue<Ascii>>);

impl Credential {
    fn new(token: Option<&str>) -> Result<Credential> {
        let Some(token) = token else { return Ok(Credential(None)) };
        let mut value = MetadataValue::try_from(BASE64_STANDARD.encode(token))
            .map_err(|_| Error::usage("the target's token cannot be sent"))?;
        value.set_sensitive(true);
        Ok(Credential(Some(value)))
    }
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Verdict;

    fn connect(uri: &str, token: Option<&str>) -> Result<Connection> {
        Connection::new(&MilvusOptions { token: token.map(str::to_owned), ..MilvusOptions::new(uri) })
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_an_error_of_usage_without_its_secrets() {
        for uri in ["", "localhost:19530", "ftp://host", "http://", "http://root:Secret@host:1", "http://a b"]
        {
            let error = connect(uri, None).err().unwrap();
            assert_eq!(error.verdict, Verdict::Usage, "{uri}");
            assert!(!format!("{error:?}").contains("Secret"));
        }
        for uri in ["http://127.0.0.1:19530", "http://[::1]:19530", "https://example.com"] {
            assert!(connect(uri, None).is_ok(), "{uri}");
        }
    }

    #[tokio::test]
    async fn the_token_is_sent_and_never_shown() {
        let options =
            MilvusOptions { token: Some("root:Secret".to_owned()), ..MilvusOptions::new("http://h:1") };
        assert!(!format!("{options:?}").contains("Secret"));
        let mut credential = Credential::new(options.token.as_deref()).unwrap();
        let request = credential.call(Request::new(())).unwrap();
        let value = request.metadata().get("authorization").unwrap();
        assert_eq!(value, &BASE64_STANDARD.encode("root:Secret"));
        assert!(!format!("{request:?}").contains(&BASE64_STANDARD.encode("root:Secret")));
    }
}
