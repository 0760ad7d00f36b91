//! The schema chain: the catalog that a commit names is the one before it with the definitions of its segments applied.

use std::collections::BTreeMap;
use std::fmt::Display;

use bytes::Bytes;

use crate::catalog::Catalog;
use crate::log::damage::Damage;
use crate::log::layout;
use crate::log::reader::open_catalog;
use crate::log::segment::Segment;
use crate::pb::log::{Collection, ObjectRef, record::Body};
use crate::position::Seq;

/// Where the chain is.
pub struct Schema {
    /// The catalog that was named last.
    named: Option<ObjectRef>,
    /// What it says; none: not known, after a damage.
    catalog: Option<Catalog>,
    /// That with the definitions since; none: there were none.
    changed: Option<Catalog>,
    /// Definitions since.
    definitions: u64,
    /// Not all of them could be read: the next catalog is taken for right.
    lost: bool,
}

impl Schema {
    /// Before the first commit, when nothing exists.
    pub fn beginning() -> Schema {
        Schema { catalog: Some(Catalog::default()), lost: false, ..Schema::unknown() }
    }

    /// Before a catalog that is taken for right.
    pub fn unknown() -> Schema {
        Schema { named: None, catalog: None, changed: None, definitions: 0, lost: true }
    }

    /// Applies the definitions of a segment of commit `seq`.
    pub fn read(&mut self, key: &str, seq: Seq, segment: &Segment) -> Result<(), Damage> {
        for record in &segment.records {
            let Some(Body::Definition(definition)) = &record.body else { continue };
            let Some(catalog) = self.catalog.as_ref().filter(|_| !self.lost) else { return Ok(()) };
            self.definitions += 1;
            let changed = self.changed.get_or_insert_with(|| catalog.clone());
            if let Err(error) = changed.apply(definition) {
                let message = format!("has a definition that cannot be, {seq}:{}: {error}", self.definitions);
                self.lose();
                return Err(Damage::new(key, None, message));
            }
        }
        Ok(())
    }

    /// A segment could not be read.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// Whether this catalog was named last.
    pub fn is(&self, named: &ObjectRef) -> bool {
        self.named.as_ref() == Some(named)
    }

    /// Commit `seq` names the catalog that was named last, or none where none was.
    pub fn stays(&mut self, seq: Seq) -> Result<(), Damage> {
        let catalog = self.catalog.clone();
        match self.goes_on(self.named.clone(), catalog) {
            None => Ok(()),
            Some(difference) => {
                let message =
                    format!("names a catalog without what its own definitions change: {difference}");
                Err(Damage::new(&layout::commit(seq), None, message))
            }
        }
    }

    /// Commit `seq` names another one, with these bytes; none: they are missing, which has been told.
    pub fn moves(&mut self, seq: Seq, named: &ObjectRef, bytes: Option<Bytes>) -> Result<(), Damage> {
        let opened = bytes.map(|bytes| open_catalog(named, bytes)).transpose();
        let (catalog, damage) = match opened {
            Ok(catalog) => (catalog, Ok(())),
            Err(damage) => (None, Err(damage)),
        };
        match self.goes_on(Some(named.clone()), catalog) {
            None => damage,
            Some(difference) => {
                let message = format!(
                    "is not what the definitions up to commit {seq} make of the one before: {difference}"
                );
                Err(Damage::new(&named.key, None, message))
            }
        }
    }

    /// Goes on from a catalog that was named; the difference to what was to be named.
    fn goes_on(&mut self, named: Option<ObjectRef>, catalog: Option<Catalog>) -> Option<String> {
        let after = Schema { named, catalog, changed: None, definitions: 0, lost: false };
        let before = std::mem::replace(self, after);
        let made = before.changed.or(before.catalog).filter(|_| !before.lost)?;
        difference(made, self.catalog.clone()?)
    }
}

/// The first object in which two catalogs differ. Partitions and indexes of a collection have no order.
fn difference(made: Catalog, named: Catalog) -> Option<String> {
    let collection = |mut collection: Collection| {
        collection.partitions.sort_by_key(|partition| partition.id);
        collection.indexes.sort_by_key(|index| index.id);
        collection
    };
    let collections = |catalog: Catalog| {
        catalog.collections.into_iter().map(|(id, it)| (id, collection(it))).collect::<BTreeMap<_, _>>()
    };
    first_difference("database", &made.databases, &named.databases)
        .or_else(|| {
            let aliases = |catalog: &Catalog| {
                let aliases = catalog.aliases.iter();
                aliases.map(|((of, name), id)| (format!("{name} of database {of}"), *id)).collect()
            };
            first_difference::<String, i64>("alias", &aliases(&made), &aliases(&named))
        })
        .or_else(|| first_difference("collection", &collections(made), &collections(named)))
}

fn first_difference<K: Ord + Display, V: PartialEq>(
    what: &str,
    made: &BTreeMap<K, V>,
    named: &BTreeMap<K, V>,
) -> Option<String> {
    let differs = made.iter().find(|(id, it)| named.get(id) != Some(*it));
    match differs {
        Some((id, _)) if named.contains_key(id) => Some(format!("{what} {id} is another")),
        Some((id, _)) => Some(format!("{what} {id} is not in it")),
        None => {
            let added = named.keys().find(|id| !made.contains_key(id))?;
            Some(format!("{what} {added} comes from nowhere"))
        }
    }
}
