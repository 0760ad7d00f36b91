//! What a set of rows is, whatever their order and however they are spread over files. Pure.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_row::{RowConverter, SortField};
use arrow_schema::ArrowError;

use crate::archive::layout;
use crate::catalog::CollectionId;

/// The rows of some collections.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fingerprints(BTreeMap<CollectionId, Fingerprint>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fingerprint {
    /// Rows by what was done.
    counts: BTreeMap<String, u64>,
    /// The sum of the rows' digests, each cut to its first 16 bytes.
    sum: u128,
}

impl Fingerprints {
    /// Takes in rows of a collection.
    pub fn add(&mut self, id: CollectionId, batch: &RecordBatch) -> Result<(), ArrowError> {
        let fingerprint = self.0.entry(id).or_default();
        for op in batch.column(layout::OP).as_string_opt::<i32>().into_iter().flatten().flatten() {
            match fingerprint.counts.get_mut(op) {
                Some(count) => *count = count.saturating_add(1),
                None => drop(fingerprint.counts.insert(op.to_owned(), 1)),
            }
        }
        let columns = batch.schema_ref().fields().iter();
        let columns = columns.map(|column| SortField::new(column.data_type().clone())).collect();
        for row in &RowConverter::new(columns)?.convert_columns(batch.columns())? {
            let digest = blake3::hash(row.as_ref());
            let digest = digest.as_bytes().first_chunk().copied().unwrap_or_default();
            fingerprint.sum = fingerprint.sum.wrapping_add(u128::from_le_bytes(digest));
        }
        Ok(())
    }

    /// The first collection of which `self` has not the rows of `right`, and how they differ.
    pub fn difference(&self, right: &Fingerprints) -> Option<String> {
        let ids = self.0.keys().chain(right.0.keys()).collect::<BTreeSet<_>>();
        let of = |all: &Fingerprints, id| all.0.get(id).cloned().unwrap_or_default();
        ids.into_iter()
            .map(|id| (id, of(self, id), of(right, id)))
            .find(|(_, ours, right)| ours != right)
            .map(|(id, ours, right)| match ours.counts == right.counts {
                true => format!("collection {id} has other rows, as many of each kind"),
                false => format!("collection {id} has {}, not {}", ours, right),
            })
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = self.counts.iter().map(|(op, rows)| format!("{op} {rows}")).collect::<Vec<_>>();
        f.write_str(if counts.is_empty() { "no rows" } else { "rows: " })?;
        f.write_str(&counts.join(", "))
    }
}
