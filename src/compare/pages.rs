//! The rows of one side, page by page in the order of keys, none left out.
//!
//! A query shows a key once, but its limit counts every row: where keys have several rows Milvus may end a page early,
//! and leave out keys between those that it shows. `count(*)` counts every row: a page that holds as many keys as
//! rows are counted between its bounds is complete; any other is asked for again, with a limit that cuts no row, and
//! counted by halves, down to the keys that have several rows.

use super::merge::Row;
use crate::error::{Error, Result};
use crate::rows::Key;

/// How often a page is asked for whose rows are changing meanwhile.
const MOST_TRIES: usize = 10;

/// One side's rows.
pub(super) trait Side {
    /// Rows in the order of keys, after one key and up to another; none: too many bytes for one answer.
    async fn rows(&self, after: Option<&Key>, to: Option<&Key>, limit: usize) -> Result<Option<Vec<Row>>>;
    /// How many rows there are between the same bounds.
    async fn count(&self, after: Option<&Key>, to: Option<&Key>) -> Result<u64>;
}

/// A way through them.
pub(super) struct Pages<S> {
    side: S,
    after: Option<Key>,
    size: usize,
    ended: bool,
    /// What was read so far.
    pub tally: Tally,
}

/// How much a collection holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As `count(*)` counts.
    pub rows: u64,
    /// Each once.
    pub keys: u64,
}

impl<S: Side> Pages<S> {
    /// Pages of at most about `size` rows.
    pub fn new(side: S, size: usize) -> Pages<S> {
        Pages { side, after: None, size: size.max(1), ended: false, tally: Tally::default() }
    }

    /// The next page, and whether it is the last one.
    pub async fn next(&mut self) -> Result<(Vec<Row>, bool)> {
        let mut limit = self.size;
        for _ in 0..MOST_TRIES + self.size.ilog2() as usize {
            let after = self.after.as_ref();
            let Some(mut rows) = self.side.rows(after, None, limit).await? else {
                (self.size, limit) = (halved(self.size)?, halved(limit)?);
                continue;
            };
            if let Some((first, after)) = rows.first().zip(after)
                && first.key <= *after
            {
                return Err(Error::refused(format!(
                    "rows after the key {after:?} were asked for, and one of the key {:?} was answered",
                    first.key
                ))
                .advice(
                    "its version reads the first of them as another text: compare without this collection",
                ));
            }
            let to = if rows.len() < limit { None } else { rows.last().map(|row| row.key.clone()) };
            let count = self.side.count(after, to.as_ref()).await?;
            let mut complete = count == rows.len() as u64 || (limit == 1 && rows.len() == 1);
            if !complete && count < self.size as u64 {
                // more than were counted may be there by now: they would be beyond a limit of as many
                let Some(all) = self.side.rows(after, to.as_ref(), self.size).await? else {
                    (self.size, limit) = (halved(self.size)?, halved(limit)?);
                    continue;
                };
                complete = all.len() as u64 <= count;
                rows = all;
            }
            if complete && self.number(&mut rows, to.as_ref(), count).await? {
                return Ok(self.turn(rows, to, count));
            }
            limit = (limit / 2).max(1);
        }
        Err(Error::retry("the rows change faster than they can be read")
            .advice("let the writers pause, or compare again"))
    }

    /// Finds how many rows each key of a page has, by halves; false: they changed meanwhile.
    async fn number(&self, rows: &mut [Row], to: Option<&Key>, count: u64) -> Result<bool> {
        if count == rows.len() as u64 {
            return Ok(true);
        }
        if rows.is_empty() {
            return Ok(false);
        }
        let mut left = vec![(self.after.clone(), rows, to.cloned(), count)];
        while let Some((after, rows, to, count)) = left.pop() {
            if let [row] = rows {
                row.rows = count;
            }
            if rows.len() < 2 || count == rows.len() as u64 {
                continue;
            }
            let (first, second) = rows.split_at_mut(rows.len() / 2);
            let middle = first.last().map(|row| row.key.clone());
            let counted = self.side.count(after.as_ref(), middle.as_ref()).await?;
            let others = count.saturating_sub(counted);
            if counted < first.len() as u64 || others < second.len() as u64 {
                return Ok(false);
            }
            left.push((after, first, middle.clone(), counted));
            left.push((middle, second, to, others));
        }
        // only what did not change since the first count was told apart by the others
        Ok(self.side.count(self.after.as_ref(), to).await? == count)
    }

