//! Files that a real Milvus 2.3.5 wrote (`tests/fixtures/binlogs`), and files of kinds that it does not write.

mod damage;
pub mod fixture;
mod golden;
mod written;
