//! Encryption at rest as a task document has it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secret::Secret;
use crate::error::{Error, Result};
use crate::log::layout;
use crate::log::store::encryption::{Encryption, Identity, Keys, Recipient, read_keys};

const KEYGEN: &str = "`tapedeck keygen -o FILE` makes a key and prints its public half, age1...";

/// Whose keys a log is written for and read with: those of age (X25519). A file of secret keys may hold several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncryptionSpec {
    /// Public keys (`age1...`) of those who can read the log (record, replicate). A replay writes its positions for them
    /// too; without them for its `identity` alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Secret key of one of the recipients, for whoever reads rows (replay, replicate; verification of a record).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Secret>,
    /// Secret key of the recorder alone: it opens what a recorder has to read again, and no rows (record, replicate).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder_identity: Option<Secret>,
}

impl EncryptionSpec {
    /// Its public keys. The error does not repeat a text that may be a secret key.
    pub fn recipients(&self) -> Result<Vec<Recipient>> {
        let parse = |(n, text): (usize, &String)| {
            text.parse().map_err(|_| {
                Error::usage(format!("log.encryption.recipients[{n}]: it is no public key of age (age1...)"))
                    .advice(KEYGEN)
            })
        };
        self.recipients.iter().enumerate().map(parse).collect()
    }

    /// Reads the secret keys.
    pub fn resolve(&self) -> Result<Encryption> {
        let keys = Keys {
            recipients: self.recipients()?,
            recorder: keys("recorder_identity", self.recorder_identity.as_ref())?,
            identities: keys("identity", self.identity.as_ref())?,
        };
        Encryption::new(keys, layout::ROWS).map_err(|error| error.context("log.encryption"))
    }
}

fn keys(field: &str, from: Option<&Secret>) -> Result<Vec<Identity>> {
    let Some(place) = from else { return Ok(Vec::new()) };
    read_keys(&place.resolve_text()?)
        .map_err(|why| Error::operator(format!("log.encryption.{field}: {place}: {why}")).advice(KEYGEN))
}