    fn turn(&mut self, rows: Vec<Row>, to: Option<Key>, count: u64) -> (Vec<Row>, bool) {
        let keys = rows.len() as u64;
        self.tally.rows = self.tally.rows.saturating_add(count);
        self.tally.keys = self.tally.keys.saturating_add(keys);
        self.ended = to.is_none();
        self.after = to;
        (rows, self.ended)
    }
}

/// A smaller number of rows, for a smaller answer.
pub(super) fn halved(size: usize) -> Result<usize> {
    match size / 2 {
        0 => Err(Error::operator("one row has more bytes than an answer may have")
            .advice("raise proxy.grpc.serverMaxSendSize and quotaAndLimits.limits.maxOutputSize")),
        half => Ok(half),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    /// As Milvus answers: each segment gives its first rows, as many as the limit says; then each key is shown once, in
    /// the order of keys, up to the limit.
    struct Segments {
        /// At each question; those of the last one from then on.
        states: Vec<Vec<Vec<i64>>>,
        asked: Cell<usize>,
        /// Rows in an answer that are too many bytes.
        too_many: usize,
        most: Cell<usize>,
    }

    impl Segments {
        fn new(segments: Vec<Vec<i64>>, too_many: usize) -> Segments {
            Segments::changing(vec![segments], too_many)
        }

        fn changing(states: Vec<Vec<Vec<i64>>>, too_many: usize) -> Segments {
            Segments { states, asked: Cell::new(0), too_many, most: Cell::new(0) }
        }

        fn between<'a>(
            &'a self,
            after: Option<&'a Key>,
            to: Option<&'a Key>,
        ) -> impl Iterator<Item = Vec<i64>> + 'a {
            let now = self.asked.replace(self.asked.get() + 1).min(self.states.len() - 1);
            self.states[now].iter().map(move |segment| {
                let inside = |key: &&i64| {
                    after.is_none_or(|after| Key::Int(**key) > *after)
                        && to.is_none_or(|to| Key::Int(**key) <= *to)
                };
                let mut keys = segment.iter().filter(inside).copied().collect::<Vec<_>>();
                keys.sort_unstable();
                keys
            })
        }
    }

    impl Side for &Segments {
        async fn rows(
            &self,
            after: Option<&Key>,
            to: Option<&Key>,
            limit: usize,
        ) -> Result<Option<Vec<Row>>> {
            let mut keys =
                self.between(after, to).flat_map(|keys| keys.into_iter().take(limit)).collect::<Vec<_>>();
            keys.sort_unstable();
            keys.dedup();
            keys.truncate(limit);
            if keys.len() >= self.too_many {
                return Ok(None);
            }
            self.most.set(self.most.get().max(keys.len()));
            let row = |key| Row { key: Key::Int(key), digest: [0; 16], rows: 1 };
            Ok(Some(keys.into_iter().map(row).collect()))
        }

        async fn count(&self, after: Option<&Key>, to: Option<&Key>) -> Result<u64> {
            Ok(self.between(after, to).map(|keys| keys.len() as u64).sum())
        }
    }

    fn read(segments: &Segments, size: usize) -> (Vec<i64>, Tally) {
        let (rows, tally) = read_rows(segments, size);
        (rows.into_iter().map(|(key, _)| key).collect(), tally)
    }

    /// Each key with how many rows it has.
    fn read_rows(segments: &Segments, size: usize) -> (Vec<(i64, u64)>, Tally) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut pages, mut keys) = (Pages::new(segments, size), Vec::new());
            loop {
                let (rows, last) = pages.next().await.unwrap();
                keys.extend(rows.into_iter().map(|row| match row.key {
                    Key::Int(key) => (key, row.rows),
                    Key::Text(text) => panic!("{text}"),
                }));
                if last {
                    return (keys, pages.tally);
                }
            }
        })
    }

    #[test]
    fn a_key_that_a_full_segment_hides_is_read() {
        // a limit of 4 takes four rows of key 1 from the first segment, and shows 1, 5, 6, 7
        let segments = Segments::new(vec![vec![1, 1, 1, 1, 2, 3], vec![5, 6, 7, 8, 9]], 99);
        assert_eq!(read(&segments, 4), (vec![1, 2, 3, 5, 6, 7, 8, 9], Tally { rows: 11, keys: 8 }));
    }

    #[test]
    fn each_key_of_a_page_has_a_number_of_rows_of_its_own() {
        for rows in [vec![7, 7, 9], vec![7, 9, 9]] {
            let expected = [7, 9].map(|key| (key, rows.iter().filter(|row| **row == key).count() as u64));
            assert_eq!(read_rows(&Segments::new(vec![rows], 99), 8).0, expected);
        }
    }

    #[test]
    fn rows_that_go_between_two_questions_leave_no_doubles_behind() {
        let (before, after) = (vec![vec![1, 1, 2, 3]], vec![vec![1, 1, 2]]);
        let segments = Segments::changing(vec![before.clone(), before, after], 99);
        assert_eq!(read_rows(&segments, 8), (vec![(1, 2), (2, 1)], Tally { rows: 3, keys: 2 }));
    }

    #[test]
    fn rows_that_come_between_two_questions_push_no_others_out() {
        let (before, after) = (vec![vec![1, 1, 5, 9]], vec![vec![1, 1, 2, 3, 5, 9]]);
        let segments = Segments::changing(vec![before.clone(), before.clone(), after.clone()], 99);
        let expected = (vec![1, 2, 3, 5, 9], Tally { rows: 6, keys: 5 });
        assert_eq!(read(&segments, 8), expected);
        // and gone again before they are counted
        let segments = Segments::changing(vec![before.clone(), before.clone(), after, before], 99);
        assert_eq!(read(&segments, 8), (vec![1, 5, 9], Tally { rows: 4, keys: 3 }));
    }

    #[tokio::test]
    async fn rows_that_change_without_end_are_an_error_and_no_endless_loop() {
        struct Growing(Cell<u64>);
        impl Side for Growing {
            async fn rows(&self, _: Option<&Key>, _: Option<&Key>, _: usize) -> Result<Option<Vec<Row>>> {
                Ok(Some(Vec::new()))
            }
            async fn count(&self, _: Option<&Key>, _: Option<&Key>) -> Result<u64> {
                self.0.set(self.0.get() + 100);
                Ok(self.0.get())
            }
        }
        assert!(Pages::new(Growing(Cell::new(0)), 4).next().await.unwrap_err().is_retry());
    }

    #[tokio::test]
    async fn a_key_that_is_read_as_another_one_is_an_error_and_no_endless_loop() {
        struct Deaf;
        impl Side for Deaf {
            async fn rows(&self, _: Option<&Key>, _: Option<&Key>, limit: usize) -> Result<Option<Vec<Row>>> {
                let row = |key| Row { key: Key::Int(key), digest: [0; 16], rows: 1 };
                Ok(Some((0..9).take(limit).map(row).collect()))
            }
            async fn count(&self, _: Option<&Key>, to: Option<&Key>) -> Result<u64> {
                Ok(if to.is_some() { 4 } else { 9 })
            }
        }
        let mut pages = Pages::new(Deaf, 4);
        assert_eq!(pages.next().await.unwrap().0.len(), 4);
        let error = pages.next().await.unwrap_err();
        assert!(error.message.contains("after the key Int(3)") && error.advice.is_some(), "{error}");
    }

    proptest! {
        #[test]
        fn every_key_is_read_once_whatever_rows_it_has_and_where(
            segments in prop::collection::vec(prop::collection::vec(-9i64..9, 0..30), 0..4),
            size in 1usize..9, too_many in 3usize..20,
        ) {
            let mut expected = segments.concat();
            let count = expected.len() as u64;
            expected.sort_unstable();
            let expected = expected.chunk_by(|one, other| one == other);
            let expected = expected.map(|rows| (rows[0], rows.len() as u64)).collect::<Vec<_>>();
            let segments = Segments::new(segments, too_many);
            let (rows, tally) = read_rows(&segments, size);
            prop_assert_eq!(tally, Tally { rows: count, keys: expected.len() as u64 });
            prop_assert_eq!(rows, expected);
            prop_assert!(segments.most.get() <= size, "{} rows in memory", segments.most.get());
        }
    }
}
