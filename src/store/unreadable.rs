//! Objects that are there and cannot be read.

use super::Store;
use crate::error::Error;

/// Why not: in words that follow the object's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has this many bytes.
    #[error("has {0} bytes: no object of this kind is so large")]
    TooLarge(u64),
    /// No key was given.
    #[error("is encrypted (age), and no key was given")]
    Encrypted,
    /// It is not encrypted, and must be.
    #[error(
        "is not encrypted, as every object of an encrypted log is: it is damaged, or was put there in clear"
    )]
    Clear,
    /// Which cannot be told from damage of the part of its header that the key would fit.
    #[error("is opened by none of the keys that were given: it was encrypted for others, or is damaged")]
    NoKeyFits,
    /// It is not what was encrypted.
    #[error("is damaged, or not the object that was encrypted: {0}")]
    Damaged(String),
}

impl Unreadable {
    /// The error of whoever needs the object.
    pub fn error(&self, store: &Store, key: &str) -> Error {
        Error::refused(format!("object {key} in {store} {self}")).advice(self.advice())
    }

    /// Whether it may be the keys' fault, or that of a whole log in clear, rather than the object's.
    pub fn is_of_keys(&self) -> bool {
        matches!(self, Unreadable::Encrypted | Unreadable::Clear | Unreadable::NoKeyFits)
    }

    /// What a person can do.
    pub fn advice(&self) -> &'static str {
        match self {
            Unreadable::TooLarge(_) | Unreadable::Damaged(_) => {
                "bring the right object back from a copy of the bucket"
            }
            Unreadable::Encrypted => "give the key: log.encryption in the task document, or --identity FILE",
            Unreadable::Clear => {
                "if the whole log is in clear: record into a new log, or give no keys; else bring the object back from a copy of the bucket"
            }
            Unreadable::NoKeyFits => {
                "give the secret key of one of its recipients; a recorder's own key opens no rows; where the key is right, bring the object back from a copy of the bucket"
            }
        }
    }
}
