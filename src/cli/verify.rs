//! `tapedeck log verify`.

use std::future::ready;

use serde::Serialize;

use super::print_json;
use super::progress::ProgressLine;
use crate::archive::verify::{Archived, verify_beside};
use crate::error::{Error, Result};
use crate::log::store::Store;
use crate::log::verify::{Report, Scope, verify};
use crate::tick::Tso;

/// What is shown. The damages are those of the log and of its archive.
#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    log: Report,
    /// None where the log's identity or floor is damaged.
    archive: Option<Archived>,
}

pub async fn run(store: Store, since: Option<Tso>, deep: bool) -> Result<()> {
    let scope = since.map_or(Scope::Whole, Scope::Since);
    let progress = ProgressLine::new();
    let verified = both(store, scope, deep, &progress).await;
    progress.clear();
    let verified = verified?;
    print_json(&verified)?;
    match verified.log.damaged() {
        0 => Ok(()),
        damages => Err(Error::refused(format!("the log has {damages} damages"))
            .advice("restore the named objects from a copy")),
    }
}

async fn both(store: Store, scope: Scope, rows: bool, progress: &ProgressLine) -> Result<Verified> {
    let tell = |seq, bytes| {
        progress.tell(format!("commit {seq}, {bytes} bytes"));
        ready(())
    };
    let mut log = verify(store.clone(), scope, tell).await?;
    let tell = |n, last| {
        progress.tell(format!("manifest {n} of {last} of the archive"));
        ready(())
    };
    let archive = verify_beside(&mut log, &store, rows, tell).await?;
    Ok(Verified { log, archive })
}
