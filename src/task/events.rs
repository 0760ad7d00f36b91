//! What happened to a task: the newest events, kept in memory, and a stream of those to come.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use utoipa::ToSchema;

const MOST_KEPT: usize = 256;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number; they count from 1 since the service started.
    pub n: u64,
    /// When (RFC 3339).
    pub at: String,
    /// `created`, `started`, `paused`, `resumed`, `degraded`, `recovered`, `failed`, `done` or `deleted`; of its log
    /// `verified`, `damaged`, `unverified`, `archived`, `unarchived`, `base`, `no_base`, `pruned` or `unpruned`.
    pub what: String,
    /// In words.
    pub message: String,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// The events of one task since the service started. A follower that reads too slowly misses the oldest.
#[derive(Debug)]
pub struct Events {
    kept: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Events {
        Events { kept: Mutex::default(), live: broadcast::channel(64).0 }
    }
}

impl Events {
    /// Adds one.
    pub fn add(&self, what: &str, message: impl Into<String>, advice: Option<String>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let n = kept.front().map_or(1, |newest| newest.n.saturating_add(1));
        let at = format!("{:.3}", Timestamp::now());
        let event = Event { n, at, what: what.to_owned(), message: message.into(), advice };
        kept.push_front(event.clone());
        kept.truncate(MOST_KEPT);
        // Nobody may be listening. Under the lock, so that a follower sees each event once.
        let _ = self.live.send(event);
    }

    /// The newest ones, newest first.
    pub fn newest(&self, limit: usize) -> Vec<Event> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().take(limit).cloned().collect()
    }

    /// Those that are kept, oldest first, and those to come.
    pub fn follow(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().rev().cloned().collect(), self.live.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_come_first() {
        let events = Events::default();
        for n in 0..MOST_KEPT + 3 {
            events.add("started", format!("{n}"), None);
        }
        let newest = events.newest(2);
        assert_eq!(newest.iter().map(|event| event.message.as_str()).collect::<Vec<_>>(), ["258", "257"]);
        assert_eq!(events.newest(usize::MAX).len(), MOST_KEPT);
    }

    #[tokio::test]
    async fn a_follower_sees_each_event_once() {
        let events = Events::default();
        events.add("created", "", None);
        let (before, mut live) = events.follow();
        events.add("failed", "", None);
        assert_eq!(before.iter().map(|event| event.n).collect::<Vec<_>>(), [1]);
        assert_eq!(live.recv().await.unwrap().n, 2);
        assert!(live.try_recv().is_err());
    }
}
