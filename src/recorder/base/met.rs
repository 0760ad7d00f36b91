//! Which rows of a segment were met. Pure.

use std::collections::BTreeMap;

use crate::tick::Tso;

/// Rows by TSO and row id, as ranges of ids: Milvus gives those of a request consecutive ones.
#[derive(Default)]
pub struct Met(
    /// The first id of each range, and the one after its last.
    BTreeMap<(Tso, i64), i64>,
);

impl Met {
    /// Takes in a row; false where it was there.
    pub fn insert(&mut self, tso: Tso, id: i64) -> bool {
        let before = self.0.range((tso, i64::MIN)..=(tso, id)).next_back();
        let before = before.map(|((_, first), end)| (*first, *end));
        if before.is_some_and(|(_, end)| id < end) {
            return false;
        }
        let Some(next) = id.checked_add(1) else { return true };
        let end = self.0.remove(&(tso, next)).unwrap_or(next);
        let first = before.filter(|(_, end)| *end == id).map_or(id, |(first, _)| first);
        self.0.insert((tso, first), end);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rows_of_a_request_are_one_range() {
        let mut met = Met::default();
        let mut rows = (0..1000).chain(1001..2000).chain([1000]);
        assert!(rows.all(|id| met.insert(Tso(7), id)));
        assert_eq!(met.0, BTreeMap::from([((Tso(7), 0), 2000)]));
    }

    proptest! {
        #[test]
        fn a_row_is_new_once(given in prop::collection::vec((0u64..3, -9i64..9), 0..80)) {
            let (mut met, mut all) = (Met::default(), BTreeSet::new());
            for (tso, id) in given {
                prop_assert_eq!(met.insert(Tso(tso), id), all.insert((Tso(tso), id)), "{} {}", tso, id);
            }
            let ranges = met.0.iter().flat_map(|((tso, first), end)| (*first..*end).map(|id| (*tso, id)));
            prop_assert_eq!(ranges.collect::<BTreeSet<_>>(), all);
        }
    }
}
