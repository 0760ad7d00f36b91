//! What breaks in production, with real processes: the copy is equal afterwards, or the task says what is lost.
//!
//! Most faults disturb everything on the stand, so these tests run one at a time, and after the others: cargo runs test
//! binaries one after another, by name. `TAPEDECK_KILLS` sets how often the service is killed, `TAPEDECK_SEED` pins
//! the moments.

#[path = "../stand/mod.rs"]
mod stand;

#[path = "../support/backup.rs"]
mod backup;
mod base;
mod crash;
mod fence;
mod log;
mod network;
mod queue;
mod target;
mod trial;
mod upkeep;
