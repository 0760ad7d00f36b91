//! What the log promises as a whole.

mod checkpoints;
mod crash;
mod damage;
mod golden;
mod sample;
mod timeline;
mod writers;
