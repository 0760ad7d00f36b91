//! What is in a file, for those who read it without tapedeck.

use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{Compression, Encoding, Type};
use parquet::file::metadata::ParquetMetaData;

use super::rows::archive_all;
use super::sample::{Action, Recorder, archived, field, manifests, schema};
use crate::archive::archiver::{Limits, archive};
use crate::archive::layout::Layout;
use crate::log::layout;
use crate::pb::log::{ArchiveKey, archive_key::Key};
use crate::pb::milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};
use crate::store::Store;

async fn metadata(store: &Store, key: &str) -> (Bytes, ParquetMetaData) {
    let bytes = store.get(key).await.unwrap().unwrap();
    let metadata = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new()).unwrap();
    (bytes, metadata.metadata().as_ref().clone())
}

#[tokio::test]
async fn a_file_is_sorted_compressed_in_bounded_groups_and_says_what_it_holds() {
    let store = Store::memory();
    let mut recorder = Recorder::new(&store).await;
    for first in [2000, 0, 1000] {
        let keys = (first..first + 1000).collect();
        recorder.act(&Action::Insert { table: 0, partition: 1, keys, again: false }).await;
    }
    recorder.act(&Action::Delete { table: 0, partition: None, keys: vec![7, -1], again: false }).await;
    recorder.commit().await;
    let group_bytes = 64 << 10;
    archive_all(&store, Limits { group_bytes, ..Limits::default() }).await;
    let named = manifests(&store).await.remove(0);
    let [file] = &named.files[..] else { panic!("{named:?}") };
    let object = file.object.as_ref().unwrap();
    let expected = format!(
        "archive/default/docs-{}/{:020}-{:020}-",
        file.collection_id, object.first_tso, object.last_tso
    );
    assert!(object.key.starts_with(&expected) && layout::is_archive_file(&object.key), "{}", object.key);
    let counts = file.counts.unwrap();
    assert_eq!((object.rows, counts.inserted, counts.deleted, counts.upserted), (3002, 3000, 2, 0));
    let key = |key| Some(ArchiveKey { key: Some(Key::Int(key)) });
    assert_eq!((file.first_key.clone(), file.last_key.clone()), (key(-1), key(2999)));

    let (_, metadata) = metadata(&store, &object.key).await;
    let groups = metadata.row_groups();
    assert!(groups.len() > 10, "{}", groups.len());
    assert!(groups.iter().all(|group| group.total_byte_size() < 2 * group_bytes as i64));
    for group in groups {
        let sorted =
            group.sorting_columns().unwrap().iter().map(|column| column.column_idx).collect::<Vec<_>>();
        assert_eq!(sorted, [7, 1], "id, then _tso");
        for column in group.columns() {
            assert!(matches!(column.compression(), Compression::ZSTD(_)), "{}", column.column_path());
            let is_float =
                matches!(column.column_type(), Type::FLOAT | Type::DOUBLE | Type::FIXED_LEN_BYTE_ARRAY);
            let has_dictionary = column.encodings().any(|encoding| encoding == Encoding::RLE_DICTIONARY);
            assert!(!(is_float && has_dictionary), "{}", column.column_path());
        }
    }
    let fields = metadata.file_metadata().schema().get_fields();
    let ids = fields.iter().map(|field| (field.name(), field.get_basic_info().id())).collect::<Vec<_>>();
    assert_eq!(ids[..3], [("_op_", 2), ("_tso", 1), ("_time", 3)], "a field has the name _op");
    let of_source = schema(0).fields.into_iter().map(|field| (field.name, field.field_id as i32));
    assert!(
        of_source.zip(&ids[7..]).all(|((name, id), (found, found_id))| (&*name, id) == (*found, *found_id))
    );
}

#[tokio::test]
async fn what_is_held_in_memory_never_passes_its_limit_by_more_than_one_message() {
    let store = Store::memory();
    let mut recorder = Recorder::new(&store).await;
    for first in 0..200 {
        recorder
            .act(&Action::Insert {
                table: first % 2,
                partition: 0,
                keys: vec![first as i64; 20],
                again: false,
            })
            .await;
    }
    // In one commit, which is larger than the limit.
    recorder.commit().await;
    let limits = Limits { held_bytes: 256 << 10, group_bytes: 1 << 20 };
    archive(store.clone(), limits, |_, _, _| {}).await.unwrap();
    assert_eq!(archived(&store).await, recorder.oracle());
    let named = manifests(&store).await.remove(0);
    assert!(named.files.len() > 3, "{}", named.files.len());
    for file in named.files {
        let (_, metadata) = metadata(&store, &file.object.unwrap().key).await;
        let bytes = metadata.row_groups().iter().map(|group| group.total_byte_size()).sum::<i64>();
        assert!(bytes < 300 << 10, "{bytes}");
    }
}

#[test]
fn a_collection_that_cannot_be_archived_is_refused_with_the_reason() {
    let key = || FieldSchema { is_primary_key: true, ..field(100, "id", DataType::Int64) };
    for (fields, says) in [
        (vec![field(100, "id", DataType::Int64)], "it has no primary key"),
        (vec![key(), field(101, "vector", DataType::FloatVector)], "field \"vector\" has the dimension \"\""),
        (vec![key(), field(101, "odd", DataType::None)], "field \"odd\" has the data type None"),
        (vec![key(), field(1 << 40, "far", DataType::Bool)], "field \"far\" has the id"),
    ] {
        let error =
            Layout::new(&CollectionSchema { name: "docs".into(), fields, ..Default::default() }).unwrap_err();
        assert!(error.message.contains(says) && error.exit_code() == 3, "{error}");
    }
}
