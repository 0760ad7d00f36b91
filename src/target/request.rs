//! Changes as Milvus' requests: pure.

mod definition;
mod rows;

pub use definition::{create_collection, differences, has_partition_key, properties, schema};
pub use rows::{deletes, first_and_further, rows, split};
