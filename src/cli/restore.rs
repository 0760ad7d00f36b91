//! `tapedeck restore`: a log into a target, up to an instant.

use std::path::PathBuf;

use serde_json::json;

use super::log::{Readers, StoreArgs};
use super::progress::ProgressLine;
use super::selected::Selected;
use super::{base, print, print_json, run};
use crate::archive::base::Report;
use crate::error::{Error, Result};
use crate::task::restore::{self, Depth, Omitted, Plan, PlannedBase};
use crate::task::secret::Secret;
use crate::task::spec::TaskSpec;
use crate::telemetry::{self, LogFormat};
use crate::tick::Tso;

/// As many collections are named at the end.
const NAMED: usize = 8;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// s3://bucket/prefix, gs://..., az://..., file:///folder, or a folder; keys come from the environment
    #[arg(long, value_name = "URL")]
    log: String,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    readers: Readers,
    /// The instant: a time such as 2026-11-23T08:00:00Z, or a TSO
    #[arg(long, value_name = "INSTANT")]
    to: String,
    /// Address of the target Milvus
    #[arg(long, value_name = "URI")]
    target: String,
    /// Environment variable with the target's token
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    token_env: Option<String>,
    /// File with the target's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    selected: Selected,
    /// Leave out one change: commit:number of a definition, or tso:TSO of a delete
    #[arg(long, value_name = "PLACE")]
    skip: Vec<String>,
    /// Take no base, however much of the history does not live any more
    #[arg(long, conflicts_with = "plan")]
    no_base: bool,
    /// Begin at once: damage of the log is found where it stands, not before anything is applied
    #[arg(long, conflicts_with = "plan")]
    unchecked: bool,
    /// Say what would be done, and change nothing
    #[arg(long)]
    plan: bool,
    /// The plan as JSON
    #[arg(long, requires = "plan")]
    json: bool,
    /// Under which positions are kept; the same command has the same name, unless one is given
    #[arg(long)]
    name: Option<String>,
}

pub async fn restore(args: Args) -> Result<()> {
    telemetry::logs(LogFormat::Text, "warn");
    let mut spec = args.spec()?;
    if args.plan {
        let plan = plan(&spec, Depth::Rows).await?;
        if args.json {
            print_json(&plan)?
        } else {
            lines(&plan).into_iter().try_for_each(print)?
        }
        return restore::check(&plan);
    }
    let plan = plan(&spec, if spec.unchecked { Depth::Definitions } else { Depth::Rows }).await?;
    restore::check(&plan)?;
    plan.left_out.iter().try_for_each(|omitted| print(left_out(omitted)))?;
    if !args.no_base && restore::is_long(&spec, &plan) {
        print(shortened(&plan, shorten(&spec, &plan).await))?;
    }
    // The plan has read it.
    spec.unchecked = true;
    let Some(status) = run::foreground(spec, false).await? else { return Err(run::stopped("restore")) };
    status.notes.iter().try_for_each(|what| print(note(what)))?;
    run::check_complete(&status, "restored")?;
    print(restored(&plan))
}

fn restored(plan: &Plan) -> String {
    let (count, time) = (plan.collections.len(), &plan.to_time);
    let mut line = format!("restored to {time} ({}): {count} collections", plan.to);
    let names = plan.collections.iter().map(|planned| planned.target.as_str()).collect::<Vec<_>>();
    if (1..=NAMED).contains(&count) {
        line.push_str(&format!(": {}", names.join(", ")));
    }
    line
}

async fn plan(spec: &TaskSpec, depth: Depth) -> Result<Plan> {
    let progress = ProgressLine::new();
    let show = |seq, last| progress.tell(format!("planning: commit {seq} of {last}"));
    let plan = restore::plan(spec, depth, show).await;
    progress.clear();
    plan
}

async fn shorten(spec: &TaskSpec, plan: &Plan) -> Result<Report> {
    Readers::check(&spec.log)?;
    let progress = ProgressLine::new();
    let report = restore::shorten(spec, plan, |step| progress.tell(base::text(step))).await;
    progress.clear();
    report
}

