//! What the log promises as a whole.

mod checkpoints;
mod crash;
mod damage;
mod encrypted;
mod golden;
mod golden_encrypted;
mod sample;
mod timeline;
mod writers;
