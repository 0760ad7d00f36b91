//! What etcd shows and no longer dates, after an outage longer than it keeps its dates. Pure.
//!
//! It goes among the dated changes, so that all are applied in the order of time: what was created at its creation,
//! the rest at the beginning of the cut.

use std::collections::{BTreeMap, BTreeSet};

use super::{Definitions, is_same};
use crate::pb::log::Collection;
use crate::recorder::compare::objects_between;
use crate::recorder::cut::Window;
use crate::source::Object;
use crate::tick::Tso;

impl Definitions {
    /// Puts what is missing among the pending changes of a cut.
    pub(super) fn fill_gaps(&mut self, window: Window) {
        self.pass_over_unnamed();
        let mut gaps = self.late_creations(window);
        for object in objects_between(&self.recorded, &self.live) {
            let waits = matches!(object, Object::Alias { .. } | Object::DatabaseGone { .. })
                || self.any_pending(|later| is_same(later, &object));
            if let Some(tso) = self.date(&object, &self.recorded, window).filter(|_| !waits) {
                gaps.push((tso, self.as_created(object)));
            }
        }
        for (tso, object) in gaps {
            self.pending.entry(tso).or_default().push(object);
        }
    }

    /// Removes stays of collections in databases of which nothing is left, and their aliases there: later changes bring
    /// the collections on.
    fn pass_over_unnamed(&mut self) {
        let of = |object: &Object| match object {
            Object::Collection(collection) => Some(collection.database_id),
            Object::Alias { database_id, .. } => Some(*database_id),
            _ => None,
        };
        let databases = self.pending.values().flatten().filter_map(of).collect::<BTreeSet<_>>();
        let unnamed = databases.into_iter().filter(|id| self.database_name(*id).is_none());
        let unnamed = unnamed.collect::<BTreeSet<_>>();
        for objects in self.pending.values_mut() {
            objects.retain(|object| of(object).is_none_or(|id| !unnamed.contains(&id)));
        }
    }

    /// Creations of which etcd only has a later change of the collection, with the database if that comes later still.
    fn late_creations(&self, window: Window) -> Vec<(Tso, Object)> {
        let pending = || self.pending.iter().flat_map(|(tso, all)| all.iter().map(move |one| (*tso, one)));
        let mut first = BTreeMap::new();
        for (tso, object) in pending() {
            if let Object::Collection(collection) = object
                && !self.recorded.collections.contains_key(&collection.id)
            {
                first.entry(collection.id).or_insert((tso, collection, object));
            }
        }
        let late = first.into_values().filter(|(tso, collection, _)| {
            let created = Tso(collection.create_tso);
            window.after < created && created <= window.to && created < *tso
        });
        let objects = late.flat_map(|(_, collection, object)| {
            let is_its = |object: &&Object| {
                matches!(object, Object::Database { id, .. } if *id == collection.database_id)
            };
            let database = pending().map(|(_, object)| object).find(is_its).cloned();
            let objects = database.into_iter().chain([self.as_created(object.clone())]);
            objects.map(|object| (Tso(collection.create_tso), object))
        });
        objects.collect()
    }

    /// A new collection without the partitions that came later: they may have the names of others that went before.
    pub(super) fn as_created(&self, object: Object) -> Object {
        match object {
            Object::Collection(mut new) if !self.recorded.collections.contains_key(&new.id) => {
                let Collection { create_tso, partitions, .. } = &mut *new;
                partitions.retain(|partition| partition.create_tso <= *create_tso);
                Object::Collection(new)
            }
            other => other,
        }
    }
}
