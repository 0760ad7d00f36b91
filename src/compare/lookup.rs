//! Single keys, looked at once more.

use std::collections::BTreeMap;

use super::merge::{Digest, Side};
use super::report::State;
use crate::error::Result;
use crate::rows::Key;

/// Where they are asked for.
pub(super) trait Lookup {
    /// Of those of these keys that are there, the digest of each field; some may be left out where keys have many rows.
    async fn values(&self, keys: &[Key]) -> Result<BTreeMap<Key, Vec<Digest>>>;
    /// How many rows these keys have.
    async fn counted(&self, keys: &[Key]) -> Result<u64>;
}

/// A key at one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    rows: u64,
    /// Of one row, the digest of each field; none: it was not shown.
    values: Option<Vec<Digest>>,
}

/// How these keys are at one side, in their order. What an answer does not show is gone only if its count says so.
pub(super) async fn look_up(side: &impl Lookup, keys: &[Key]) -> Result<Vec<Known>> {
    let mut values = side.values(keys).await?;
    let one_each = side.counted(keys).await? == values.len() as u64;
    let mut known = Vec::with_capacity(keys.len());
    for key in keys {
        let alone = std::slice::from_ref(key);
        let rows = match one_each {
            true => u64::from(values.contains_key(key)),
            false => side.counted(alone).await?,
        };
        if rows > 0 && !values.contains_key(key) {
            values.append(&mut side.values(alone).await?);
        }
        known.push(Known { rows, values: values.remove(key) });
    }
    Ok(known)
}

/// What a key is, by what both sides have of it.
pub(super) fn state(ours: &Known, theirs: &Known, fields: &[String]) -> State {
    match (ours.rows, theirs.rows) {
        (0, 0) => return State::Equal { there: false },
        (_, 0) => return State::Only(Side::Source),
        (0, _) => return State::Only(Side::Target),
        // of several a query shows any, and not always the same
        (ours, theirs) if ours == theirs && ours > 1 => return State::Equal { there: true },
        _ => {}
    }
    let (Some(here), Some(there)) = (&ours.values, &theirs.values) else {
        return State::Different(Vec::new());
    };
    if ours.rows == theirs.rows && here == there {
        return State::Equal { there: true };
    }
    let fields = fields.iter().zip(here.iter().zip(there)).filter(|(_, (here, there))| here != there);
    State::Different(fields.map(|(field, _)| field.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rows each key has; an answer shows keys until it has this many rows.
    struct Counts(BTreeMap<Key, u64>, u64);

    impl Counts {
        fn new(rows: &[i64], most: u64) -> Counts {
            let mut counts = BTreeMap::new();
            rows.iter().for_each(|key| *counts.entry(Key::Int(*key)).or_default() += 1);
            Counts(counts, most)
        }
    }

    impl Lookup for Counts {
        async fn values(&self, keys: &[Key]) -> Result<BTreeMap<Key, Vec<Digest>>> {
            let mut left = self.1;
            let mut shown = BTreeMap::new();
            for (key, rows) in self.0.iter().filter(|(key, _)| keys.contains(key)) {
                if left > 0 {
                    shown.insert(key.clone(), vec![[0; 16]]);
                }
                left = left.saturating_sub(*rows);
            }
            Ok(shown)
        }

        async fn counted(&self, keys: &[Key]) -> Result<u64> {
            Ok(keys.iter().filter_map(|key| self.0.get(key)).sum())
        }
    }

    async fn states(source: &[i64], target: &[i64], most: u64, keys: &[i64]) -> Vec<State> {
        let keys = keys.iter().map(|key| Key::Int(*key)).collect::<Vec<_>>();
        let ours = look_up(&Counts::new(source, most), &keys).await.unwrap();
        let theirs = look_up(&Counts::new(target, most), &keys).await.unwrap();
        let fields = ["text".to_owned()];
        ours.iter().zip(&theirs).map(|(ours, theirs)| state(ours, theirs, &fields)).collect()
    }

    #[tokio::test]
    async fn a_key_with_more_rows_at_one_side_is_no_more_equal_when_it_is_looked_at_again() {
        let differ = State::Different(Vec::new());
        let same = State::Equal { there: true };
        let found = states(&[7, 7, 8, 9], &[7, 8, 9, 9], 99, &[7, 8, 9]).await;
        assert_eq!(found, [differ.clone(), same.clone(), differ]);
        assert_eq!(states(&[7, 7], &[7, 7], 99, &[7]).await, [same]);
    }

    #[tokio::test]
    async fn a_key_that_neither_answer_shows_is_settled_by_its_count() {
        let found = states(&[1, 1, 1, 2, 4], &[1, 1, 1, 3, 4], 3, &[1, 2, 3, 4, 5]).await;
        let [there, gone] = [true, false].map(|there| State::Equal { there });
        let expected = [there.clone(), State::Only(Side::Source), State::Only(Side::Target), there, gone];
        assert_eq!(found, expected);
    }
}
