//! Every operation on a real source arrives at a real target.
//!
//! One service with one `replicate` task is shared by all tests that only watch what arrives; tests of tasks have
//! tasks of their own. Names differ from test to test and from run to run, so tests run side by side and a stand can
//! be used again.

#[path = "../stand/mod.rs"]
mod stand;

mod base;
mod collections;
mod compare;
mod databases;
mod indexes;
mod partitions;
mod restore;
mod rows;
mod scene;
mod serving;
mod support;
mod tasks;
mod types;
