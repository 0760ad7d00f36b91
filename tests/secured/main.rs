//! Connections to services that ask for logins and certificates: every way to make them works, and whatever is wrong
//! with one is told by `tapedeck check` on its line, in words.
//!
//! Runs where `TAPEDECK_STAND` names a stand that was brought up with `--secured`; elsewhere it says that it was skipped.

#[path = "../stand/mod.rs"]
mod stand;

mod chain;
mod document;
mod etcd;
mod kafka;
mod pulsar;
mod queue;
mod refused;
mod session;
mod works;
