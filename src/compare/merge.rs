//! Two sequences of rows in the order of keys, side by side: which keys only one has, which both.

use std::collections::VecDeque;

use crate::rows::Key;

/// One key and what its row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Key,
    /// Of all its values.
    pub digest: Digest,
    /// How many rows its key has, of which this is any.
    pub rows: u64,
}

impl Row {
    /// Whether a key is the same at both: as many rows, and of one the same values. Of several a query shows any, and
    /// not always the same.
    pub fn agrees(&self, other: &Row) -> bool {
        self.rows == other.rows && (self.rows > 1 || self.digest == other.digest)
    }
}

/// Rows of the same values have the same.
pub type Digest = [u8; 16];

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Source,
    /// The second.
    Target,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before more rows of this side are fed.
    Feed(Side),
    /// A key that only this side has.
    Only(Side, Row),
    /// A key that both have: the source's row, the target's.
    Both(Row, Row),
    /// Both have ended.
    End,
}

/// The join. It holds what was fed and not yet stepped over: a page of each side.
#[derive(Debug, Default)]
pub struct Merge {
    source: Waiting,
    target: Waiting,
}

#[derive(Debug, Default)]
struct Waiting {
    rows: VecDeque<Row>,
    ended: bool,
}

impl Merge {
    /// Gives rows of a side, in rising order of keys that are beyond all before; `last`: there are no more.
    pub fn feed(&mut self, side: Side, rows: Vec<Row>, last: bool) {
        let waiting = match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        };
        waiting.rows.extend(rows);
        waiting.ended = last;
    }

    /// Takes the smallest key.
    pub fn step(&mut self) -> Step {
        for (side, waiting) in [(Side::Source, &self.source), (Side::Target, &self.target)] {
            if waiting.rows.is_empty() && !waiting.ended {
                return Step::Feed(side);
            }
        }
        match (self.source.rows.pop_front(), self.target.rows.pop_front()) {
            (None, None) => Step::End,
            (Some(row), None) => Step::Only(Side::Source, row),
            (None, Some(row)) => Step::Only(Side::Target, row),
            (Some(ours), Some(theirs)) if ours.key < theirs.key => {
                self.target.rows.push_front(theirs);
                Step::Only(Side::Source, ours)
            }
            (Some(ours), Some(theirs)) if ours.key > theirs.key => {
                self.source.rows.push_front(ours);
                Step::Only(Side::Target, theirs)
            }
            (Some(ours), Some(theirs)) => Step::Both(ours, theirs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Rows = BTreeMap<Key, Digest>;

    fn row((key, digest): (&Key, &Digest)) -> Row {
        Row { key: key.clone(), digest: *digest, rows: 1 }
    }

    /// Each key with what each side has for it.
    fn naive(source: &Rows, target: &Rows) -> Vec<(Key, Option<Digest>, Option<Digest>)> {
        let mut keys = source.keys().chain(target.keys()).cloned().collect::<Vec<_>>();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .map(|key| (key.clone(), source.get(&key).copied(), target.get(&key).copied()))
            .collect()
    }

    /// What is left of a side, in pages of these sizes; the last one may be empty.
    struct Paged<'a> {
        rows: Vec<Row>,
        sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl Paged<'_> {
        fn next(&mut self) -> (Vec<Row>, bool) {
            let size = self.sizes.next().copied().unwrap_or(1).min(self.rows.len());
            let whole = self.rows.is_empty();
            (self.rows.drain(..size).collect(), whole)
        }
    }

    fn rows() -> impl Strategy<Value = Rows> {
        let key = prop_oneof![(-9i64..9).prop_map(Key::Int), "[ab\"]{0,3}".prop_map(Key::Text)];
        prop::collection::btree_map(key, (0u8..2).prop_map(|value| [value; 16]), 0..24)
    }

    #[test]
    fn a_key_with_more_rows_at_one_side_differs_however_like_the_shown_ones_are() {
        let row = |rows, value| Row { key: Key::Int(7), digest: [value; 16], rows };
        for (ours, theirs, agree) in [
            (row(1, 0), row(1, 0), true),
            (row(1, 0), row(1, 1), false),
            (row(2, 0), row(2, 1), true),
            (row(2, 0), row(1, 0), false),
            (row(1, 0), row(2, 0), false),
        ] {
            assert_eq!(ours.agrees(&theirs), agree, "{ours:?}, {theirs:?}");
        }
    }

    proptest! {
        #[test]
        fn the_join_finds_what_a_naive_comparison_finds(
            source in rows(), target in rows(), sizes in prop::collection::vec(1usize..5, 1..4),
        ) {
            let paged = |rows: &Rows| Paged { rows: rows.iter().map(row).collect(), sizes: sizes.iter().cycle() };
            let (mut ours, mut theirs) = (paged(&source), paged(&target));
            let (mut merge, mut found) = (Merge::default(), Vec::new());
            loop {
                prop_assert!(merge.source.rows.len() <= 5 && merge.target.rows.len() <= 5, "more than a page");
                match merge.step() {
                    Step::Feed(side) => {
                        let (rows, last) = if side == Side::Source { ours.next() } else { theirs.next() };
                        merge.feed(side, rows, last);
                    }
                    Step::Only(Side::Source, row) => found.push((row.key, Some(row.digest), None)),
                    Step::Only(Side::Target, row) => found.push((row.key, None, Some(row.digest))),
                    Step::Both(one, other) => {
                        prop_assert_eq!(&one.key, &other.key);
                        found.push((one.key, Some(one.digest), Some(other.digest)));
                    }
                    Step::End => break,
                }
            }
            prop_assert_eq!(found, naive(&source, &target));
        }
    }
}
