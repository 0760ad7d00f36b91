//! What a real Milvus had of one collection.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use prost::Message;
use serde::Deserialize;

use crate::change::Rows;
use crate::pb::milvus::proto::milvus::QueryResults;
use crate::pb::milvus::proto::schema::{CollectionSchema, FieldSchema};
use crate::source::etcd::segments::Listing;
use crate::source::segments::{Segment, SegmentList, SegmentReader};
use crate::store::Store;

/// Rows that the last query found.
const LIVE: usize = 18;

#[derive(Deserialize)]
struct Stored {
    etcd: BTreeMap<String, String>,
    objects: BTreeMap<String, String>,
    answer: String,
}

/// A collection: its schema, its segments, their files, and its rows as a query gave them.
pub struct Fixture {
    pub schema: CollectionSchema,
    pub list: SegmentList,
    pub store: Store,
    pub objects: BTreeMap<String, Bytes>,
    pub answer: Rows,
}

fn binary(text: &str) -> Bytes {
    BASE64_STANDARD.decode(text).unwrap().into()
}

impl Fixture {
    pub async fn read(name: &str) -> Fixture {
        let path = format!("{}/tests/fixtures/binlogs/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let stored: Stored = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut schema = CollectionSchema::default();
        for (_, value) in stored.etcd.iter().filter(|(key, _)| key.starts_with("root-coord/fields/")) {
            let field = FieldSchema::decode(binary(value)).unwrap();
            schema.fields.extend((field.field_id >= 100).then_some(field));
        }
        let id = stored.objects.keys().next().unwrap().split('/').nth(1).unwrap().parse().unwrap();
        let of = BTreeSet::from([id]);
        let mut listing = Listing::new(&of);
        for (key, value) in &stored.etcd {
            listing.put(key, &binary(value)).unwrap();
        }
        let objects = stored
            .objects
            .iter()
            .map(|(path, file)| (path.clone(), binary(file)))
            .collect::<BTreeMap<_, _>>();
        let store = Store::memory();
        for (path, file) in &objects {
            store.put(path, file.clone()).await.unwrap();
        }
        let columns = QueryResults::decode(binary(&stored.answer)).unwrap().fields_data;
        let answer = Rows { columns, count: LIVE };
        answer.check().unwrap();
        Fixture { schema, list: listing.finish(1).unwrap(), store, objects, answer }
    }

    pub fn reader<'a>(&'a self, segment: &'a Segment) -> SegmentReader<'a> {
        SegmentReader::new(&self.store, &self.schema, segment)
    }
}
