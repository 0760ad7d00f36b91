//! `tapedeck compare`: whether a target holds what its source holds.

mod applied;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use super::client::{Server, ServerArgs};
use super::progress::ProgressLine;
use super::selected::Selected;
use super::{SpecFile, instant, print, print_json};
use crate::compare::{AtOnce, Comparison};
use crate::error::{Error, Result};
use crate::selection::{Renames, Selection};
use crate::task::connect;
use crate::task::secret::Secret;
use crate::task::spec::{MilvusSpec, TaskSpec};
use crate::telemetry::{self, LogFormat};
use crate::tick::Tso;
use applied::Applied;

/// How long a task gets to apply what its source had when the comparison began.
const TASK_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    addresses: Addresses,
    #[command(flatten)]
    selected: Selected,
    /// The source and the target of this task of a service; waits until it has applied what the source holds
    #[arg(long, value_name = "NAME", conflicts_with_all = ["Addresses", "Selected", "spec"])]
    task: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// The source and the target of a task document (JSON); - reads it from standard input
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with_all = ["Addresses", "Selected"])]
    spec: Option<PathBuf>,
    /// Both hold what the source held at this instant (TSO or RFC 3339), and rest since; now where it is left out
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Tso>,
    /// How long to compare again what differs: 0s, for a task 60s
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// How many of the differing keys are shown of each collection
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    keys: u16,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Two Milvus.
#[derive(Debug, clap::Args)]
struct Addresses {
    /// Address of the source Milvus
    #[arg(required_unless_present_any = ["task", "spec"], requires = "target")]
    source: Option<String>,
    /// Address of the target Milvus
    target: Option<String>,
    /// Environment variable with the source's token
    #[arg(long, value_name = "NAME", requires = "source", conflicts_with = "source_token_file")]
    source_token_env: Option<String>,
    /// File with the source's token
    #[arg(long, value_name = "FILE", requires = "source")]
    source_token_file: Option<PathBuf>,
    /// Environment variable with the target's token
    #[arg(long, value_name = "NAME", requires = "target", conflicts_with = "target_token_file")]
    target_token_env: Option<String>,
    /// File with the target's token
    #[arg(long, value_name = "FILE", requires = "target")]
    target_token_file: Option<PathBuf>,
}

pub async fn compare(args: Args) -> Result<()> {
    telemetry::logs(LogFormat::Text, "warn");
    let progress = ProgressLine::new();
    let show = |name: &_| progress.tell(format!("comparing {name}"));
    let report = if let Some(task) = &args.task {
        let applied = Applied::new(Server::new(&args.server)?, task)?;
        let comparison = args.of_document(&applied.task().await?.spec)?;
        comparison.run(&applied, show).await
    } else {
        let comparison = match &args.spec {
            Some(spec) => args.of_document(&SpecFile { spec: spec.clone() }.read()?)?,
            None => args.of_addresses()?,
        };
        comparison.run(&AtOnce, show).await
    };
    progress.clear();
    let report = report?;
    if args.json {
        print_json(&report)?;
    } else {
        table::lines(&report).into_iter().try_for_each(print)?;
    }
    if report.equal {
        return Ok(());
    }
    let differing = report.collections.iter().filter(|collection| !collection.equal).count();
    let (all, databases) = (report.collections.len(), report.databases.len());
    Err(Error::operator(format!("{differing} of {all} collections differ, and {databases} databases")))
}

impl Args {
    fn of_addresses(&self) -> Result<Comparison> {
        let Addresses { source, target, .. } = &self.addresses;
        let token = |env: &Option<String>, file: &Option<PathBuf>| {
            env.clone().map(Secret::Env).or_else(|| file.clone().map(Secret::File))
        };
        let milvus = |uri: &Option<String>, token| {
            let uri = uri.clone().unwrap_or_default();
            MilvusSpec { uri, token, tls: None }
        };
        let source_token = token(&self.addresses.source_token_env, &self.addresses.source_token_file);
        let target_token = token(&self.addresses.target_token_env, &self.addresses.target_token_file);
        let selection = Selection::new(&self.selected.include(), &self.selected.exclude)?;
        let renames = Renames::new(&self.selected.renames()?, &selection)?;
        self.comparison(&milvus(source, source_token), &milvus(target, target_token), selection, renames)
    }

    fn of_document(&self, spec: &TaskSpec) -> Result<Comparison> {
        let missing = |what: &str| {
            Error::usage(format!("{what}: it is missing, so there is nothing to compare"))
                .advice("add it to the task document, or give SOURCE and TARGET")
        };
        let source = spec.source.as_ref().and_then(|source| source.milvus.as_ref());
        let source = source.ok_or_else(|| missing("source.milvus"))?;
        let target = spec.target.as_ref().ok_or_else(|| missing("target"))?;
        self.comparison(source, target, spec.selection()?, spec.renames()?)
    }

    fn comparison(
        &self,
        source: &MilvusSpec,
        target: &MilvusSpec,
        selection: Selection,
        renames: Renames,
    ) -> Result<Comparison> {
        let usual = if self.task.is_some() { TASK_WAIT } else { Duration::ZERO };
        Ok(Comparison {
            source: connect::reader("source", source)?,
            target: connect::reader("target", target)?,
            selection,
            renames,
            at: self.at,
            patience: self.wait.unwrap_or(usual),
            keys: self.keys.into(),
        })
    }
}
