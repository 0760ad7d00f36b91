//! From what etcd shows to definitions in order. Pure.
//!
//! `recorded` is the catalog that the log holds; `pending` are dated changes that etcd has shown but that lie above the
//! watermark. [`Definitions::cut`] moves both to a new watermark: first the dated changes, then a comparison with
//! what etcd shows now. The comparison gives what etcd never dates (index drops, loads, releases) and, after an outage
//! longer than etcd keeps its dates, everything else; it leaves alone whatever a pending change will settle. What etcd
//! has forgotten goes among the dated changes first, at the earliest time at which it may have been.

mod gaps;
mod late;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::catalog::{Catalog, CollectionId, DatabaseId};
use crate::change::CollectionName;
use crate::error::Result;
use crate::pb::log::{self as pb, Collection, Definition, definition::Change};
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::position::{Channel, Position};
use crate::selection::Selection;
use crate::source::{Event, Object, Observation};
use crate::tick::Tso;

use super::compare::{Intake, changes_of, moved, objects_between, serving};
use super::cut::{Cut, Place, Window};
use super::origin::{Announcement, announcements};
use super::requests::Requests;

/// The recorder's view of the definitions.
pub struct Definitions {
    recorded: Catalog,
    pending: BTreeMap<Tso, Vec<Object>>,
    live: Arc<Catalog>,
    opens_at: Tso,
    watermark: Tso,
    selection: Selection,
    asks_for_properties: bool,
    /// Collections shown after the watermark had passed their date; until the next cut.
    late: BTreeSet<CollectionId>,
    /// Revision of the last look...
    looked_at: i64,
    /// ...and of the last one before which everything late is recorded.
    revision: i64,
}

/// What a channel is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Where a channel that is not read yet is to be opened.
    pub from: Position,
    /// The TSO from which on nothing on it matters any more: its last collection is gone then.
    pub until: Tso,
    /// The newest announcement on it.
    pub announced: Announcement,
}

impl Definitions {
    /// Begins a log with what exists: returns the definitions of its first commit. Indexes and load states follow
    /// when the watermark reaches `opens_at`, after the rows that they serve.
    pub fn open(
        observation: &Observation,
        opens_at: Tso,
        selection: Selection,
    ) -> Result<(Definitions, Vec<Definition>)> {
        let live = observation.live.clone();
        let revision = observation.revision;
        let mut this =
            Definitions { live, ..Definitions::resume(Catalog::default(), revision, opens_at, selection) };
        let mut cut = Cut::new(Window { after: Tso::ZERO, to: Tso::ZERO }, Catalog::default());
        this.compare_existence(&BTreeSet::new(), &mut cut)?;
        let (recorded, definitions) = cut.finish();
        this.recorded = recorded;
        Ok((this, definitions))
    }

    /// Continues with the catalog and the revision of the last commit.
    pub fn resume(recorded: Catalog, revision: i64, opens_at: Tso, selection: Selection) -> Definitions {
        Definitions {
            live: Arc::new(recorded.clone()),
            recorded,
            pending: BTreeMap::new(),
            opens_at,
            watermark: Tso::ZERO,
            selection,
            asks_for_properties: false,
            late: BTreeSet::new(),
            looked_at: revision,
            revision,
        }
    }

    /// Says that the source is asked for properties: what is stored of them may be stale, and is not compared.
    pub fn asking_for_properties(mut self, asks: bool) -> Definitions {
        self.asks_for_properties = asks;
        self
    }

    /// The catalog as of the last cut.
    pub fn recorded(&self) -> &Catalog {
        &self.recorded
    }

    /// The revision for the next commit.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Takes in what etcd shows. Dated changes at or below the watermark are recorded already. Of those from before the
    /// log opened only the last of each object counts, and only if the object still is: the earlier ones are history
    /// that the first commit has taken in, and would undo what came after them.
    pub fn observe(&mut self, observation: Observation, watermark: Tso) {
        self.watermark = watermark;
        self.take_in_late(&observation);
        self.live = observation.live;
        for Event { tso, object } in observation.events.into_iter().filter(|event| event.tso > watermark) {
            if tso < self.opens_at {
                for (_, earlier) in self.pending.range_mut(..tso) {
                    earlier.retain(|earlier| !is_same(earlier, &object));
                }
                if !self.is_live_or_gone(&object) {
                    continue;
                }
            }
            let objects = self.pending.entry(tso).or_default();
            if !objects.contains(&object) {
                objects.push(object);
            }
        }
        self.pending.retain(|_, objects| !objects.is_empty());
    }

    fn is_live_or_gone(&self, object: &Object) -> bool {
        let partition = |collection: &Collection, id: &i64| {
            collection.partitions.iter().any(|partition| partition.id == *id)
        };
        match object {
            Object::Database { id, .. } => self.live.databases.contains_key(id),
            Object::Collection(collection) => self.live.collections.contains_key(&collection.id),
            Object::Partition { collection_id, id, .. } => {
                self.live.collections.get(collection_id).is_some_and(|collection| partition(collection, id))
            }
            Object::Alias { database_id, name, .. } => {
                self.live.aliases.contains_key(&(*database_id, name.clone()))
            }
            _ => true,
        }
    }

