//! Where a Milvus is and how long to wait for it.

use std::fmt;
use std::time::Duration;

use crate::tls::Tls;

/// How to reach a target Milvus.
#[derive(Clone)]
pub struct MilvusOptions {
    /// `http://host:19530`, or `https://` for TLS with the roots that the system trusts.
    pub uri: String,
    /// `user:password` or an API key. Shown by nothing.
    pub token: Option<String>,
    /// Certificates for an `https://` address, where the system's are not enough.
    pub tls: Option<Tls>,
    /// How long a request may take.
    pub timeout: Duration,
    /// How long the target may take to load a collection or to persist its rows, before it is asked again.
    pub patience: Duration,
    /// Rows of more bytes than this go out in several requests. Milvus' own limit is 64 MiB.
    pub request_bytes: usize,
    /// Connections that requests are spread over.
    pub connections: usize,
}

impl MilvusOptions {
    /// The usual limits.
    pub fn new(uri: impl Into<String>) -> MilvusOptions {
        MilvusOptions {
            uri: uri.into(),
            token: None,
            tls: None,
            timeout: Duration::from_secs(60),
            patience: Duration::from_secs(300),
            request_bytes: 16 << 20,
            connections: 2,
        }
    }
}

impl fmt::Debug for MilvusOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MilvusOptions")
            .field("uri", &self.uri)
            .field("token", &self.token.as_ref().map(|_| "(hidden)"))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_not_shown() {
        let options = MilvusOptions { token: Some("root:Secret".into()), ..MilvusOptions::new("http://h:1") };
        assert!(!format!("{options:?}").contains("Secret"));
    }
}
