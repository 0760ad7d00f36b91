use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::pb::log::{Partition, Shard};
use crate::source::segments::tests::fixture::Fixture;

/// The folder of a backup of what a real Milvus had, as the tool writes it, and the collection as the source shows it.
async fn backup(fixture: &Fixture) -> (Store, Value, Catalog) {
    let store = Store::memory();
    for (path, bytes) in &fixture.objects {
        let mut parts = path.split('/').collect::<Vec<_>>();
        // the group, which is the segment
        parts.insert(3, parts[3]);
        store.put(&format!("binlogs/{}", parts.join("/")), bytes.clone()).await.unwrap();
    }
    let mut partitions = BTreeMap::<_, Vec<Value>>::new();
    for segment in fixture.list.readable() {
        let logs = |files: &[LogFile]| {
            let ids = files.iter().map(|file| file.path.rsplit('/').next().unwrap().parse::<i64>().unwrap());
            ids.map(|id| json!({"log_id": id})).rev().collect::<Vec<_>>()
        };
        let binlogs = segment.binlogs.iter();
        let binlogs = binlogs.map(|(field, files)| match field {
            0 => json!({"binlogs": logs(files)}),
            field => json!({"fieldID": field, "binlogs": logs(files)}),
        });
        partitions.entry(segment.partition_id).or_default().push(json!({
            "segment_id": segment.id, "collection_id": segment.collection_id, "partition_id": segment.partition_id,
            "num_of_rows": segment.rows, "group_id": segment.id, "size": 7, "backuped": true,
            "binlogs": binlogs.collect::<Vec<_>>(), "deltalogs": [{"binlogs": logs(&segment.deltas)}],
        }));
    }
    let checkpoints = fixture.list.checkpoints.iter().map(|(channel, Checkpoint { position, tso })| {
        let msg_id = position.offset.to_le_bytes().to_vec();
        let stored = MsgPosition { msg_id: msg_id.into(), timestamp: tso.0, ..MsgPosition::default() };
        (channel.clone(), json!(BASE64_STANDARD.encode(stored.encode_to_vec())))
    });
    let id = fixture.list.segments.values().next().unwrap().collection_id;
    let live = partitions.keys().map(|id| Partition { id: *id, ..Partition::default() }).collect();
    let partitions =
        partitions.into_iter().map(|(id, of)| json!({"partition_id": id, "segment_backups": of}));
    let meta = json!({"id": "1", "name": "nightly", "milvus_version": "v2.3.5", "collection_backups": [{
        "collection_id": id, "db_name": "default", "collection_name": "docs", "has_index": true,
        "partition_backups": partitions.collect::<Vec<_>>(),
        "channel_checkpoints": checkpoints.collect::<serde_json::Map<_, _>>(),
    }]});
    let channels = fixture.list.checkpoints.keys();
    let channels = channels.map(|channel| Shard { virtual_channel: channel.clone(), ..Shard::default() });
    let collection = Collection {
        id,
        name: "docs".into(),
        schema: Some(fixture.schema.clone()),
        channels: channels.collect(),
        partitions: live,
        ..Collection::default()
    };
    let mut catalog = Catalog::default();
    catalog.collections.insert(id, collection);
    (store, meta, catalog)
}

async fn listed(store: &Store, meta: &Value, catalog: &Catalog) -> Result<SegmentList> {
    store.put("meta/full_meta.json", meta.to_string().into()).await?;
    let of = catalog.collections.keys().copied().collect();
    Backup::open(store.clone()).await?.list(catalog, &of).await
}

#[tokio::test]
async fn a_backup_of_a_real_milvus_holds_what_its_etcd_lists_and_the_shard_follows_from_the_keys() {
    let mut shards = BTreeSet::new();
    for name in ["everything", "bits"] {
        let fixture = Fixture::read(name).await;
        let (store, meta, catalog) = backup(&fixture).await;
        let list = listed(&store, &meta, &catalog).await.unwrap();
        assert_eq!(list.checkpoints, fixture.list.checkpoints);
        let right = fixture.list.readable().map(|segment| (segment.id, segment)).collect::<BTreeMap<_, _>>();
        assert!(list.segments.keys().eq(right.keys()), "{name}");
        for (id, segment) in &list.segments {
            let right = right[id];
            assert_eq!((&segment.shard, segment.rows), (&right.shard, right.rows), "{name} {id}");
            let [found, right] = [(&store, segment), (&fixture.store, right)]
                .map(|(store, segment)| SegmentReader::new(store, &fixture.schema, segment));
            assert_eq!(found.blocks().unwrap(), right.blocks().unwrap());
            for number in 0..right.blocks().unwrap() {
                assert_eq!(found.block(number).await.unwrap(), right.block(number).await.unwrap());
            }
            for (file, also) in segment.deltas.iter().zip(&fixture.list.segments[id].deltas) {
                assert_eq!(found.deleted(file).await.unwrap(), right.deleted(also).await.unwrap());
            }
            shards.insert(segment.shard.clone());
        }
    }
    assert!(shards.iter().any(|shard| shard.ends_with("v1")), "{shards:?}");
}

