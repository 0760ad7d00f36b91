//! What the log promises as a whole.

mod checkpoints;
mod crash;
mod damage;
mod encrypted;
pub(crate) mod golden;
mod golden_added;
mod golden_encrypted;
mod golden_pruned;
mod pins;
pub(crate) mod prune;
mod pruned;
pub(crate) mod sample;
mod timeline;
mod writers;
