//! The rows of one segment in the order of TSO, each with the schema that its collection had then; and what else
//! came that no replayer can apply. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::table::{RowMessage, Sent, Table};
use crate::catalog::{Catalog, CollectionId};
use crate::error::{Context, Error, Result};
use crate::log::incomplete::Incomplete;
use crate::log::segment::Segment;
use crate::message::{self, Kind};
use crate::pb::log::{Definition, Message, record::Body};
use crate::position::Seq;
use crate::tick::Tso;

/// What is left of a segment.
pub struct Changes {
    seq: Seq,
    rows: BTreeMap<(Tso, CollectionId), Vec<Sent>>,
    definitions: VecDeque<Definition>,
    tables: HashMap<CollectionId, Arc<Table>>,
    incomplete: Incomplete,
}

/// Rows of one TSO and one collection.
pub struct Part {
    /// The collection as it was.
    pub table: Arc<Table>,
    /// Its rows.
    pub batches: Vec<RecordBatch>,
}

impl Changes {
    /// The rows and definitions of a segment of a commit; those of a commit follow each other, as in a replay. Of the
    /// messages the payloads are held, as slices of the object.
    pub fn new(seq: Seq, segment: Segment) -> Result<Changes> {
        let (rows, definitions, tables, incomplete) = Default::default();
        let mut this = Changes { seq, rows, definitions, tables, incomplete };
        let channels =
            segment.header.channels.iter().map(|name| Arc::from(name.as_str())).collect::<Vec<_>>();
        for record in segment.records {
            match record.body {
                Some(Body::Definition(definition)) => this.definitions.push_back(definition),
                Some(Body::Message(message)) => this.take_in(&channels, message)?,
                None => {}
            }
        }
        Ok(this)
    }

    fn take_in(&mut self, channels: &[Arc<str>], message: Message) -> Result<()> {
        if !matches!(message::kind(message.r#type), Kind::Insert | Kind::Delete) {
            self.incomplete.add(Tso(message.tso), &message::type_name(message.r#type));
            return Ok(());
        }
        let header = message::header(&message.payload).context(|| format!("commit {}", self.seq))?;
        let Some(rows) = header.rows else { return Ok(()) };
        let channel = usize::try_from(message.channel).ok().and_then(|at| channels.get(at));
        let channel =
            channel.ok_or_else(|| Error::refused(format!("commit {}: a message of no channel", self.seq)))?;
        let of = (Tso(message.tso), rows.collection_id);
        self.rows.entry(of).or_default().push(Sent { channel: channel.clone(), message });
        Ok(())
    }

    /// The messages that are no rows and no definitions: no replayer can apply them.
    pub fn incomplete(&self) -> &Incomplete {
        &self.incomplete
    }

    /// The next rows; none at the end. The catalog moves over the definitions: as in a replay a definition follows the
    /// rows whose TSO is at most its own.
    pub fn next(&mut self, catalog: &mut Catalog) -> Result<Option<Part>> {
        let next = self.rows.first_key_value().map(|((tso, _), _)| tso.0);
        let precedes = |definition: &mut Definition| next.is_none_or(|next| definition.tso < next);
        while let Some(definition) = self.definitions.pop_front_if(precedes) {
            catalog.apply(&definition)?;
            self.tables.clear();
        }
        let Some(((tso, id), messages)) = self.rows.pop_first() else { return Ok(None) };
        let part = self.part(catalog, id, messages);
        part.map(Some).context(|| format!("commit {}, rows of {} at TSO {tso}", self.seq, name(catalog, id)))
    }

    fn part(&mut self, catalog: &Catalog, id: CollectionId, messages: Vec<Sent>) -> Result<Part> {
        let table = match self.tables.get(&id) {
            Some(table) => table.clone(),
            None => self.tables.entry(id).or_insert(Arc::new(Table::new(catalog, id)?)).clone(),
        };
        let messages = messages.into_iter().map(RowMessage::decode).collect::<Result<Vec<_>>>()?;
        Ok(Part { batches: table.batches(&messages)?, table })
    }
}

fn name(catalog: &Catalog, id: CollectionId) -> String {
    catalog.name(id).map_or_else(|| format!("collection {id}"), |name| name.to_string())
}
