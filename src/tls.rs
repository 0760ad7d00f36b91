//! Certificates of a connection. All of it is PEM; what is left out is the system's, or not asked for.

use std::fmt;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// What a client brings to a TLS connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whom it trusts; none: whom the system trusts.
    pub ca: Option<String>,
    /// Its own certificate and key, for servers that ask for them.
    pub identity: Option<(String, String)>,
    /// The name that the server's certificate is checked against, where it is not the host of the address.
    pub server_name: Option<String>,
}

impl Tls {
    /// The same for gRPC.
    pub fn grpc(&self) -> ClientTlsConfig {
        let mut config = match &self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        match &self.server_name {
            Some(name) => config.domain_name(name),
            None => config,
        }
    }
}

/// An error with all that lies behind it: why a certificate was refused stands last.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        behind = error.source();
    }
    text
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}
