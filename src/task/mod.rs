//! Tasks: what an operator asks for (a document), how it goes (a status), and what keeps it going.
//!
//! A task has one or two halves, a recorder and a replayer, which know nothing of each other: they meet in the log.
//! What a half cannot get over by itself ends in one of two ways: it is started again with back-off (`degraded`), or a
//! person must act (`failed`), while the other half goes on.

pub mod check;
pub mod connect;
pub mod encryption;
pub mod events;
#[cfg(test)]
pub mod fake;
mod half;
mod life;
pub mod log;
pub mod rate;
pub mod owner;
pub mod restore;
pub mod runner;
pub mod schedule;
pub mod secret;
pub mod service;
pub mod spec;
pub mod state;
pub mod status;
pub mod store;
pub mod tls;
pub mod upkeep;
pub mod validate;
pub mod verification;
pub mod work;
