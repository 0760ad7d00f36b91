//! What Milvus 2.3, 2.4, 2.5 and 2.6 write, read from fixtures that Milvus' own packages made: `fixtures/milvus/generate`.

mod messages;
mod shown;
mod streaming;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::Value;

/// The entries of a fixture.
fn fixture(name: &str) -> Vec<Value> {
    let path = format!("tests/fixtures/milvus/{name}.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let entries = serde_json::from_str::<Vec<Value>>(&text).unwrap();
    assert!(!entries.is_empty(), "{path}");
    entries
}

/// Bytes of an entry.
fn binary(entry: &Value, part: &str) -> Bytes {
    let text = entry[part].as_str().unwrap_or_default(); // Go writes no bytes as null
    BASE64_STANDARD.decode(text).unwrap().into()
}
