//! `tapedeck log prune` and `tapedeck log keep`: how much of a log stays.

use std::time::Duration;

use serde_json::json;

use super::log::Place;
use super::progress::ProgressLine;
use super::{instant, print_json};
use crate::error::{Error, Result};
use crate::log::points;
use crate::log::prune::{Keep, prune};
use crate::log::reader::LogReader;
use crate::tick::Tso;

#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    #[command(flatten)]
    place: Place,
    /// Instants up to so long before the log's end stay restorable, such as 7d
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    keep_window: Duration,
    /// So many bases stay
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    keep_bases: usize,
    /// Say what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    recipients: Recipients,
}

#[derive(Debug, clap::Args)]
pub struct KeepArgs {
    #[command(flatten)]
    place: Place,
    /// Name of the restore point
    name: String,
    /// The instant, else the log's last: a TSO or RFC 3339
    #[arg(long, value_name = "INSTANT", value_parser = instant, conflicts_with = "release")]
    at: Option<Tso>,
    /// Let it go: what it kept may be pruned
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    recipients: Recipients,
}

/// For whom what is written into an encrypted log is.
#[derive(Debug, clap::Args)]
struct Recipients {
    /// Of an encrypted log: a public key (age1...) of who can read it, or of its recorder
    #[arg(long = "recipient", value_name = "KEY")]
    keys: Vec<String>,
}

pub async fn run_prune(args: PruneArgs) -> Result<()> {
    if args.place.is_encrypted() && args.recipients.keys.is_empty() && !args.dry_run {
        return Err(Error::usage("the log is encrypted, and nobody is named who could read that it was pruned").advice(
            "give --recipient for each of the task's recipients, and for the public key of its recorder_identity",
        ));
    }
    let store = args.place.store_for(args.recipients.keys).await?;
    let keep = Keep { window: args.keep_window, bases: args.keep_bases };
    let progress = ProgressLine::new();
    let pruned = prune(store, keep, args.dry_run, |removed| {
        progress.tell(format!("{} commits, {} segments removed", removed.commits, removed.segments));
    });
    let pruned = pruned.await;
    progress.clear();
    print_json(&pruned?)
}

pub async fn run_keep(args: KeepArgs) -> Result<()> {
    let reader = LogReader::open(args.place.store_for(args.recipients.keys).await?).await?;
    if args.release {
        points::release(&reader, &args.name).await?;
        return print_json(&json!({ "name": args.name, "released": true }));
    }
    let progress = ProgressLine::new();
    let tell = |seq, last| progress.tell(format!("commit {seq} of {last}"));
    let point = points::keep(&reader, &args.name, args.at, tell).await;
    progress.clear();
    let point = point?;
    print_json(&json!({ "name": point.name, "tso": point.tso, "time": Tso(point.tso).time() }))
}
