//! The archive of a log: the rows of its commits as Parquet files, a few for each collection, for people with DuckDB or
//! pandas and for fast restores.
//!
//! It promises:
//! - **A manifest is atomic.** Files exist when a manifest names them, in one put-if-absent of `archive/manifests/{n}`;
//!   what no manifest names does not exist.
//! - **Every row once.** Manifest by manifest the commits follow one another without a gap; every insert, delete and
//!   upsert of these commits is a row of one file. An upsert, which a source writes as a delete and an insert, is one row.
//! - **Bounded memory.** Rows are held up to a number of bytes, sorted by key and TSO, and written: a range of commits can
//!   have several files of one collection.
//!
//! `formats/archive.md` has the bytes. Rows go from [`changes`] by way of [`table`] and [`run`] into files, which
//! [`archiver`] names in [`manifests`]; [`read`] gives them back, [`verify`] compares them with the segments.

pub mod archiver;
pub mod base;
pub mod changes;
mod decode;
mod encode;
pub mod layout;
pub mod living;
pub mod manifest;
pub mod manifests;
pub mod read;
pub mod run;
pub mod table;
pub mod verify;

#[cfg(test)]
pub(crate) mod tests;
