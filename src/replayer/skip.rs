//! Changes that a replay leaves out: the named ones, and what goes with a creation that is left out. Pure.
//!
//! A drop that is left out keeps what it would have dropped; [`Naming::check_clash`] says what clashes with that later.
//! A delete that is left out keeps rows, and [`Kept`] says which keys cannot be inserted then.

mod gone;
mod kept;

use std::collections::BTreeMap;

use crate::catalog::CollectionId;
use crate::error::{Error, Result};
use crate::log::describe;
use crate::pb::log::Definition;
use crate::position::Seq;
use crate::tick::Tso;

use super::naming::Naming;
use super::place::Place;
use super::steps::RowMessage;
use gone::Gone;
use kept::Kept;

/// What became of one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Omission {
    /// When the change was.
    pub tso: Tso,
    /// What it was: `drop_collection`, `delete`, ...
    pub change: &'static str,
    /// What it was of, by the source's name.
    pub of: String,
    /// Rows inserted and keys deleted that went with it.
    pub rows: u64,
    /// Definitions that went with it, by kind.
    pub definitions: BTreeMap<&'static str, u64>,
}

/// What is left out, and what of it has been met.
#[derive(Clone, Debug, Default)]
pub struct Skip {
    places: BTreeMap<Place, Option<Omission>>,
    gone: Gone,
    kept: Kept,
}

impl Skip {
    /// Leaves out what is at these places.
    pub fn new(places: impl IntoIterator<Item = Place>) -> Skip {
        Skip { places: places.into_iter().map(|place| (place, None)).collect(), ..Skip::default() }
    }

    /// Whether everything is replayed.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether all places lie after a commit with this watermark.
    pub fn is_after(&self, seq: Seq, watermark: Tso) -> bool {
        self.places.keys().all(|place| match place {
            Place::Definition(at, _) => *at > seq,
            Place::Deletes(tso) => *tso > watermark,
        })
    }

    /// The places in order, as a checkpoint keeps them.
    pub fn places(&self) -> Vec<String> {
        self.places.keys().map(Place::to_string).collect()
    }

    /// The places that have been met, and what became of them.
    pub fn omissions(&self) -> impl Iterator<Item = (Place, &Omission)> {
        self.places.iter().filter_map(|(place, met)| met.as_ref().map(|met| (*place, met)))
    }

    /// Whether rows of a range of TSOs matter: deletes that are to be left out, or what their keys may meet.
    pub fn concerns_rows_in(&self, first: Tso, last: Tso) -> bool {
        let mut deletes = self.places.range(Place::Deletes(first)..);
        !self.kept.is_empty() || deletes.next().is_some_and(|(place, _)| *place <= Place::Deletes(last))
    }

    /// Refuses places at which nothing was met, once everything up to the end has been seen.
    pub fn check_met(&self) -> Result<()> {
        let Some((place, _)) = self.places.iter().find(|(_, met)| met.is_none()) else { return Ok(()) };
        Err(Error::usage(format!("skip {place}: up to where the replay ends there is no such change"))
            .advice("`tapedeck log timeline` shows the places of changes"))
    }

    /// Refuses to leave out deletes that a base has done already, perhaps: it may hold more than its checkpoint says, up to
    /// where the log opens.
    pub fn check_not_in_base(
        &self,
        naming: &Naming,
        id: CollectionId,
        messages: &[RowMessage],
        opens_at: Tso,
    ) -> Result<()> {
        let shards = naming.catalog().collections.get(&id).map_or(&[][..], |collection| &collection.channels);
        if self.is_empty() || shards.iter().all(|shard| shard.base.is_none()) {
            return Ok(());
        }
        let deletes = messages.iter().filter(|message| message.delete).map(|message| message.tso);
        let mut deletes = deletes.filter(|tso| *tso < opens_at).map(Place::Deletes);
        match deletes.find(|place| self.places.contains_key(place)) {
            None => Ok(()),
            Some(place) => Err(Error::refused(format!(
                "skip {place}: the base of {} was taken after this delete, and may lack its rows already",
                naming.title(id)
            ))
            .advice(format!(
                "only a delete from {} on, where the log opens, can be left out",
                opens_at.time()
            ))),
        }
    }

    /// What is left of the definition at a place; none: it is left out. What clashes with something kept is refused.
    pub fn definition(
        &mut self,
        naming: &Naming,
        place: Place,
        mut definition: Box<Definition>,
    ) -> Result<Option<Box<Definition>>> {
        if self.is_empty() {
            return Ok(Some(definition));
        }
        let kind = describe::change(definition.change.as_ref()).0;
        if self.places.contains_key(&place) {
            let (tso, of) = (Tso(definition.tso), naming.subject(&definition));
            if !naming.concerns(&definition) {
                return Err(unselected(place, kind, &of));
            }
            self.gone.leave_out(place, definition.change.as_ref())?;
            let met = Omission { tso, change: kind, of, ..Omission::default() };
            self.places.insert(place, Some(met));
            return Ok(None);
        }
        let with = definition.change.as_mut().map(|change| self.gone.takes(change)).transpose()?;
        let Some(with) = with.flatten() else {
            naming.check_clash(place, &definition)?;
            return Ok(Some(definition));
        };
        let count = self.met(with).definitions.entry(kind).or_default();
        *count = count.saturating_add(1);
        Ok(None)
    }

    /// What is left of the messages of a lane. An insert of a key whose row is kept is refused.
    pub fn rows(
        &mut self,
        naming: &Naming,
        id: CollectionId,
        messages: Vec<RowMessage>,
    ) -> Result<Vec<RowMessage>> {
        if self.is_empty() {
            return Ok(messages);
        }
        let mut kept = Vec::new();
        for message in messages {
            let Some(place) = self.row_place(naming, id, &message)? else {
                self.kept.pass(naming, id, &message)?;
                kept.push(message);
                continue;
            };
            let met = self.met(place);
            met.rows = met.rows.saturating_add(message.rows);
            if matches!(place, Place::Deletes(_)) {
                (met.tso, met.change, met.of) = (message.tso, "delete", naming.title(id));
                self.kept.keep(id, &message)?;
            }
        }
        Ok(kept)
    }

    fn met(&mut self, place: Place) -> &mut Omission {
        self.places.entry(place).or_default().get_or_insert_default()
    }

    fn row_place(&self, naming: &Naming, id: CollectionId, message: &RowMessage) -> Result<Option<Place>> {
        let deletes = Place::Deletes(message.tso);
        if !self.places.contains_key(&deletes) {
            return Ok(self.gone.rows(id, message.partition));
        }
        if !message.delete {
            return Err(Error::usage(format!("skip {deletes}: this request inserts rows"))
                .advice("only a delete can be left out: an upsert replaces rows"));
        }
        if !naming.is_selected(id) {
            return Err(unselected(deletes, "delete", &naming.title(id)));
        }
        Ok(Some(deletes))
    }
}

fn unselected(place: Place, change: &str, of: &str) -> Error {
    Error::usage(format!("skip {place}: this is the {change} of {of}, which is not selected"))
        .advice("`tapedeck log timeline` shows the places of changes; correct the place, or the selection")
}
