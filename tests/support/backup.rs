//! What milvus-backup writes of a source beside the files of its segments.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use serde_json::{Map, Value, json};
use tapedeck::message::ALL_PARTITIONS;
use tapedeck::pb::log::Collection;
use tapedeck::pb::milvus::proto::meta::MsgPosition;
use tapedeck::source::segments::{Checkpoint, Level, LogFile, Segment, SegmentList};

/// The content of `meta/full_meta.json` of a backup of what is stored of some collections. Files are expected below `binlogs`.
pub fn full_meta(list: &SegmentList, collections: &[Collection], names_channels: bool) -> Value {
    let collections = collections.iter().map(|Collection { id, partitions, .. }| {
        let segments = |partition| {
            let here = list.readable().filter(|of| (of.collection_id, of.partition_id) == (*id, partition));
            here.map(|of| segment(of, names_channels)).collect::<Vec<_>>()
        };
        let partitions = partitions.iter();
        let partitions = partitions.map(|of| json!({"partition_id": of.id, "segment_backups": segments(of.id)}));
        let checkpoints = list.checkpoints.iter().filter(|(channel, _)| channel.contains(&format!("_{id}v")));
        json!({
            "collection_id": id,
            "partition_backups": partitions.collect::<Vec<_>>(),
            "l0_segments": segments(ALL_PARTITIONS),
            "channel_checkpoints": checkpoints.map(|(channel, at)| (channel.clone(), position(at))).collect::<Map<_, _>>(),
        })
    });
    json!({"name": "nightly", "collection_backups": collections.collect::<Vec<_>>()})
}

fn segment(segment: &Segment, names_channel: bool) -> Value {
    let binlogs = segment.binlogs.iter();
    let binlogs = binlogs.map(|(field, files)| json!({"fieldID": field, "binlogs": logs(files)}));
    json!({
        "segment_id": segment.id, "collection_id": segment.collection_id, "partition_id": segment.partition_id,
        "num_of_rows": segment.rows, "is_l0": segment.level == Level::L0,
        "v_channel": if names_channel { segment.shard.as_str() } else { "" },
        "binlogs": binlogs.collect::<Vec<_>>(), "deltalogs": [{"binlogs": logs(&segment.deltas)}],
    })
}

fn logs(files: &[LogFile]) -> Vec<Value> {
    files.iter().map(|file| json!({"log_path": format!("files/{}", file.path)})).collect()
}

/// Of a queue that counts messages.
fn position(at: &Checkpoint) -> Value {
    let msg_id = at.position.offset.to_le_bytes().to_vec().into();
    let stored = MsgPosition { msg_id, timestamp: at.tso.0, ..MsgPosition::default() };
    json!(BASE64_STANDARD.encode(stored.encode_to_vec()))
}
