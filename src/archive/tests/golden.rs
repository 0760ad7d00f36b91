//! The golden archive: a manifest, which is written as it always was, and a file, which is read for ever. How a file is
//! encoded is left to the library that writes Parquet, and may change with it.

use std::path::PathBuf;

use bytes::Bytes;

use super::rows::archive_all;
use super::sample::{Action, Recorder, archived, manifests};
use crate::archive::archiver::Limits;
use crate::archive::manifest::seal;
use crate::log::commit;
use crate::log::layout;
use crate::log::tests::sample::LOG_ID;
use crate::pb::log::{ArchiveFile, ArchiveManifest, ObjectRef};
use crate::position::Seq;
use crate::store::Store;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("formats/golden/v1")
}

async fn recorded() -> (Store, Recorder) {
    let store = Store::memory();
    let mut recorder = Recorder::new(&store).await;
    for action in [
        Action::Insert { table: 0, partition: 0, keys: vec![7, 3, 9], again: false },
        Action::Upsert { table: 0, partition: 0, keys: vec![3] },
        Action::Delete { table: 0, partition: None, keys: vec![7], again: false },
    ] {
        recorder.act(&action).await;
    }
    recorder.commit().await;
    archive_all(&store, Limits::default()).await;
    (store, recorder)
}

/// The manifest over the file in the folder. Its rows are a sample: the golden commits do not have them.
fn golden(file: ArchiveFile, stored: &Bytes) -> (Bytes, String) {
    let object = file.object.clone().unwrap();
    let digest = commit::digest(stored);
    let tsos = [object.first_tso, object.last_tso].map(crate::tick::Tso);
    let key = layout::archive_file([&file.database, &file.collection], file.collection_id, tsos, &digest);
    let object = ObjectRef {
        key: key.clone(),
        length: stored.len() as u64,
        digest: Bytes::copy_from_slice(&digest),
        ..object
    };
    let last = std::fs::read(folder().join(layout::commit(Seq(3)))).unwrap();
    let manifest = ArchiveManifest {
        n: 1,
        log_id: LOG_ID.into(),
        archiver: Bytes::from_static(&[4; 16]),
        first_seq: 1,
        last_seq: 3,
        commit_digest: Bytes::copy_from_slice(&commit::digest(&last)),
        wall_time_ms: 1_795_411_940_000,
        files: vec![ArchiveFile { object: Some(object), ..file }],
        ..Default::default()
    };
    (seal(manifest).0, key)
}

#[tokio::test]
async fn a_golden_manifest_is_written_as_it_always_was_and_its_file_is_read() {
    let (store, recorder) = recorded().await;
    let file = manifests(&store).await.remove(0).files.remove(0);
    let manifest_path = folder().join(layout::manifest(1));
    if std::env::var_os("TAPEDECK_WRITE_GOLDEN").is_some() {
        let bytes = store.get(&file.object.clone().unwrap().key).await.unwrap().unwrap();
        let (manifest, key) = golden(file.clone(), &bytes);
        for (path, bytes) in [(folder().join(key), bytes), (manifest_path.clone(), manifest)] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
    let stored = crate::log::tests::golden::stored().await;
    let [named] = &manifests(&stored).await[..] else { panic!("one manifest") };
    let key = &named.files[0].object.as_ref().unwrap().key;
    let (manifest, _) = golden(file, &stored.get(key).await.unwrap().unwrap());
    assert_eq!(std::fs::read(manifest_path).unwrap(), manifest, "no longer written in the same way");
    assert_eq!(archived(&stored).await, recorder.oracle());
}
