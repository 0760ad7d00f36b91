//! Who holds a prune, and what is no pin of this log at all.

use std::future::ready;

use super::prune::{KEEP, stores};
use super::pruned::pruned_with;
use super::sample::{log_id, tso};
use crate::log::checkpoint::Checkpoints;
use crate::log::envelope::{self, Kind};
use crate::log::faulty_store::Fault;
use crate::log::layout;
use crate::log::prune::prune;
use crate::log::verify::{Scope, verify};
use crate::pb::log as pb;

#[tokio::test]
async fn a_replay_that_leaves_something_out_holds_what_it_is_rehearsed_from_until_its_end() {
    let (_, store, _) = stores(Fault::None).await;
    let (mut checkpoints, _) = Checkpoints::open(store.clone(), "skips").await.unwrap();
    let log_id = log_id(&store).await;
    let mut stand = async |rehearsed_from, applied_tso| {
        let (ack, intent_tso) = (Some(pb::LogPosition { seq: 7, ..Default::default() }), tso(13).0);
        let (log_id, skip) = (log_id.clone(), vec!["3:1".to_owned()]);
        let more = pb::Checkpoint { log_id, applied_tso, intent_tso, ..Default::default() };
        checkpoints.save(pb::Checkpoint { ack, skip, rehearsed_from, ..more }).await.unwrap();
    };
    for from in [0, 2] {
        stand(from, tso(11).0).await;
        let report = pruned_with(&store, KEEP).await;
        let why = format!("reader skips needs what follows commit {from}");
        assert!(report.held && report.in_the_way[0].contains(&why), "{report:?}");
    }
    stand(2, tso(13).0).await;
    assert!(pruned_with(&store, KEEP).await.raised);
}

#[tokio::test]
async fn a_restore_point_or_a_position_of_another_log_is_damage_and_stops_a_prune() {
    let (_, store, _) = stores(Fault::None).await;
    let foreign = || "another".to_owned();
    let point =
        pb::RestorePoint { name: "p".into(), log_id: foreign(), tso: tso(15).0, ..Default::default() };
    let checkpoint = pb::Checkpoint { n: 1, log_id: foreign(), ..Default::default() };
    for (key, bytes) in [
        (layout::point("p").unwrap(), envelope::seal(Kind::RestorePoint, &point)),
        (layout::checkpoint("readers/a", 1), envelope::seal(Kind::Checkpoint, &checkpoint)),
    ] {
        store.put(&key, bytes).await.unwrap();
        let error = prune(store.clone(), KEEP, false, |_| {}).await.unwrap_err();
        assert!(error.message.contains(&key) && error.message.contains("belongs to the log"), "{error}");
        let report = verify(store.clone(), Scope::Whole, |_, _| ready(())).await.unwrap();
        let named = report.damages.iter().map(|damage| &damage.object).collect::<Vec<_>>();
        assert_eq!(named, [&key]);
        store.delete(&key).await.unwrap();
    }
}
