//! What fails at a RocksMQ's folder, and what a person can do about it.

use std::io;
use std::path::Path;

use rocksdb::ErrorKind;

use crate::error::Error;

const READABLE: &str = "check that the folder is still there and can be read";
const ADVICE: &str =
    "write Milvus' `rocksmq.path` as this machine sees it; Milvus makes it at its first start";

/// Why a file of the RocksDB cannot be read.
pub(super) fn unread(path: &Path, name: &str, error: &io::Error) -> Error {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => not_allowed(format!("RocksMQ at {shown}: {name}: {error}")),
        io::ErrorKind::NotFound if !path.exists() => {
            Error::operator(format!("RocksMQ at {shown}: there is no such folder")).advice(ADVICE)
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::operator(format!("RocksMQ at {shown}: there is no RocksDB in it")).advice(ADVICE)
        }
        _ => Error::retry(format!("RocksMQ at {shown}: {name}: {error}")).advice(READABLE),
    }
}

fn not_allowed(what: String) -> Error {
    Error::operator(what).advice(
        "run tapedeck as Milvus' user, or let it read the folder and every file in it, also later ones",
    )
}

/// A RocksDB that Milvus did not make for its messages.
pub(super) fn other_kind(path: &Path) -> Error {
    Error::operator(format!("the RocksDB at {} is no RocksMQ", path.display()))
        .advice("write Milvus' `rocksmq.path`, not the folder beside it that ends in _meta_kv")
}

/// What RocksDB failed at.
pub(super) fn failed(path: &Path, error: &rocksdb::Error) -> Error {
    let what = format!("RocksMQ at {}: {error}", path.display());
    match error.kind() {
        _ if error.as_ref().contains("Permission denied") => not_allowed(what),
        ErrorKind::IOError
        | ErrorKind::Busy
        | ErrorKind::TryAgain
        | ErrorKind::TimedOut
        | ErrorKind::Aborted => Error::retry(what).advice(READABLE),
        _ => Error::operator(what).advice("check that Milvus itself can read it, and the versions of both"),
    }
}
