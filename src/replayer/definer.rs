//! Definitions at the target: those of one collection in order, those of different collections side by side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared as SharedFuture};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::catalog::CollectionId;
use crate::change::DefinitionChange;
use crate::error::{Error, Result};
use crate::pb::log::{Definition, definition::Change};
use crate::target::Shortfall;
use crate::tick::Tso;

use super::expiry;
use super::ownership;
use super::shared::Shared;

/// What a definition changes in the target.
pub struct Changes {
    /// Its TSO.
    pub tso: Tso,
    /// In order.
    pub all: Vec<DefinitionChange>,
    /// Whether an earlier run may have made them.
    pub in_doubt: bool,
}

type Ended = SharedFuture<BoxFuture<'static, ()>>;

/// What a definition is about, as far as order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It takes a name away, or an alias from another collection: nothing else may be in flight.
    Everything,
    /// One collection; rows that come after it have to wait for it.
    Collection(CollectionId),
    /// One collection, but not its rows: indexes, loads, flushes, aliases.
    Serving(CollectionId),
}

/// What a definition is about.
pub fn scope(definition: &Definition) -> Scope {
    match &definition.change {
        Some(Change::CreateCollection(created)) => Scope::Collection(created.id),
        Some(Change::AlterCollection(altered)) => Scope::Collection(altered.id),
        Some(Change::CreatePartition(created)) => Scope::Collection(created.collection_id),
        Some(Change::CreateIndex(created)) => Scope::Serving(created.collection_id),
        Some(Change::Load(load)) => Scope::Serving(load.collection_id),
        Some(Change::Release(release)) => Scope::Serving(release.collection_id),
        Some(Change::CreateAlias(alias)) => Scope::Serving(alias.collection_id),
        Some(Change::Flush(flush)) if flush.collection_ids.len() == 1 => {
            flush.collection_ids.first().map_or(Scope::Everything, |id| Scope::Serving(*id))
        }
        _ => Scope::Everything,
    }
}

#[derive(Default)]
struct Chain {
    last: Option<Ended>,
    before_rows: Option<Ended>,
    /// Set when the newest flush need not be done, if it has not begun: a later one persists all that it would have.
    flush: Option<Arc<AtomicBool>>,
}

/// Definitions in flight.
pub struct Definer {
    shared: Arc<Shared>,
    chains: BTreeMap<CollectionId, Chain>,
}

impl Definer {
    /// None in flight.
    pub fn new(shared: Arc<Shared>) -> Definer {
        Definer { shared, chains: BTreeMap::new() }
    }

    /// Starts the changes of a collection after those that came before; `commit` counts them until they are done.
    pub fn start(&mut self, scope: Scope, changes: Changes, commit: &TaskTracker) {
        let (Scope::Collection(id) | Scope::Serving(id)) = scope else { return };
        let chain = self.chains.entry(id).or_default();
        let overtaken = Arc::<AtomicBool>::default();
        if changes.all.iter().all(|change| matches!(change, DefinitionChange::Flush { .. }))
            && let Some(earlier) = chain.flush.replace(overtaken.clone())
        {
            earlier.store(true, Ordering::Relaxed);
        }
        let (previous, shared, token) = (chain.last.take(), self.shared.clone(), commit.token());
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Some(previous) = previous {
                previous.await;
            }
            if !overtaken.load(Ordering::Relaxed)
                && let Err(error) = define(&shared, Some(id), &changes).await
            {
                shared.fail(error);
            }
            drop(token);
        }));
        let shared = self.shared.clone();
        let ended = async move {
            if let Err(died) = task.await {
                shared.fail(Error::operator(format!("a definition died: {died}")));
            }
        };
        let ended = ended.boxed().shared();
        if matches!(scope, Scope::Collection(_)) {
            chain.before_rows = Some(ended.clone());
        }
        chain.last = Some(ended);
    }

    /// Waits until rows of a collection may be sent.
    pub async fn ready_for_rows(&mut self, id: CollectionId) -> Result<()> {
        let before_rows = self.chains.get_mut(&id).and_then(|chain| chain.before_rows.take());
        if let Some(before_rows) = before_rows {
            before_rows.await;
        }
        self.check()
    }

    /// Waits until nothing is in flight.
    pub async fn drain(&mut self) -> Result<()> {
        for (_, chain) in std::mem::take(&mut self.chains) {
            if let Some(last) = chain.last {
                last.await;
            }
        }
        self.check()
    }

    /// Applies changes, of a collection as a rule, while nothing else is in flight.
    pub async fn apply(&self, id: Option<CollectionId>, changes: &Changes) -> Result<()> {
        define(&self.shared, id, changes).await
    }

    /// Notes the databases that changes are to create; before it is stored that they may be there.
    pub async fn claim(&self, changes: &[DefinitionChange]) -> Result<()> {
        let claim = || self.shared.made.claim(&*self.shared.target, changes);
        self.shared.ask("looking at a database", claim).await
    }

    /// Refuses names that others have in the target.
    pub async fn check_free(&self, new: &[(Option<CollectionId>, DefinitionChange)]) -> Result<()> {
        let target = &*self.shared.target;
        for (source, change) in new {
            let check = || ownership::check_new(target, *source, change);
            self.shared.ask("looking at a name", check).await?;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.shared.stop.is_cancelled() { Err(self.shared.failure()) } else { Ok(()) }
    }
}

async fn define(shared: &Shared, id: Option<CollectionId>, changes: &Changes) -> Result<()> {
    let (target, Changes { tso, all, in_doubt }) = (&*shared.target, changes);
    for change in all {
        if let Some(database) = shared.made.database_of_others(change) {
            let what =
                format!("the dropped database {database} stays: this replay is not known to have created it");
            shared.progress.send_modify(|progress| progress.note(what));
            continue;
        }
        shared.ask("looking at a collection", || shared.made.check(target, id, change, *in_doubt)).await?;
        let change_it = || shared.lease.guard(target.define(change));
        match shared.ask("changing a definition", change_it).await? {
            Some(Shortfall::Lacks(what)) => {
                tracing::warn!(%tso, what, "the target is incomplete from here on");
                shared.progress.send_modify(|progress| progress.lacks(*tso, what));
            }
            Some(Shortfall::Note(what)) => shared.progress.send_modify(|progress| progress.note(what)),
            None => {}
        }
        shared.progress.send_modify(|progress| expiry::apply(&mut progress.notes, change));
        shared.ask("looking at a collection", || shared.made.note(target, id, change)).await?;
        tracing::info!(?change, "applied");
    }
    Ok(())
}
