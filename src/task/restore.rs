//! A restore: a replay task that ends at an instant, planned before it begins.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::connect;
use super::spec::{SelectSpec, TaskSpec, UntilSpec};
use crate::archive::base::{Limits, Report, take};
use crate::error::{Error, Result};
use crate::log::reader::no_log;
use crate::position::Seq;
use crate::replayer;
use crate::tick::Tso;

/// A base is worth it when more than one of so many inserted rows does not live.
const WORTH: u64 = 4;

pub use crate::archive::base::Step;
pub use crate::replayer::{Depth, Omitted, Plan, PlannedBase};

/// What a replay task with an instant would do now; nothing is changed. `show` gets each commit and the last.
pub async fn plan(spec: &TaskSpec, depth: Depth, show: impl FnMut(Seq, Seq)) -> Result<Plan> {
    let replayer::Until::Tso(to) = spec.until() else {
        return Err(Error::usage("until: it is no instant").advice("write a time or a TSO"));
    };
    let replayer = connect::replayer(spec, None, &CancellationToken::new()).await?;
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

/// Whether most of the work would be rows that are replaced or deleted again before the instant, while a base has only
/// those that live. A base has all collections, and nothing can be left out of it.
pub fn is_long(spec: &TaskSpec, plan: &Plan) -> bool {
    let selects_all = spec.select.as_ref().is_none_or(SelectSpec::is_everything);
    let is_whole = spec.skip.is_empty() && selects_all;
    is_whole && !plan.done && plan.commits_done == 0 && plan.deleted > plan.inserted / WORTH
}

/// Takes a base of the last state up to the instant that the log can give one of: the restore begins with it then.
pub async fn shorten(spec: &TaskSpec, plan: &Plan, show: impl FnMut(Step)) -> Result<Report> {
    let store = connect::store_to_read(&spec.log).await?.ok_or_else(|| no_log(&spec.log.url))?;
    take(store, Some(Tso(plan.to)), Limits::default(), show).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_taken_where_much_does_not_live_and_all_is_restored() {
        let spec = |more: serde_json::Value| {
            let mut document = json!({"name": "r", "kind": "replay", "log": {"url": "file:///l"}, "until": 9,
                "target": {"uri": "http://h:1"}});
            document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            TaskSpec::parse(document.to_string().as_bytes()).unwrap()
        };
        let plan = |inserted, deleted| Plan { inserted, deleted, ..Plan::default() };
        let whole = spec(json!({"select": {"include": ["*.*"]}}));
        assert!(is_long(&whole, &plan(100, 26)) && is_long(&spec(json!({})), &plan(20, 19)));
        assert!(!is_long(&whole, &plan(100, 25)) && !is_long(&whole, &plan(0, 0)));
        for part in [
            json!({"select": {"include": ["a.*"]}}),
            json!({"select": {"exclude": ["a.*"]}}),
            json!({"skip": ["1:2"]}),
        ] {
            assert!(!is_long(&spec(part.clone()), &plan(20, 19)), "{part}");
        }
        assert!(!is_long(&whole, &Plan { commits_done: 3, ..plan(20, 19) }), "it has begun without");
        assert!(!is_long(&whole, &Plan { done: true, ..plan(20, 19) }));
    }
}
