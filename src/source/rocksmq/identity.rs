//! Which RocksDB lies in a folder.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::failure::unread;
use crate::error::{Error, Result, Verdict};

const FILE: &str = "IDENTITY";

/// The RocksDB that was opened.
#[derive(Debug)]
pub(super) struct Identity {
    /// RocksDB writes an id of its own into every database that it makes, once.
    pub id: String,
    /// Open, so that no other file gets its number.
    file: File,
}

impl Identity {
    pub fn read(path: &Path) -> Result<Identity> {
        let read = |name| fs::read_to_string(path.join(name)).map_err(|error| unread(path, name, &error));
        read("CURRENT")?;
        let file = File::open(path.join(FILE)).map_err(|error| unread(path, FILE, &error))?;
        Ok(Identity { id: read(FILE)?.trim().to_owned(), file })
    }

    /// Refuses a RocksDB that has taken the place of this one; one that is away may come back. A copy has the same id,
    /// but a secondary does not follow into it.
    pub fn check(&self, path: &Path) -> Result<()> {
        let now = Identity::read(path).map_err(|error| Error { verdict: Verdict::Retry, ..error })?;
        let shown = path.display();
        if now.id != self.id {
            return Err(Error::refused(format!(
                "the RocksMQ at {shown} was re-created: it was {}, and is {}",
                self.id, now.id
            ))
            .advice("record this source into a new log"));
        }
        if now.number(path)? != self.number(path)? {
            return Err(Error::operator(format!(
                "the RocksMQ at {shown} was replaced by a copy while it was read"
            ))
            .advice("resume the task: the copy is then compared with what was recorded"));
        }
        Ok(())
    }

    /// What tells its file from all others.
    fn number(&self, path: &Path) -> Result<(u64, u64)> {
        let file = self.file.metadata().map_err(|error| unread(path, FILE, &error))?;
        Ok((file.dev(), file.ino()))
    }
}
