//! The states of a task and what leads from one to another. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It works.
    Running,
    /// A person stopped it.
    Paused,
    /// It works at something that fails for now, and tries again.
    Degraded,
    /// A person must act. A half that did not fail goes on.
    Failed,
    /// A replay has reached its end.
    Done,
}

impl State {
    /// Every state.
    pub const ALL: [State; 5] = [State::Running, State::Paused, State::Degraded, State::Failed, State::Done];

    /// As it stands in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Paused => "paused",
            State::Degraded => "degraded",
            State::Failed => "failed",
            State::Done => "done",
        }
    }

    /// The state after a step; none where the step is not allowed. A step that changes nothing is allowed, so that
    /// a request that is sent twice gets the same answer twice.
    pub fn after(self, step: Step) -> Option<State> {
        use State::{Degraded, Done, Failed, Paused, Running};
        match (self, step) {
            (Done, Step::Finish) => Some(Done),
            (Done, _) => None,
            (_, Step::Pause) => Some(Paused),
            (Paused | Failed, Step::Resume) => Some(Running),
            (Running | Degraded, Step::Resume) => Some(self),
            // The halves of a paused task are ending, and what they still say changes nothing.
            (Paused, Step::Struggle | Step::Recover | Step::Fail | Step::Finish) => None,
            (_, Step::Fail) => Some(Failed),
            // The other half of a failed task.
            (Failed, Step::Struggle | Step::Recover | Step::Finish) => None,
            (Running | Degraded, Step::Struggle) => Some(Degraded),
            (Running | Degraded, Step::Recover) => Some(Running),
            (Running | Degraded, Step::Finish) => Some(Done),
        }
    }
}

/// What happens to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A person stops it.
    Pause,
    /// A person starts it again.
    Resume,
    /// Something fails and is tried again.
    Struggle,
    /// Nothing fails any more.
    Recover,
    /// A half cannot go on without a person.
    Fail,
    /// The replay has reached its end.
    Finish,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STEPS: [Step; 6] =
        [Step::Pause, Step::Resume, Step::Struggle, Step::Recover, Step::Fail, Step::Finish];

    #[test]
    fn the_table() {
        let row = |state: State| STEPS.map(|step| state.after(step).map_or("-", State::as_str));
        assert_eq!(row(State::Running), ["paused", "running", "degraded", "running", "failed", "done"]);
        assert_eq!(row(State::Degraded), ["paused", "degraded", "degraded", "running", "failed", "done"]);
        assert_eq!(row(State::Paused), ["paused", "running", "-", "-", "-", "-"]);
        assert_eq!(row(State::Failed), ["paused", "running", "-", "-", "failed", "-"]);
        assert_eq!(row(State::Done), ["-", "-", "-", "-", "-", "done"]);
    }

    proptest! {
        #[test]
        fn only_a_person_leads_out_of_failed_or_paused(steps in prop::collection::vec(0usize..6, 0..20)) {
            let mut state = State::Running;
            for step in steps.into_iter().map(|n| STEPS[n]) {
                let next = state.after(step).unwrap_or(state);
                if matches!(state, State::Failed | State::Paused) && next != state {
                    prop_assert!(matches!(step, Step::Pause | Step::Resume));
                }
                state = next;
            }
        }
    }
}
