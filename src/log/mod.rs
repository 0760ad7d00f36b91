//! The log: what a recorder stores and a replayer reads. The only thing the two share.
//!
//! It promises:
//! - **A commit is atomic.** Segments, positions, etcd revision, catalog and watermark become true in one
//!   put-if-absent of `commits/{seq}`. What no commit names does not exist.
//! - **One writer.** A recorder begins with a fence, a commit of a higher epoch. Whoever held the log before loses at its
//!   next slot: every slot is taken once, for ever.
//! - **No silence.** Every object is checked by its digest before anything parses it, every commit by the digest of the
//!   one before. What is missing, damaged or from another log is named (object, offset) and never skipped; what was pruned
//!   is told from what was lost.
//! - **No doubt.** A store's answer that never came is resolved by reading the slot back.
//!
//! `formats/` has the bytes. Objects are named in [`layout`], sealed in [`envelope`] or [`segment`], written through
//! [`writer`] and read through [`reader`].

pub mod base;
pub mod checkpoint;
pub mod commit;
pub mod coverage;
pub mod damage;
pub mod describe;
pub mod envelope;
pub mod floor;
pub mod identity;
pub mod incomplete;
pub mod inspect;
pub mod layout;
pub mod points;
pub mod prune;
pub mod reader;
pub(crate) mod seek;
pub mod segment;
pub(crate) mod tail;
pub mod timeline;
pub mod verify;
pub mod writer;

pub use crate::store;

#[cfg(test)]
#[allow(dead_code, reason = "shared with the integration tests; each uses a part")]
#[path = "../../tests/support/faulty_store.rs"]
pub(crate) mod faulty_store;
#[cfg(test)]
pub(crate) mod tests;
