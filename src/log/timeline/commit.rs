//! One commit of a timeline.

use std::collections::BTreeMap;

use super::entry::{Entry, RowTotal};
use super::periods::Periods;
use super::{Part, subject};
use crate::catalog::{Catalog, CollectionId};
use crate::error::{Context, Result};
use crate::log::coverage::{Coverage, HoleAt};
use crate::log::describe;
use crate::log::segment::Segment;
use crate::message::{self, Kind};
use crate::pb::log::{Definition, Message, record::Body};
use crate::tick::Tso;

/// What a commit tells, while its segments are read.
pub struct Told {
    seq: u64,
    part: Part,
    /// By TSO.
    entries: Vec<(u64, Entry)>,
    definitions: Vec<Definition>,
    rows: BTreeMap<(u64, CollectionId), RowTotal>,
}

/// Deletes of one collection.
struct Deletes {
    of: String,
    rows: u64,
    first: Tso,
    last: Tso,
}

impl Told {
    /// A commit with its holes, none of its segments yet.
    pub fn new(seq: u64, part: Part, holes: &[HoleAt], coverage: &Coverage) -> Told {
        let entries = holes.iter().map(|hole| (hole.after.0, Entry::hole(hole, coverage))).collect();
        Told { seq, part, entries, definitions: Vec::new(), rows: BTreeMap::new() }
    }

    /// Takes in the next segment.
    pub fn read(&mut self, segment: Segment, periods: &mut Periods) -> Result<()> {
        for record in segment.records {
            match record.body {
                Some(Body::Definition(definition)) => self.definitions.push(definition),
                Some(Body::Message(message)) => self.message(&message, periods)?,
                None => {}
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &Message, periods: &mut Periods) -> Result<()> {
        let kind = message::kind(message.r#type);
        if !self.asked(message.tso) || !matches!(kind, Kind::Insert | Kind::Delete) {
            return Ok(());
        }
        let header = message::header(&message.payload).context(|| format!("commit {}", self.seq))?;
        let Some(of) = header.rows else { return Ok(()) };
        let rows = match kind {
            Kind::Insert => RowTotal { inserted: of.rows, deleted: 0 },
            _ => RowTotal { inserted: 0, deleted: of.rows },
        };
        periods.count(Tso(message.tso), rows);
        self.rows.entry((message.tso, of.collection_id)).or_default().add(rows);
        Ok(())
    }

    fn asked(&self, tso: u64) -> bool {
        (self.part.from.0..=self.part.to.0).contains(&tso)
    }

    /// All that it tells, by TSO; the catalog moves over its definitions. As in a replay a definition follows the rows
    /// whose TSO is at most its own.
    pub fn entries(mut self, catalog: &mut Catalog) -> Result<Vec<Entry>> {
        let mut rows = std::mem::take(&mut self.rows).into_iter().peekable();
        let mut deletes = BTreeMap::new();
        for (number, definition) in (1..).zip(std::mem::take(&mut self.definitions)) {
            while let Some(before) = rows.next_if(|((tso, _), _)| *tso <= definition.tso) {
                delete(&mut deletes, before, catalog);
            }
            self.definition(number, &definition, catalog);
            catalog.apply(&definition)?;
        }
        rows.for_each(|rows| delete(&mut deletes, rows, catalog));
        for (collection_id, Deletes { of, rows, first, last }) in deletes {
            let (seq, at) = (self.seq, first.0);
            let (first, last) = (first.into(), last.into());
            self.entries.push((at, Entry::Delete { seq, of, collection_id, rows, first, last }));
        }
        self.entries.sort_by_key(|(tso, _)| *tso);
        Ok(self.entries.into_iter().map(|(_, entry)| entry).collect())
    }

    fn definition(&mut self, number: u64, definition: &Definition, catalog: &Catalog) {
        if !self.asked(definition.tso) {
            return;
        }
        let (change, details) = describe::change(definition.change.as_ref());
        let entry = Entry::Definition {
            place: format!("{}:{number}", self.seq),
            at: Tso(definition.tso).into(),
            exact: definition.exact,
            change,
            of: subject::of(catalog, definition.change.as_ref()),
            details,
        };
        self.entries.push((definition.tso, entry));
    }
}

/// Notes the deletes of one TSO. Those with inserts beside them are the halves of upserts.
fn delete(
    deletes: &mut BTreeMap<CollectionId, Deletes>,
    ((tso, id), rows): ((u64, CollectionId), RowTotal),
    catalog: &Catalog,
) {
    if rows.deleted == 0 || rows.inserted > 0 {
        return;
    }
    let (at, of) = (Tso(tso), || subject::collection(catalog, id));
    let noted = deletes.entry(id).or_insert_with(|| Deletes { of: of(), rows: 0, first: at, last: at });
    noted.rows = noted.rows.saturating_add(rows.deleted);
    noted.last = at;
}
