//! TLS as a task document has it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secret::{Secret, resolve};
use crate::error::{Error, Result};
use crate::tls::Tls;

/// Certificates of a connection, each a PEM in a file or an environment variable of the service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSpec {
    /// Whom to trust; left out: whom the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<Secret>,
    /// The client's own certificate, where the server asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Secret>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// The name in the server's certificate, where it is not the host of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl TlsSpec {
    /// Reads the certificates.
    pub fn resolve(&self) -> Result<Tls> {
        let ca = certificates(self.ca.as_ref())?;
        let identity = certificates(self.certificate.as_ref())?.zip(resolve(self.key.as_ref())?);
        Ok(Tls { ca, identity, server_name: self.server_name.clone() })
    }
}

fn certificates(from: Option<&Secret>) -> Result<Option<String>> {
    let text = resolve(from)?;
    match text.as_ref().zip(from) {
        Some((text, place)) if !text.contains("-----BEGIN CERTIFICATE-----") => {
            let message = format!("{place} holds no certificate");
            Err(Error::operator(message).advice("write it as PEM: -----BEGIN CERTIFICATE----- ..."))
        }
        _ => Ok(text),
    }
}
