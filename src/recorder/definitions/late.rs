//! Collections that etcd shows long after their date, and those that come into the selection too late. Pure.
//!
//! A creation takes as long as the queue hesitates over its announcement, and etcd shows nothing of it meanwhile. Where
//! a channel matters its ticks wait for the creation; where none does, the watermark passes it. Rows need a collection
//! that is shown: all of them lie above the watermark of any look that did not show it, and nothing is missed when the
//! collection is taken in at that watermark.

use super::Definitions;
use crate::pb::log::Collection;
use crate::source::{Object, Observation};

impl Definitions {
    /// Puts collections that the look before did not show, though the watermark has passed their date, among the
    /// changes of the next cut, as they were when they were created. Until that cut, commits keep the revision of the
    /// look before: a recorder that goes on from one of them finds the same collections.
    pub(super) fn take_in_late(&mut self, look: &Observation) {
        self.looked_at = look.revision;
        let is_late = |collection: &&Collection| {
            let shown = look.shown_since.get(&collection.id);
            collection.create_tso <= self.watermark.0
                && shown.is_some_and(|shown| *shown > self.revision)
                && !self.late.contains(&collection.id)
                && !self.recorded.collections.contains_key(&collection.id)
        };
        let late = look.live.collections.values().filter(is_late).cloned().collect::<Vec<_>>();
        for shown in late {
            self.late.insert(shown.id);
            let database = look.live.databases.get(&shown.database_id).cloned();
            let database =
                database.map(|of| Object::Database { id: of.id, name: of.name, properties: of.properties });
            let created = look
                .events
                .iter()
                .map(|event| &event.object)
                .find(|object| matches!(object, Object::Collection(created) if created.id == shown.id));
            let created = created.cloned().unwrap_or_else(|| Object::Collection(Box::new(shown)));
            let created = self.as_created(created);
            self.pending.entry(self.watermark).or_default().extend(database.into_iter().chain([created]));
        }
        if self.late.is_empty() {
            self.revision = look.revision;
        }
    }

    /// Collections that are selected and yet not recorded: they were there before they came into the selection.
    pub fn left_out(&self) -> Vec<String> {
        let collections = self.live.collections.values().filter(|collection| {
            !self.recorded.collections.contains_key(&collection.id)
                && !self.begins(collection)
                && self.selects(collection)
        });
        collections
            .filter_map(|collection| self.live.name(collection.id))
            .map(|name| name.to_string())
            .collect()
    }
}
