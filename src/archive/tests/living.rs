//! The rows that live at the end of a manifest are those that a plain replay of its messages leaves.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::rows::{SMALL, action, archive_all, run};
use super::sample::{Action, Recorder, one};
use crate::archive::archiver::Limits;
use crate::archive::living::History;
use crate::archive::manifests::Manifests;
use crate::change::Rows;
use crate::log::reader::LogReader;
use crate::message;
use crate::position::Seq;
use crate::rows::{Key, with_nulls};
use crate::store::Store;

/// A row, as collection, partition, key and columns.
pub type Row = (i64, i64, Key, Rows);

/// The rows of an Insert.
pub fn rows_of(payload: Bytes) -> Vec<Row> {
    let insert = message::insert(payload).unwrap();
    let columns = insert.fields_data.into_iter().map(|column| with_nulls(column).unwrap()).collect();
    let rows = Rows { columns, count: insert.timestamps.len() };
    let keys = rows.keys("id").unwrap().iter().collect::<Vec<_>>();
    let row =
        |(number, key)| (insert.collection_id, insert.partition_id, key, one(rows.take(&[number]).unwrap()));
    keys.into_iter().enumerate().map(row).collect()
}

/// As they are compared.
pub fn sorted(rows: Vec<Row>) -> Vec<String> {
    let mut rows = rows.into_iter().map(|row| format!("{row:?}")).collect::<Vec<_>>();
    rows.sort_unstable();
    rows
}

/// What lives at the end of each manifest, found with so much memory.
async fn living(store: &Store, closed_bytes: usize) -> Vec<(Seq, Vec<Row>)> {
    let reader = LogReader::open(store.clone()).await.unwrap();
    let manifests = Manifests::open(store.clone(), reader.log_id()).await.unwrap();
    let mut next = manifests.last().cloned();
    let mut found = Vec::new();
    while let Some(end) = next {
        let last = reader.commit(end.last()).await.unwrap().unwrap();
        let catalog = reader.catalog(last.commit.catalog.as_ref().unwrap()).await.unwrap();
        let history = History {
            store,
            reader: &reader,
            manifests: &manifests,
            end: &end,
            catalog: &catalog,
            base: None,
        };
        let mut rows = Vec::new();
        let take = async |insert: crate::archive::living::Insert| {
            rows.extend(rows_of(insert.payload));
            Ok(())
        };
        history.living(closed_bytes, take).await.unwrap();
        found.push((end.last(), rows));
        next = manifests.before(&end).await.unwrap();
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_rows_that_live_are_those_that_a_replay_leaves(
        actions in vec(action(), 1..80), small: bool, scarce: bool,
    ) {
        run(async {
            let limits = if small { SMALL } else { Limits::default() };
            let closed_bytes = if scarce { 0 } else { 1 << 20 };
            let store = Store::memory();
            let mut recorder = Recorder::new(&store).await;
            let mut states = Vec::new();
            for action in actions.iter().chain([&Action::Commit]) {
                recorder.act(action).await;
                if matches!(action, Action::Commit) {
                    states.push(recorder.living());
                }
            }
            archive_all(&store, limits).await;
            let found = living(&store, closed_bytes).await;
            assert_eq!(found[0].0, recorder.last());
            for (seq, rows) in found {
                let expected = states[seq.0 as usize - 1].clone();
                assert_eq!(sorted(rows), sorted(expected), "commit {seq}");
            }
        });
    }
}
