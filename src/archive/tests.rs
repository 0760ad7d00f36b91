//! What the archive promises as a whole.

mod crash;
mod damage;
mod files;
mod golden;
mod prune;
mod rows;
mod sample;
