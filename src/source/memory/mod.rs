//! A source in memory: a queue and a catalog that fail on request, and a small Milvus that writes to both.
//!
//! It stands in for Kafka and etcd where a test must decide what happens when.

pub(in crate::source) mod binlog;
mod catalog;
mod clients;
mod compaction;
mod milvus;
mod queue;
mod rows;
mod segments;
#[cfg(test)]
mod tests;

pub use catalog::{MemoryCatalog, MemoryCatalogReader};
pub use milvus::{CollectionSpec, MemorySource};
pub use queue::MemoryQueue;

use crate::error::{Error, Result};

/// The next `left` calls fail.
#[derive(Debug, Default)]
struct Outage {
    left: usize,
}

impl Outage {
    fn check(&mut self, what: &str) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        Err(Error::retry(format!("the {what} in memory is away")))
    }
}
