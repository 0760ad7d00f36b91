//! How a Milvus is reached: address, TLS, token. The source and the target share it.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use crate::error::{Error, Result};
use crate::tls::{Tls, chain};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Milvus refuses pings that come more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The endpoint behind an address; `whose` (source, target) stands in the errors.
pub fn endpoint(whose: &str, uri: &str, tls: Option<&Tls>) -> Result<Endpoint> {
    let advice = "write http://host:19530, or https://host:443";
    let wrong = |why: &str| Error::usage(format!("the {whose}'s address is wrong: {why}")).advice(advice);
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
    endpoint.tls_config(tls.cloned().unwrap_or_default().grpc()).map_err(|error| {
        Error::operator(format!("the certificates for the {whose} are of no use: {}", chain(&error)))
    })
}

/// Puts the token into each request.
#[derive(Clone)]
pub struct Credential(Option<MetadataValue<Ascii>>);

impl Credential {
    /// From `user:password` or an API key.
    pub fn new(whose: &str, token: Option<&str>) -> Result<Credential> {
        let Some(token) = token else { return Ok(Credential(None)) };
        let mut value = MetadataValue::try_from(BASE64_STANDARD.encode(token))
            .map_err(|_| Error::usage(format!("the {whose}'s token cannot be sent")))?;
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

    #[test]
    fn an_address_that_is_none_is_an_error_of_usage_without_its_secrets() {
        for uri in ["", "localhost:19530", "ftp://host", "http://", "http://root:Secret@host:1", "http://a b"]
        {
            let error = endpoint("target", uri, None).err().unwrap();
            assert_eq!(error.verdict, Verdict::Usage, "{uri}");
            assert!(!format!("{error:?}").contains("Secret"));
        }
        for uri in ["http://127.0.0.1:19530", "http://[::1]:19530", "https://example.com"] {
            assert!(endpoint("target", uri, None).is_ok(), "{uri}");
        }
    }

    #[test]
    fn the_token_is_sent_and_never_shown() {
        let mut credential = Credential::new("target", Some("root:Secret")).unwrap();
        let request = credential.call(Request::new(())).unwrap();
        let value = request.metadata().get("authorization").unwrap();
        assert_eq!(value, &BASE64_STANDARD.encode("root:Secret"));
        assert!(!format!("{request:?}").contains(&BASE64_STANDARD.encode("root:Secret")));
    }
}
