//! What the log promises as a whole.

mod checkpoints;
mod crash;
mod damage;
pub(crate) mod golden;
pub(crate) mod sample;
mod timeline;
mod writers;