#[test]
fn keys_go_to_the_shards_that_milvus_chooses() {
    // Of Milvus' own tests of its hash functions, and CRC-32's check value.
    assert_eq!(shards::of(&crate::rows::Key::Text("123456789".into()), 1 << 16), 0xcbf4_3926 % (1 << 16));
    let long = |more: &str| crate::rows::Key::Text(format!("{}{more}", "k".repeat(100)));
    assert_eq!(
        shards::of(&long("a"), 1 << 16),
        shards::of(&long("b"), 1 << 16),
        "the beginning alone counts"
    );
}

#[tokio::test]
async fn a_partition_that_the_backup_lacks_is_refused_where_the_queue_lacks_rows_of_it_too() {
    let fixture = Fixture::read("everything").await;
    let (store, meta, mut catalog) = backup(&fixture).await;
    let newest = fixture.list.checkpoints.values().map(|checkpoint| checkpoint.tso.0).max().unwrap();
    let mut with = |partition: Option<Partition>| {
        catalog.collections.values_mut().for_each(|of| of.partitions = partition.iter().cloned().collect());
        catalog.clone()
    };
    let created = |create_tso| Some(Partition { id: 7, name: "late".into(), create_tso });
    let error = listed(&store, &meta, &with(created(newest))).await.unwrap_err();
    assert!(error.message.contains("it lacks the partition late (7)") && error.advice.is_some(), "{error}");
    assert_eq!(error.verdict, crate::error::Verdict::Refused);
    for rest_is_in_the_queue_or_dropped in [created(newest + 1), None] {
        assert!(listed(&store, &meta, &with(rest_is_in_the_queue_or_dropped)).await.is_ok());
    }
}

#[tokio::test]
async fn what_cannot_be_adopted_is_refused_with_the_reason() {
    let fixture = Fixture::read("bits").await;
    let (store, good, catalog) = backup(&fixture).await;
    let channel = fixture.list.checkpoints.keys().next().unwrap();
    let changed = |pointer: &str, value: Value| {
        let mut meta = good.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        meta.pointer_mut(parent).unwrap()[name] = value;
        meta
    };
    let segment = "/collection_backups/0/partition_backups/0/segment_backups/0";
    let checkpoints = "/collection_backups/0/channel_checkpoints";
    for (meta, says) in [
        (json!([1]), "meta/full_meta.json in memory"),
        (changed("/format", json!("snapshot")), "the backup nightly has the format \"snapshot\""),
        (changed("/collection_backups/0/collection_id", json!(1)), "this collection is not in it"),
        (changed(checkpoints, json!({})), "it has no checkpoint of channel by-dev"),
        (changed(&format!("{checkpoints}/{channel}"), json!("!")), "is no position in a queue"),
        (changed(&format!("{checkpoints}/{channel}"), json!("AAAA")), "is no position in a queue"),
        (changed(&format!("{segment}/storage_version"), json!(2)), "is of storage version 2"),
        (changed(&format!("{segment}/v_channel"), json!("other_1v0")), "is of channel other_1v0"),
        (changed(&format!("{segment}/binlogs"), json!([])), "it names no file for the"),
        (changed(&format!("{segment}/group_id"), json!(0)), "is not in memory"),
        (changed(&format!("{segment}/binlogs/0/binlogs"), json!([{}])), "a file without an id"),
    ] {
        let error = listed(&store, &meta, &catalog).await.unwrap_err();
        assert!(error.message.contains(says) && error.advice.is_some(), "{error} instead of {says}");
        assert_eq!(error.verdict, crate::error::Verdict::Refused);
    }
    let error = Backup::open(Store::memory()).await.map(drop).unwrap_err();
    assert!(error.message.contains("is no folder of a backup: it has no meta/full_meta.json"), "{error}");
    assert!(listed(&store, &good, &catalog).await.is_ok());
}
