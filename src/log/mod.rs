//! Stub.
pub mod store;
