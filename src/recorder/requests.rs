//! Requests of the replicate channel that a cut takes in. Pure.
//!
//! The channel carries what users asked of the source after it was granted: it is the only place where a flush is
//! seen, and it dates loads, releases and index drops. It may miss one, it has no ticks, and a request may arrive
//! after the cut of its TSO; so it dates what etcd shows and never replaces it.

use crate::change::CollectionName;
use crate::message::{Action, Request};
use crate::pb::log::Index;
use crate::tick::Tso;

use super::cut::Window;

/// The requests of one cut, in the order of their channel.
#[derive(Debug, Default)]
pub struct Requests(pub Vec<Request>);

impl Requests {
    /// The flushes asked for within `[from, before)`, and of what.
    pub fn flushes(&self, from: Tso, before: Tso) -> impl Iterator<Item = (Tso, &[CollectionName])> {
        let within = self.0.iter().filter(move |request| from <= request.tso && request.tso < before);
        within.filter_map(|request| match &request.action {
            Action::Flush { names } => Some((request.tso, names.as_slice())),
            _ => None,
        })
    }

    /// When something was asked for within a window; the last time if it was several times.
    pub fn date(&self, window: Window, asked: impl Fn(&Action) -> bool) -> Option<Tso> {
        let within = |request: &&Request| window.after < request.tso && request.tso <= window.to;
        self.0.iter().filter(within).filter(|request| asked(&request.action)).map(|request| request.tso).max()
    }

    /// When a release of a collection, or of partitions of it, was asked for.
    pub fn release(&self, window: Window, collection: &CollectionName, whole: bool) -> Option<Tso> {
        self.date(window, |action| match action {
            Action::ReleaseCollection { name } => whole && name == collection,
            Action::ReleasePartitions { name, .. } => !whole && name == collection,
            _ => false,
        })
    }

    /// When a load of a collection, or of partitions of it, was asked for.
    pub fn load(&self, window: Window, collection: &CollectionName, whole: bool) -> Option<Tso> {
        self.date(window, |action| match action {
            Action::LoadCollection { name, .. } => whole && name == collection,
            Action::LoadPartitions { name, .. } => !whole && name == collection,
            _ => false,
        })
    }

    /// When a drop of an index was asked for. A request that names no index means the one of its field.
    pub fn drop_index(&self, window: Window, collection: &CollectionName, index: &Index) -> Option<Tso> {
        self.date(window, |action| match action {
            Action::DropIndex { name, field, index: asked } => {
                name == collection
                    && (*asked == index.name || (asked.is_empty() && *field == index.field_name))
            }
            _ => false,
        })
    }
}
