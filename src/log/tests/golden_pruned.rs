//! The golden log after a prune: it begins with the base of commit 2. What is in it is kept in `formats/golden/v1-pruned`
//! for ever.
//!
//! `TAPEDECK_WRITE_GOLDEN=1 cargo test --lib golden` writes it; an object that is there already is never to be changed.

use std::future::ready;
use std::path::PathBuf;

use bytes::Bytes;

use super::golden::{catalog, collection, golden};
use super::sample::{CHANNEL, LOG_ID, payload, tso};
use crate::log::base::{self, Base};
use crate::log::commit;
use crate::log::envelope::{self, Kind};
use crate::log::reader::LogReader;
use crate::log::segment::SegmentWriter;
use crate::log::store::{Store, StoreOptions};
use crate::log::verify::{Scope, verify};
use crate::log::{floor, layout, points};
use crate::pb::log as pb;
use crate::position::{Position, Seq};
use crate::tick::Tso;

const BASE: Seq = Seq(2);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("formats/golden/v1-pruned")
}

fn pruned() -> Vec<(String, Bytes)> {
    use pb::definition::Change;
    let mut objects = golden();
    let after = objects.iter().find(|(key, _)| *key == layout::commit(BASE)).unwrap();
    let after = commit::open(BASE, after.1.clone()).unwrap();
    // What is not below the floor: identity, commit 3 with its segment, and the catalog of commit 1, which is its too.
    objects.retain(|(key, _)| {
        let seq = layout::parse_commit(key).or_else(|| layout::parse_segment(key).map(|named| named.seq));
        seq.is_none_or(|seq| seq > BASE)
    });
    objects.retain(|(key, _)| !key.starts_with(layout::READERS));

    let header =
        pb::SegmentHeader { log_id: LOG_ID.into(), epoch: 2, seq: BASE.0, channels: vec![CHANNEL.into()] };
    let mut writer = SegmentWriter::new(header);
    let database = pb::Database { id: 1, name: "default".into(), properties: vec![] };
    let alias = pb::Alias { database_id: 1, name: "papers".into(), collection_id: 7 };
    for change in
        [Change::CreateDatabase(database), Change::CreateCollection(collection()), Change::CreateAlias(alias)]
    {
        writer.definition(&pb::Definition { tso: 0, exact: true, change: Some(change) });
    }
    writer.message(0, Position::offset(0), Tso::BASE, 400, &payload(0), 2);
    let (bytes, counted) = writer.finish();
    let key = layout::base_segment(BASE, counted.digest.first_chunk().unwrap());
    let segments = vec![pb::ObjectRef { key: key.clone(), ..counted }];
    objects.push((key, bytes));
    let base = Base { after, segments, wall_time_ms: tso(6).millis(), incomplete: Default::default() };
    objects.push((layout::base(BASE), base::seal(LOG_ID, &base)));
    let floor = pb::Floor {
        n: 1,
        log_id: LOG_ID.into(),
        first_seq: BASE.next().0,
        watermark: base.watermark().0,
        first_manifest: 1,
        wall_time_ms: tso(7).millis(),
        reason: "keep-window 7days, keep-bases 4".into(),
    };
    objects.push((layout::floor(1), floor::seal(&floor)));
    let point = pb::RestorePoint {
        name: "golden".into(),
        log_id: LOG_ID.into(),
        tso: tso(1).0,
        wall_time_ms: tso(7).millis(),
    };
    objects.push((layout::point("golden").unwrap(), envelope::seal(Kind::RestorePoint, &point)));
    objects
}

#[test]
fn golden_objects_of_a_pruned_log_are_written_as_they_always_were() {
    for (key, bytes) in pruned() {
        let path = folder().join(&key);
        if std::env::var_os("TAPEDECK_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert_eq!(
            std::fs::read(&path).unwrap_or_default(),
            bytes,
            "{key} is no longer written in the same way"
        );
    }
}

#[tokio::test]
async fn a_golden_pruned_log_is_read() {
    let url = format!("file://{}", folder().display());
    let store = Store::open(&url, &StoreOptions::default()).await.unwrap();
    let reader = LogReader::open(store.clone()).await.unwrap();
    assert_eq!(reader.tail().await.unwrap(), Some(Seq(3)));
    let base = reader.beginning().await.unwrap().unwrap();
    assert_eq!((base.seq(), reader.bases().await.unwrap()), (BASE, vec![BASE]));
    assert_eq!(reader.commit(BASE).await.unwrap().unwrap(), base.after);
    assert_eq!(reader.catalog(base.after.commit.catalog.as_ref().unwrap()).await.unwrap(), catalog());
    assert_eq!(reader.segment(&base.segments[0]).await.unwrap().records.len(), 4);
    assert!(reader.commit(Seq(1)).await.unwrap_err().message.contains("commit 1 was pruned"));
    let points = points::all(&reader).await.unwrap();
    assert_eq!(
        points.iter().map(|point| (point.name.as_str(), Tso(point.tso))).collect::<Vec<_>>(),
        [("golden", tso(1))]
    );

    let report = verify(store, Scope::Whole, |_, _| ready(())).await.unwrap();
    assert_eq!((report.from, report.to, report.commits, report.bases, report.segments), (3, 3, 1, 1, 2));
    // The definitions of commit 3 are samples: see the golden log.
    let damages = report.damages.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(damages.len() == 1 && damages[0].contains("3.pb names a catalog without what"), "{damages:?}");
    assert_eq!(report.orphans, Vec::<String>::new());
}
