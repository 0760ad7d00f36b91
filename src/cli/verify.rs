//! `tapedeck log verify`.

use serde::Serialize;

use super::print_json;
use super::progress::ProgressLine;
use crate::archive::verify::{Archived, Scope as ArchiveScope, verify as verify_archive};
use crate::error::{Error, Result, Verdict};
use crate::log::reader::LogReader;
use crate::log::store::Store;
use crate::log::verify::{Report, Scope, verify};
use crate::position::Seq;
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
        std::future::ready(())
    };
    let mut log = verify(store.clone(), scope, tell).await?;
    let reader = match LogReader::open(store.clone()).await {
        // Identity or floor is damaged, which has been noted.
        Err(error) if error.verdict == Verdict::Refused && log.damaged() > 0 => None,
        opened => Some(opened?),
    };
    let archive = match reader {
        Some(reader) => {
            let scope = ArchiveScope { from: Seq(log.from), rows };
            let tell = |n, last| progress.tell(format!("manifest {n} of {last} of the archive"));
            Some(verify_archive(&reader, &store, scope, &mut log, tell).await?)
        }
        None => None,
    };
    Ok(Verified { log, archive })
}
