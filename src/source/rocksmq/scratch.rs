//! The folder for what a secondary writes. One whose owner was killed is removed by the next.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "tapedeck-rocksmq-";
/// Locked by the owner as long as it lives.
const OWNER: &str = "OWNER";

/// A folder that is removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: TempDir,
    _owner: File,
}

impl Scratch {
    /// Makes one, and removes those that nobody owns any more.
    pub fn make(parent: &Path) -> io::Result<Scratch> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // it has its name only when it is locked: until then nobody takes the folder for one without an owner
        let unnamed = folder.path().join("new");
        let owner = File::create(&unnamed)?;
        owner.lock()?;
        fs::rename(unnamed, folder.path().join(OWNER))?;
        let user = folder.path().metadata()?.uid();
        // where this is not allowed they stay
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_left(&entry, user) {
                // another may be removing it too
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(Scratch { folder, _owner: owner })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Whether it is a folder of this user whose owner is gone. What cannot be told is not left.
fn is_left(entry: &fs::DirEntry, user: u32) -> bool {
    let own = entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user);
    own && File::open(entry.path().join(OWNER)).is_ok_and(|owner| owner.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder whose owner was killed: the system releases its lock.
    fn killed(parent: &Path) -> PathBuf {
        let Scratch { folder, _owner: owner } = Scratch::make(parent).unwrap();
        let path = folder.keep();
        fs::write(path.join("LOG"), "a line").unwrap();
        drop(owner);
        path
    }

    #[test]
    fn a_folder_is_removed_when_dropped_or_by_the_next_after_its_owner_was_killed() {
        let parent = tempfile::tempdir().unwrap();
        drop(Scratch::make(parent.path()).unwrap());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        let left = killed(parent.path());
        assert!(left.exists());
        let next = Scratch::make(parent.path()).unwrap();
        assert!(!left.exists() && next.path().exists());
    }

    #[test]
    fn what_is_in_use_or_of_another_kind_is_never_removed() {
        let parent = tempfile::tempdir().unwrap();
        let used = Scratch::make(parent.path()).unwrap();
        let being_made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent.path()).unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(OWNER), "").unwrap();
        let link = parent.path().join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(&other, &link).unwrap();
        let next = Scratch::make(parent.path()).unwrap();
        for kept in [used.path(), being_made.path(), &other, &link, next.path()] {
            assert!(kept.exists(), "{}", kept.display());
        }
    }
}
