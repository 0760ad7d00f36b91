//! Changes and questions as Milvus' requests: pure.

mod definition;
mod query;
mod rows;

pub use definition::{
    altered, create_collection, differences, facts, has_partition_key, is_dynamic, is_of_released, is_users,
    parameters, properties, schema,
};
pub use query::{Which, expression};
pub use rows::{deletes, first_and_further, rows, split};
