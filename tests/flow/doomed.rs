//! A target that its replayer loses at a chosen call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tapedeck::change::{CollectionName, DefinitionChange, RowChange};
use tapedeck::error::{Error, Result};
use tapedeck::target::memory::{Fault, MemoryTarget};
use tapedeck::target::{Mode, Shortfall, Target};

use super::altered::{Alteration, Altered};

/// A target of one process, which dies at a call: that call has the effect that the fault says, later ones have none.
pub struct Doomed {
    inner: Arc<MemoryTarget>,
    dies_at: u64,
    fault: Fault,
    calls: AtomicU64,
}

impl Doomed {
    /// Dies at the call with this number, from 1.
    pub fn new(inner: &Arc<MemoryTarget>, dies_at: u64, fault: Fault) -> Arc<Altered<Doomed>> {
        Arc::new(Altered(Doomed { inner: inner.clone(), dies_at, fault, calls: AtomicU64::new(0) }))
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        self.calls.load(Ordering::SeqCst) >= self.dies_at
    }

    fn call(&self) -> Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call == self.dies_at {
            self.inner.fail_at(self.inner.calls() + 1, self.fault);
        }
        if call > self.dies_at { Err(Error::retry("dead")) } else { Ok(()) }
    }
}

#[async_trait]
impl Alteration for Doomed {
    fn target(&self) -> &MemoryTarget {
        &self.inner
    }

    async fn define(&self, change: &DefinitionChange) -> Result<Option<Shortfall>> {
        self.call()?;
        self.inner.define(change).await
    }

    async fn write(&self, collection: &CollectionName, change: &RowChange, mode: Mode) -> Result<()> {
        self.call()?;
        self.inner.write(collection, change, mode).await
    }
}
