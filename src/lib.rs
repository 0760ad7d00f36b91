//! Record, rewind and replay for the Milvus vector database.
//!
//! ```text
//!  source Milvus                                                                  target Milvus
//!  queue ──┐                                                                        ▲
//!          ├─ source ─▶ recorder ─▶ log (segments, commits) ─▶ replayer ─▶ target ──┘
//!  etcd  ──┘
//! ```
//!
//! The recorder stores what changes, the replayer applies it; they meet only in the log. [`task`] runs them and
//! [`api`] controls the tasks. The modules stand here in the order in which a change passes through them.

// words, without I/O
pub mod backoff;
pub mod catalog;
pub mod change;
pub mod error;
pub mod grpc;
pub mod loopback;
pub mod message;
pub mod pb;
pub mod period;
pub mod position;
pub mod progress;
pub mod rows;
pub mod selection;
pub mod tick;
pub mod tls;
pub mod trouble;

// the way of a change
pub mod log;
pub mod recorder;
pub mod replayer;
pub mod source;
pub mod store;
pub mod target;

// around
pub mod api;
pub mod archive;
pub mod cli;
pub mod compare;
pub mod config;
pub mod task;
pub mod telemetry;
