//! Recorder, log and replayer together, in one process: a source, a store and a target in memory, which fail when a
//! test wants them to, and an oracle that knows what must be true.
//!
//! Random work comes from a seed, which a failing test shows; `TAPEDECK_SEED` pins it.

#[allow(dead_code, reason = "shared with the log's own tests")]
#[path = "../support/faulty_store.rs"]
mod faulty_store;

mod altered;
#[path = "../support/backup.rs"]
mod backup;
mod doomed;
mod oracle;
mod stage;
mod world;

mod adopted;
mod again;
mod archive;
mod base;
mod bases;
mod copying;
mod crash;
mod damage;
mod encrypted;
mod instants;
mod late;
mod live;
mod order;
mod ownership;
mod outage;
mod pieces;
mod plan;
mod prune;
mod requests;
mod rivals;
mod shortfall;
mod signals;
mod skip;
mod stop;
mod timeline;
mod unread;
mod untold;
