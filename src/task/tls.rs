//! TLS as a task document has it.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secret::Secret;
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
        let certificate = certificates(self.certificate.as_ref())?;
        let identity = certificate.zip(pem(self.key.as_ref(), "PRIVATE KEY")?);
        Ok(Tls { ca, identity, server_name: self.server_name.clone() })
    }
}

/// Whoever uses them may say no more than that something is wrong.
fn certificates(from: Option<&Secret>) -> Result<Option<String>> {
    let text = pem(from, "CERTIFICATE")?;
    for (text, place) in text.iter().zip(from) {
        let mut found = CertificateDer::pem_slice_iter(text.as_bytes());
        let damaged = found.find_map(|found| match found {
            Ok(certificate) => RootCertStore::empty().add(certificate).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        });
        if let Some(why) = damaged {
            return Err(Error::operator(format!("{place} holds a damaged certificate: {why}"))
                .advice("copy the certificate again: all of it, with its first and last line"));
        }
    }
    Ok(text)
}

fn pem(from: Option<&Secret>, what: &str) -> Result<Option<String>> {
    let text = from.map(Secret::resolve_text).transpose()?;
    match text.as_ref().zip(from) {
        Some((text, place)) if !text.contains(&format!("{what}-----")) => {
            let message = format!("{place} holds no {}", what.to_lowercase());
            Err(Error::operator(message).advice(format!("write it as PEM: -----BEGIN {what}----- ...")))
        }
        _ => Ok(text),
    }
}
