//! `tapedeck log archive`.

use super::print_json;
use super::progress::ProgressLine;
use crate::archive::archiver::{Limits, archive};
use crate::error::Result;
use crate::log::store::Store;

pub async fn run(store: Store) -> Result<()> {
    let progress = ProgressLine::new();
    let report = archive(store, Limits::default(), |seq, last, report| {
        progress.tell(format!("commit {seq} of {last}, {} files of {} bytes", report.files, report.bytes));
    });
    let report = report.await;
    progress.clear();
    print_json(&report?)
}
