//! A catalog in memory: says what it was told to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::Outage;
use crate::catalog::{Catalog, CollectionId};
use crate::error::Result;
use crate::source::segments::SegmentList;
use crate::source::{CatalogSource, Event, Observation};
use crate::tick::Tso;

/// A scripted catalog. Clones are the same catalog.
#[derive(Clone, Debug, Default)]
pub struct MemoryCatalog {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    revision: i64,
    bound: Tso,
    live: Arc<Catalog>,
    shown_since: BTreeMap<CollectionId, i64>,
    /// With the revision that wrote them.
    events: Vec<(i64, Event)>,
    segments: SegmentList,
    outage: Outage,
}

impl MemoryCatalog {
    /// One write: from now on `live` exists, and `events` led to it.
    pub fn write(&self, live: Catalog, events: impl IntoIterator<Item = Event>) {
        let mut state = self.lock();
        state.revision += 1;
        let revision = state.revision;
        let new = live.collections.keys().filter(|id| !state.live.collections.contains_key(*id));
        let new = new.map(|id| (*id, revision)).collect::<Vec<_>>();
        state.shown_since.extend(new);
        state.live = Arc::new(live);
        state.events.extend(events.into_iter().map(|event| (revision, event)));
    }

    /// Above every TSO given out.
    pub fn set_bound(&self, bound: Tso) {
        self.lock().bound = bound;
    }

    /// Retention of snapshots: a reader that starts now no longer gets the events before `tso`.
    pub fn forget_before(&self, tso: Tso) {
        let mut state = self.lock();
        state.events.retain(|(_, event)| event.tso >= tso);
        let live = state.live.clone();
        state
            .shown_since
            .retain(|id, _| live.collections.get(id).is_some_and(|created| created.create_tso >= tso.0));
    }

    /// What is stored of all collections, from now on.
    pub fn set_segments(&self, segments: SegmentList) {
        self.lock().segments = segments;
    }

    /// Makes the next `calls` of the trait's methods fail for the moment.
    pub fn fail_next(&self, calls: usize) {
        self.lock().outage.left = calls;
    }

    /// What exists now.
    pub fn live(&self) -> Arc<Catalog> {
        self.lock().live.clone()
    }

    /// A reader, as a recorder that starts has it.
    pub fn reader(&self) -> MemoryCatalogReader {
        MemoryCatalogReader { catalog: self.clone(), seen: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader of a [`MemoryCatalog`]: knows which events it has returned.
#[derive(Debug)]
pub struct MemoryCatalogReader {
    catalog: MemoryCatalog,
    seen: i64,
}

#[async_trait]
impl CatalogSource for MemoryCatalogReader {
    async fn identity(&mut self) -> Result<String> {
        self.catalog.lock().outage.check("catalog")?;
        Ok("memory:catalog".into())
    }

    async fn segments(&mut self, of: &BTreeSet<CollectionId>) -> Result<SegmentList> {
        let mut state = self.catalog.lock();
        state.outage.check("catalog")?;
        let mut list = state.segments.clone();
        list.segments.retain(|_, segment| of.contains(&segment.collection_id));
        Ok(list)
    }

    async fn read(&mut self) -> Result<Observation> {
        let mut state = self.catalog.lock();
        state.outage.check("catalog")?;
        let mut events = state
            .events
            .iter()
            .filter(|(revision, _)| *revision > self.seen)
            .map(|(_, event)| event.clone())
            .collect::<Vec<_>>();
        events.sort_by_key(Event::order);
        self.seen = state.revision;
        Ok(Observation {
            revision: state.revision,
            bound: state.bound,
            live: state.live.clone(),
            shown_since: Arc::new(state.shown_since.clone()),
            events,
        })
    }
}
