//! A restore: a replay task that ends at an instant, planned before it begins.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::connect;
use super::spec::{TaskSpec, UntilSpec};
use crate::error::{Error, Result};
use crate::position::Seq;
use crate::replayer;

pub use crate::replayer::{Depth, Omitted, Plan, PlannedBase};

/// What a replay task with an instant would do now; nothing is changed. `show` gets each commit and the last.
pub async fn plan(spec: &TaskSpec, depth: Depth, show: impl FnMut(Seq, Seq)) -> Result<Plan> {
    let replayer::Until::Tso(to) = spec.until() else {
        return Err(Error::usage("until: it is no instant").advice("write a time or a TSO"));
    };
    let replayer = connect::replayer(spec, &CancellationToken::new()).await?;
    let replayer = replayer.ok_or_else(|| Error::operator("the task was cancelled"))?;
    let plan = replayer.plan(to, depth, show).await?;
    match &spec.select {
        Some(select) if !plan.matches => {
            let (include, exclude) = (select.include.join(", "), select.exclude.join(", "));
            let but = if exclude.is_empty() { String::new() } else { format!(" but {exclude}") };
            let what = format!("select: nothing in the log up to {} matches {include}{but}", plan.to_time);
            Err(Error::usage(what).advice("`tapedeck log timeline` names what the log holds"))
        }
        _ => Ok(plan),
    }
}

/// Refuses what the target has in the way.
pub fn check(plan: &Plan) -> Result<()> {
    let Some(first) = plan.conflicts.first() else { return Ok(()) };
    let all = plan.conflicts.iter().map(|conflict| conflict.message.as_str()).collect::<Vec<_>>();
    let error = Error::operator(all.join("; "));
    Err(match &first.advice {
        Some(advice) => error.advice(advice),
        None => error,
    })
}

/// The name of a restore that has been given none: the same for the same instant, target and choice of changes, another
/// one for others.
pub fn name(spec: &TaskSpec) -> String {
    let TaskSpec { target, until, select, rename, skip, .. } = spec;
    let until = until.as_ref().map(|until| match until {
        UntilSpec::Latest => 0,
        UntilSpec::Tso(tso) => tso.0,
    });
    let target = target.as_ref().map(|target| target.uri.trim_end_matches('/'));
    let mut skip = skip.clone();
    skip.sort_unstable();
    let what = json!([target, until, select, rename, skip]).to_string();
    let digest = blake3::hash(what.as_bytes()).to_hex();
    format!("restore-{}", digest.chars().take(16).collect::<String>())
}