    /// The newest dated change that waits for the watermark, or the newest collection if that is later.
    pub fn newest(&self) -> Tso {
        let pending = self.pending.last_key_value().map(|(tso, _)| *tso);
        let created = self.live.collections.values().filter(|collection| self.selects(collection));
        let created = created.map(|collection| Tso(collection.create_tso)).max();
        pending.max(created).unwrap_or_default()
    }

    /// The channels whose rows matter up to a TSO.
    pub fn needs(&self, up_to: Tso) -> BTreeMap<Channel, Need> {
        let mut ends = BTreeMap::new();
        let mut created: Vec<&Collection> = Vec::new();
        for (tso, object) in self.pending.iter().flat_map(|(tso, all)| all.iter().map(move |one| (*tso, one)))
        {
            match object {
                Object::CollectionGone { id } => drop(ends.insert(*id, tso)),
                Object::Collection(collection) if tso <= up_to && self.begins(collection) => {
                    created.push(collection)
                }
                _ => {}
            }
        }
        let undated = self.live.collections.values().filter(|collection| {
            up_to >= self.opens_at && collection.create_tso <= up_to.0 && self.begins(collection)
        });
        let mut needs = BTreeMap::<Channel, Need>::new();
        for collection in self.recorded.collections.values().chain(created).chain(undated) {
            let id = collection.id;
            // A collection that went without a trace gets no ticks any more: the next cut drops it.
            let vanished = !self.live.collections.contains_key(&id);
            let until = ends.get(&id).copied().unwrap_or(if vanished { Tso::ZERO } else { Tso::MAX });
            for (channel, announced) in announcements(collection) {
                let from = announced.at;
                let need = needs.entry(channel).or_insert(Need { from, until, announced });
                need.from = need.from.min(from);
                need.until = need.until.max(until);
                need.announced = need.announced.max(announced);
            }
        }
        needs
    }

    /// Whether the log takes in a collection from its creation on.
    fn begins(&self, collection: &Collection) -> bool {
        self.intake(self.watermark, &BTreeSet::new()).takes_rows_of(collection) && self.selects(collection)
    }

    fn intake<'a>(&'a self, since: Tso, renamed: &'a BTreeSet<CollectionId>) -> Intake<'a> {
        Intake { selection: &self.selection, since, late: &self.late, renamed }
    }

    fn selects(&self, collection: &Collection) -> bool {
        let database = self.database_name(collection.database_id);
        database.is_some_and(|name| self.selection.matches(&CollectionName::new(name, &collection.name)))
    }

    /// The name of a database that is live, or that was until a change that waits for the watermark.
    fn database_name(&self, id: DatabaseId) -> Option<&str> {
        let pending = || {
            self.pending.values().flatten().find_map(|object| match object {
                Object::Database { id: of, name, .. } if *of == id => Some(name.as_str()),
                _ => None,
            })
        };
        self.live.database_name(id).or_else(|| self.recorded.database_name(id)).or_else(pending)
    }

    /// Collections whose stored properties may be stale at a pending change up to a TSO: Milvus 2.3 stores an altered
    /// collection with the properties that it had before. The source is asked for them by this name.
    pub fn unclear(&self, up_to: Tso) -> Vec<(CollectionId, CollectionName)> {
        let pending = self.pending.range(..=up_to).flat_map(|(_, objects)| objects);
        let altered = pending.filter_map(|object| {
            let Object::Collection(collection) = object else { return None };
            let known = self.recorded.collections.get(&collection.id)?;
            (!moved(known, collection)).then_some(collection.id)
        });
        altered
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter_map(|id| Some((id, self.live.name(id)?)))
            .collect()
    }

    /// Puts the properties that the source answered into the pending changes of a collection.
    pub fn clarify(&mut self, id: CollectionId, up_to: Tso, properties: &[KeyValuePair]) {
        for object in self.pending.range_mut(..=up_to).flat_map(|(_, objects)| objects) {
            if let Object::Collection(collection) = object
                && collection.id == id
            {
                collection.properties = properties.to_vec();
            }
        }
    }

    /// Moves to a new watermark: the definitions of the window, in order.
    pub fn cut(&mut self, window: Window, requests: &Requests) -> Result<Vec<Definition>> {
        if window.to >= self.opens_at {
            self.fill_gaps(window);
        }
        let later = self.pending.split_off(&window.to.next());
        let due = std::mem::replace(&mut self.pending, later);
        let mut cut = Cut::new(window, std::mem::take(&mut self.recorded));
        let mut flushed = Tso::ZERO;
        let mut renamed = BTreeSet::new();
        for (tso, objects) in due {
            flush(requests.flushes(flushed, tso), &mut cut)?;
            flushed = tso;
            let place = if tso > window.after { Place::Dated } else { Place::Undated };
            for object in objects {
                let intake = self.intake(window.after, &renamed);
                for change in changes_of(&object, tso, &cut.catalog, intake) {
                    cut.push(tso, place, change)?;
                }
                if let Object::Collection(shown) = &object
                    && !cut.catalog.collections.contains_key(&shown.id)
                {
                    // A creation is stored at its own date: under a later name it would come before what freed that name.
                    renamed.insert(shown.id);
                }
            }
        }
        flush(requests.flushes(flushed, Tso::MAX), &mut cut)?;
        if window.to >= self.opens_at {
            self.compare_existence(&renamed, &mut cut)?;
            self.compare_serving(requests, &mut cut)?;
        }
        let (recorded, definitions) = cut.finish();
        self.recorded = recorded;
        self.late.clear();
        self.revision = self.looked_at;
        Ok(definitions)
    }

