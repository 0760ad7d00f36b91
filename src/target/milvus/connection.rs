//! The connections to a Milvus, and how a request is sent over them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::Request;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::error::Result;
use crate::grpc::{Credential, endpoint};
use crate::pb::milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use crate::pb::milvus::proto::milvus::{ClientInfo, ConnectRequest, GetVersionRequest, ListDatabasesRequest};
use crate::target::milvus::MilvusOptions;

/// What Milvus takes and gives in one message.
const MAX_MESSAGE: usize = 64 << 20;

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
    /// `whose` (source, target) stands in the errors of an address that is none.
    pub(super) fn new(whose: &str, options: &MilvusOptions) -> Result<Connection> {
        let endpoint = endpoint(whose, &options.uri, options.tls.as_ref())?;
        let credential = Credential::new(whose, options.token.as_deref())?;
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
