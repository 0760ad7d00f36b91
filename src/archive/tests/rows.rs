//! Every row of the log is in the archive, once and as it was.

use std::future::ready;

use proptest::collection::vec;
use proptest::prelude::*;

use super::sample::{Action, Recorder, archived, manifests};
use crate::archive::archiver::{Limits, Report, archive};
use crate::archive::verify::{Archived, Scope, verify};
use crate::log::reader::LogReader;
use crate::log::verify as log_verify;
use crate::position::Seq;
use crate::store::Store;

/// So small that a few rows fill a file, and a row a group.
pub const SMALL: Limits = Limits { held_bytes: 24 << 10, group_bytes: 2 << 10 };

pub fn action() -> impl Strategy<Value = Action> {
    let keys = || vec(-3i64..6, 1..5);
    prop_oneof![
        4 => (0usize..2, 0usize..2, keys(), any::<bool>())
            .prop_map(|(table, partition, keys, again)| Action::Insert { table, partition, keys, again }),
        3 => (0usize..2, prop::option::of(0usize..2), keys(), any::<bool>())
            .prop_map(|(table, partition, keys, again)| Action::Delete { table, partition, keys, again }),
        3 => (0usize..2, 0usize..2, keys()).prop_map(|(table, partition, keys)| Action::Upsert { table, partition, keys }),
        1 => (0usize..2).prop_map(|table| Action::Rename { table }),
        1 => (0usize..2).prop_map(|table| Action::Recreate { table }),
        1 => (0usize..2).prop_map(|table| Action::Alter { table }),
        1 => (0usize..2).prop_map(|table| Action::DropPartition { table }),
        3 => Just(Action::Commit),
    ]
}

pub async fn archive_all(store: &Store, limits: Limits) -> Report {
    archive(store.clone(), limits, |_, _, _| {}).await.unwrap()
}

/// Checks log and archive; the words of the damages.
pub async fn checked(store: &Store) -> (Archived, Vec<String>) {
    let mut report =
        log_verify::verify(store.clone(), log_verify::Scope::Whole, |_, _| ready(())).await.unwrap();
    let reader = LogReader::open(store.clone()).await.unwrap();
    let scope = Scope { from: Seq(1), rows: true };
    let archived = verify(&reader, store, scope, &mut report, |_, _| ready(())).await.unwrap();
    (archived, report.damages.iter().map(ToString::to_string).collect())
}

pub fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_recorded_is_archived_once_and_as_it_was(actions in vec(action(), 1..60), small: bool, twice: bool) {
        run(async {
            let limits = if small { SMALL } else { Limits::default() };
            let store = Store::memory();
            let mut recorder = Recorder::new(&store).await;
            for (at, action) in actions.iter().enumerate() {
                recorder.act(action).await;
                if twice && at == actions.len() / 2 && recorder.last() > Seq(0) {
                    archive_all(&store, limits).await;
                }
            }
            recorder.commit().await;
            let report = archive_all(&store, limits).await;
            assert_eq!(report.to, recorder.last().0);
            assert_eq!(archived(&store).await, recorder.oracle());
            let (checked, damages) = checked(&store).await;
            assert_eq!((damages, checked.orphans, checked.to), (vec![], 0, recorder.last().0));
            let files = manifests(&store).await.into_iter().flat_map(|manifest| manifest.files).count();
            assert_eq!(files as u64, checked.files);
            assert_eq!(archive_all(&store, limits).await, Report { from: report.to + 1, to: report.to, ..Report::default() });
        });
    }
}
