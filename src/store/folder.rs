//! The folder of a store, held open: it is told from whatever takes its place, as when its disk is unmounted.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use crate::error::{Error, Result};

/// A folder that was there when its store was opened.
#[derive(Clone)]
pub(super) struct Folder(Arc<(PathBuf, File)>);

impl Folder {
    /// That of a store's URL; none where it has none.
    pub fn hold(url: &str) -> Result<Option<Folder>> {
        let url = Url::parse(url).ok().filter(|url| url.scheme() == "file");
        let Some(path) = url.and_then(|url| url.to_file_path().ok()) else { return Ok(None) };
        let held = File::open(&path).map_err(|error| {
            Error::operator(format!("cannot open the folder {}: {error}", path.display()))
                .advice("let the user that runs tapedeck read it")
        })?;
        Ok(Some(Folder(Arc::new((path, held)))))
    }

    /// Whether its path still leads to it.
    pub async fn check(&self) -> Result<()> {
        let folder = self.0.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let (path, held) = &*folder;
            let id = |found: Metadata| (found.dev(), found.ino());
            Ok::<_, io::Error>(id(fs::metadata(path)?) == id(held.metadata()?))
        });
        let path = self.0.0.display();
        match looked.await.map_err(io::Error::other).flatten() {
            Ok(true) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::retry(format!("cannot look at the folder {path}: {error}")))
            }
            Ok(false) | Err(_) => {
                Err(Error::operator(format!("the folder {path} is no longer the one that was opened"))
                    .advice("its disk was unmounted, or it was moved: bring it back, then resume the task"))
            }
        }
    }
}
