//! When something that is done again and again is due.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::rfc3339;

/// What could not be done is tried again after this, or at its next time if that is sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// Something that could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failed {
    /// When (RFC 3339).
    pub at: String,
    /// Why.
    pub message: String,
}

impl Failed {
    /// Now.
    pub fn now(message: String) -> Failed {
        Failed { at: rfc3339(SystemTime::now()), message }
    }
}

/// Whether it is time: a period after it was done last or, where it never was, after `created` (RFC 3339).
pub fn is_due(
    (created, last): (&str, Option<&str>),
    failed: Option<&Failed>,
    every: Duration,
    now: SystemTime,
) -> bool {
    let passed = |since: &str, wait: Duration| {
        let since = since.parse::<Timestamp>().map_or(SystemTime::UNIX_EPOCH, SystemTime::from);
        // one that lies ahead was noted by a clock that was wrong
        now.duration_since(since).map_or(true, |passed| passed >= wait)
    };
    let again = failed.is_none_or(|failed| passed(&failed.at, every.min(AGAIN_AFTER)));
    again && passed(last.unwrap_or(created), every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_due_a_period_after_the_last_time_and_a_failed_one_within_the_hour() {
        let now = SystemTime::now();
        let ago = |hours: u64| rfc3339(now - Duration::from_secs(3600 * hours + 1));
        for (last, failed, created, due) in [
            (None, None, 1, false),
            (None, None, 24, true),
            (Some(23), None, 100, false),
            (Some(24), None, 100, true),
            (Some(25), Some(0), 100, false),
            (Some(25), Some(1), 100, true),
        ] {
            let (last, created) = (last.map(ago), ago(created));
            let failed = failed.map(|failed| Failed { at: ago(failed), message: String::new() });
            let every = Duration::from_secs(86_400);
            let found = is_due((&created, last.as_deref()), failed.as_ref(), every, now);
            assert_eq!(found, due, "{last:?} {failed:?}");
        }
        let ahead = rfc3339(now + Duration::from_secs(1_000_000));
        assert!(is_due((&ahead, None), None, Duration::from_secs(60), now), "by a clock that was wrong");
    }
}