/// What became of a base for a restore; without one it takes longer, no more.
fn shortened(plan: &Plan, base: Result<Report>) -> String {
    let Plan { inserted, deleted, .. } = plan;
    let history = format!("of {inserted} rows {deleted} are replaced or deleted later");
    match base {
        Ok(report) => format!("{history}: begins with {}", base::line(&report)),
        Err(Error { message, advice, .. }) => {
            let advice = advice.map_or_else(String::new, |advice| format!(" ({advice})"));
            format!("{history}, and no base could be taken, so all of it is replayed: {message}{advice}")
        }
    }
}

impl Args {
    /// The replay task that does it.
    fn spec(&self) -> Result<TaskSpec> {
        let to: Tso = self.to.parse()?;
        let env = self.token_env.clone().map(Secret::Env);
        let token = env.or_else(|| self.token_file.as_deref().map(Secret::in_file));
        let mut document = json!({
            "name": self.name.as_deref().unwrap_or("restore"), "kind": "replay",
            "log": self.store.log_for(&self.log, &self.readers)?, "target": {"uri": self.target}, "until": to.0,
            "select": {"include": self.selected.include(), "exclude": self.selected.exclude},
            "rename": self.selected.renames()?, "skip": self.skip,
            "unchecked": self.unchecked,
        });
        if let Some(token) = token {
            document["target"]["token"] = json!(token);
        }
        let mut spec = TaskSpec::parse(document.to_string().as_bytes())?;
        if self.name.is_none() {
            spec.name = restore::name(&spec);
        }
        Ok(spec)
    }
}

/// A plan for people.
fn lines(plan: &Plan) -> Vec<String> {
    let mut lines = vec![format!("restore log {} to {} ({})", plan.log_id, plan.to_time, plan.to)];
    let state = match (plan.done, plan.commits_done) {
        (true, _) => "done already: nothing is left".to_owned(),
        (false, 0) => "from the beginning".to_owned(),
        (false, done) => format!("goes on after commit {done}"),
    };
    lines.push(format!("under the name {}, {state}", plan.name));
    if let Some(PlannedBase { commit, time, rows, bytes }) = &plan.base {
        lines.push(format!("begins with the base of commit {commit}, {time}: {rows} rows, {bytes} bytes"));
    }
    lines.push(format!("{} commits, {} segments, {} bytes", plan.commits, plan.segments, plan.bytes));
    lines.push(format!("{} rows inserted, {} deleted", plan.inserted, plan.deleted));
    lines.extend(plan.operations.iter().map(|(kind, count)| format!("{count:>8} {kind}")));
    lines.push(format!("{} collections exist then", plan.collections.len()));
    lines.extend(plan.collections.iter().map(|planned| match planned.source == planned.target {
        true => format!("         {}", planned.target),
        false => format!("         {} as {}", planned.source, planned.target),
    }));
    lines.extend(plan.aliases_left_out.iter().map(|left_out| {
        format!("alias {} of {} stays out: its collection gets another name", left_out.alias, left_out.of)
    }));
    lines.extend(plan.left_out.iter().map(left_out));
    lines.extend(plan.incomplete.iter().map(|what| format!("cannot be applied: {what}")));
    lines.extend(plan.notes.iter().map(|what| note(what)));
    lines.extend(plan.conflicts.iter().map(|conflict| format!("CONFLICT {}", conflict.message)));
    if let Some(estimate) = &plan.estimate {
        let time = humantime::format_duration(std::time::Duration::from_secs(estimate.seconds));
        lines.push(format!("about {time}: {}", estimate.based_on));
    }
    lines
}

fn note(what: &str) -> String {
    format!("note: {what}")
}

fn left_out(omitted: &Omitted) -> String {
    let Omitted { place, time, change, of, rows, with_it } = omitted;
    let mut line = format!("left out {place}: {change} {of} at {time}");
    if *rows > 0 {
        line.push_str(&format!(", {rows} rows"));
    }
    for (kind, count) in with_it {
        line.push_str(&format!(", with it {count} {kind}"));
    }
    line
}

#[cfg(test)]
mod tests;
