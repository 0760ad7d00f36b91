//! Certificates of a connection. All of it is PEM; what is left out is the system's, or not asked for.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tonic::Status;
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

    /// The same for what is neither gRPC nor HTTP.
    pub fn client(&self) -> Result<ClientConfig, Box<dyn Error>> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(ca) => {
                for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
                    roots.add(certificate?)?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.identity else { return Ok(config.with_no_client_auth()) };
        let certificates =
            CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        Ok(config.with_client_auth_cert(certificates, key)?)
    }
}

/// How addresses without and with TLS begin.
pub const HTTP: [&str; 2] = ["http://", "https://"];
/// The same for Pulsar.
pub const PULSAR: [&str; 2] = ["pulsar://", "pulsar+ssl://"];

/// An error with all that lies behind it: why a certificate was refused stands last.
pub fn chain(error: &dyn Error) -> String {
    with_reasons(error.to_string(), error.source())
}

/// What a status says, with all that lies behind it: why there is no connection.
pub fn said(status: &Status) -> String {
    with_reasons(status.message().to_owned(), status.source())
}

fn with_reasons(mut text: String, mut behind: Option<&(dyn Error + 'static)>) -> String {
    while let Some(error) = behind {
        let reason = error.to_string();
        if !text.contains(&reason) && reason != "transport error" {
            text = format!("{text}: {reason}");
        }
        behind = error.source();
    }
    text
}

/// What to look at when TLS, or the want of it, is why there is no connection; `section` is its place in the document.
pub fn advice(said: &str, section: &str, [plain, secured]: [&str; 2]) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|words| said.contains(words));
    let look = if says(&["peer certificate"]) {
        "its ca, and server_name where the certificate has another name than the address".to_owned()
    } else if says(&["received fatal alert"]) {
        "its certificate and key: the server does not accept them, or wants some".to_owned()
    } else if says(&["KeyMismatch", "private key"]) {
        "its certificate and key: they must belong together".to_owned()
    } else if says(&["corrupt message", "handshake eof"]) {
        format!("whether the server speaks TLS at all; if not, write {plain}")
    } else if says(&[
        "connection closed",
        "broken pipe",
        "connection reset",
        "Connection reset",
        "unexpected EOF",
    ]) {
        format!("whether the server wants TLS ({secured}), or a client certificate that it trusts")
    } else {
        return None;
    };
    Some(format!("check {section}.tls: {look}"))
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
