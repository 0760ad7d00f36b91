//! What the archive promises as a whole.

pub mod base;
mod crash;
mod damage;
mod files;
mod golden;
mod living;
mod prune;
mod rows;
pub(crate) mod sample;
