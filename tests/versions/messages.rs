//! Queue messages of 2.3, 2.4 and 2.5.

use serde_json::{Value, json};
use tapedeck::change::{Keys, Rows};
use tapedeck::message::{self, Kind};

use super::{binary, fixture, shown};

const VERSIONS: [&str; 3] = ["2.3", "2.4", "2.5"];

fn messages(version: &str) -> Vec<Value> {
    fixture(&format!("messages-{version}"))
}

/// What is read of a message, in the form of the fixture.
fn read(entry: &Value) -> Value {
    let payload = binary(entry, "payload");
    let header = message::header(&payload).unwrap();
    let mut means = json!({
        "kind": format!("{:?}", header.kind),
        "type": message::type_name(header.msg_type),
        "tso": header.tso.0,
    });
    if let Some(place) = &header.rows {
        means["collection"] = json!(place.collection_id);
        means["partition"] = json!(place.partition_id);
        means["shard"] = json!(place.shard);
    }
    match header.kind {
        Kind::Insert => means["rows"] = json!(shown::rows(&inserted(entry))),
        Kind::Delete => {
            let delete = message::delete(payload).unwrap();
            let keys = Keys::from_pb(delete.primary_keys, delete.int64_primary_keys);
            means["keys"] = shown::keys(&keys);
        }
        Kind::Request => {
            let request = message::request(payload).unwrap();
            assert_eq!(request.tso, header.tso);
            means["asked"] = shown::action(&request.action);
        }
        _ => {}
    }
    means
}

fn inserted(entry: &Value) -> Rows {
    let insert = message::insert(binary(entry, "payload")).unwrap();
    Rows { count: usize::try_from(insert.num_rows).unwrap(), columns: insert.fields_data }
}

fn inserts(version: &str) -> impl Iterator<Item = (Value, Rows)> {
    let inserts = messages(version).into_iter().filter(|entry| entry["means"]["kind"] == "Insert");
    inserts.map(|entry| (entry["means"]["rows"].clone(), inserted(&entry)))
}

#[test]
fn messages_of_every_version_mean_what_milvus_packages_say() {
    for version in VERSIONS {
        for entry in messages(version) {
            assert_eq!(read(&entry), entry["means"], "{version}, {}", entry["name"]);
        }
    }
}

#[test]
fn rows_of_every_version_come_back_whole_when_they_are_taken_apart() {
    for version in VERSIONS {
        for (means, rows) in inserts(version) {
            let mut single = Rows::none();
            for number in 0..rows.count {
                single.append(rows.take(&[number]).unwrap()).unwrap();
            }
            assert_eq!(json!(shown::rows(&single)), means, "{version}, one by one");
            let mut halves = rows.slice(0..1).unwrap();
            halves.append(rows.slice(1..rows.count).unwrap()).unwrap();
            assert_eq!(json!(shown::rows(&halves)), means, "{version}, in halves");
        }
    }
}

#[test]
fn keys_of_every_version_are_those_of_the_rows() {
    for version in VERSIONS {
        for (means, rows) in inserts(version) {
            let ids = means.as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Value>();
            assert_eq!(shown::keys(&rows.keys("id").unwrap()), ids, "{version}");
        }
    }
}