    /// Emits what etcd still shows otherwise: databases, collections, partitions, aliases.
    fn compare_existence(&self, renamed: &BTreeSet<CollectionId>, cut: &mut Cut) -> Result<()> {
        for object in objects_between(&cut.catalog, &self.live) {
            if let Some(date) = self.date(&object, &cut.catalog, cut.window) {
                let tso = if date > cut.window.after { date } else { cut.window.to };
                let intake = self.intake(cut.window.after, renamed);
                for change in changes_of(&object, tso, &cut.catalog, intake) {
                    cut.push(tso, Place::Undated, change)?;
                }
            }
        }
        Ok(())
    }

    /// Where in a cut an undated change of an object stands; nowhere if a dated one above the cut brings it, or if the
    /// object was created above the cut. Creations have their date in them: their rows may be in this cut.
    fn date(&self, object: &Object, catalog: &Catalog, window: Window) -> Option<Tso> {
        let Window { after, to } = window;
        let opening = to < self.opens_at;
        let created = |tso: u64| (opening || tso <= to.0).then(|| window.date(tso));
        match object {
            Object::Collection(new) if !catalog.collections.contains_key(&new.id) => {
                return created(new.create_tso);
            }
            Object::Partition { collection_id, id, .. } => {
                let partitions = &self.live.collections.get(collection_id)?.partitions;
                return created(partitions.iter().find(|partition| partition.id == *id)?.create_tso);
            }
            Object::Collection(same) if self.asks_for_properties => {
                let known = catalog.collections.get(&same.id);
                if known.is_none_or(|known| !moved(known, same)) {
                    return None;
                }
            }
            _ => {}
        }
        let dies_with_its_collection = |database_id: &i64, name: &String| {
            let collection = catalog.aliases.get(&(*database_id, name.clone()));
            collection.is_some_and(|id| {
                self.any_pending(|later| is_same(later, &Object::CollectionGone { id: *id }))
            })
        };
        let pending = self.any_pending(|later| is_same(later, object))
            || matches!(object, Object::AliasGone { database_id, name } if dies_with_its_collection(database_id, name));
        let at_end = matches!(object, Object::Alias { .. } | Object::DatabaseGone { .. });
        (!pending).then_some(if at_end { to } else { after })
    }

    /// Emits index and load changes, which etcd does not date (but for the creation of an index).
    fn compare_serving(&self, requests: &Requests, cut: &mut Cut) -> Result<()> {
        for id in cut.catalog.collections.keys().copied().collect::<Vec<_>>() {
            if let Some(live) = self.live.collections.get(&id).filter(|_| !self.collection_is_pending(id)) {
                serving(live, requests, cut)?;
            }
        }
        Ok(())
    }

    /// Whether a dated change above the cut concerns a collection or something in it.
    fn collection_is_pending(&self, id: CollectionId) -> bool {
        self.any_pending(|later| match later {
            Object::Collection(collection) => collection.id == id,
            Object::CollectionGone { id: later } => *later == id,
            Object::Partition { collection_id, .. } | Object::PartitionGone { collection_id, .. } => {
                *collection_id == id
            }
            _ => false,
        })
    }

    fn any_pending(&self, matches: impl Fn(&Object) -> bool) -> bool {
        self.pending.values().flatten().any(matches)
    }
}

/// Whether two objects are one, at two times.
fn is_same(one: &Object, other: &Object) -> bool {
    fn id(object: &Object) -> (u8, i64, i64, &str) {
        match object {
            Object::Database { id, .. } | Object::DatabaseGone { id } => (0, *id, 0, ""),
            Object::Collection(collection) => (1, collection.id, 0, ""),
            Object::CollectionGone { id } => (1, *id, 0, ""),
            Object::Partition { collection_id, id, .. } | Object::PartitionGone { collection_id, id } => {
                (2, *collection_id, *id, "")
            }
            Object::Alias { database_id, name, .. } | Object::AliasGone { database_id, name } => {
                (3, *database_id, 0, name)
            }
        }
    }
    id(one) == id(other)
}

/// Adds flushes; their names mean what they mean in the catalog so far.
fn flush<'a>(flushes: impl Iterator<Item = (Tso, &'a [CollectionName])>, cut: &mut Cut) -> Result<()> {
    for (tso, names) in flushes {
        let collection_ids =
            names.iter().filter_map(|name| Some(cut.catalog.find(name)?.id)).collect::<Vec<_>>();
        if !collection_ids.is_empty() {
            cut.push(tso, Place::Dated, Change::Flush(pb::Flush { collection_ids }))?;
        }
    }
    Ok(())
}
