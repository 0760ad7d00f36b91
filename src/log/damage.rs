//! What is wrong with one stored object.

use std::fmt;

use super::store::Unreadable;
use crate::error::Error;

/// An object that must not be used, and where in it. Nothing of it reaches a target.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// Its key.
    pub object: String,
    /// The first byte that is known to be wrong.
    pub offset: Option<u64>,
    /// What is wrong.
    pub message: String,
    #[serde(skip)]
    advice: &'static str,
}

impl Damage {
    pub(crate) fn new(object: &str, offset: impl Into<Option<usize>>, message: impl Into<String>) -> Damage {
        let offset = offset.into().map(|offset| u64::try_from(offset).unwrap_or(u64::MAX));
        let advice =
            "bring the object back from a copy of the bucket; `tapedeck log verify` lists all damage";
        Damage { object: object.into(), offset, message: message.into(), advice }
    }

    /// Refuses an object of another log than this one.
    pub(super) fn check_log(object: &str, found: &str, log_id: &str) -> Result<(), Damage> {
        if found == log_id {
            return Ok(());
        }
        let why = format!("belongs to the log \"{}\", not to {log_id}", found.escape_debug());
        Err(Damage::new(object, None, why))
    }

    /// An object that is there and cannot be read.
    pub(crate) fn unreadable(object: &str, why: &Unreadable) -> Damage {
        Damage { advice: why.advice(), ..Damage::new(object, None, why.to_string()) }
    }

    /// An object that a later release has written.
    pub(super) fn newer(object: &str, version: u32) -> Damage {
        let message =
            format!("has format version {version}; this release reads version {}", super::envelope::VERSION);
        Damage { advice: "update tapedeck to the release that wrote it", ..Damage::new(object, 4, message) }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} {}", self.object, self.message)?;
        match self.offset {
            Some(offset) => write!(f, " (at byte {offset})"),
            None => Ok(()),
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Error {
        Error::refused(damage.to_string()).advice(damage.advice)
    }
}
