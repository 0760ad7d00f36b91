//! A RocksMQ that may not be read, and one that its Milvus has locked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

/// A RocksMQ of a Milvus that is stopped, its folder and the name of its manifest.
fn stopped() -> (TempDir, PathBuf, String) {
    let mut milvus = Primary::start();
    milvus.produce("dml_0", ["a"]);
    let path = milvus.path();
    let (_, folder) = milvus.stop();
    let manifest = fs::read_to_string(path.join("CURRENT")).unwrap().trim().to_owned();
    (folder, path, manifest)
}

async fn assert_unreadable(path: &Path, verdict: Verdict, says: [&str; 2]) {
    let error = RocksmqQueue::open(path).await.unwrap_err();
    assert_eq!(error.verdict, verdict, "{error}");
    assert!(error.advice.is_some());
    for part in says.into_iter().chain(path.to_str()) {
        assert!(error.message.contains(part), "{part}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_named_with_its_place() {
    let nobody = fs::Permissions::from_mode(0o000);
    let (_folder, path, manifest) = stopped();
    for name in ["", "CURRENT", "IDENTITY", &manifest] {
        let closed = path.join(name);
        let before = fs::metadata(&closed).unwrap().permissions();
        fs::set_permissions(&closed, nobody.clone()).unwrap();
        if name.is_empty() && fs::read_dir(&path).is_ok() {
            eprintln!("skipped: this user may read everything");
            return;
        }
        let named = if name.is_empty() { "CURRENT" } else { name };
        assert_unreadable(&path, Verdict::Operator, [named, "Permission denied"]).await;
        fs::set_permissions(&closed, before).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named_with_its_place() {
    for name in ["CURRENT", "IDENTITY", "MANIFEST"] {
        let (_folder, path, manifest) = stopped();
        let name = if name == "MANIFEST" { &manifest } else { name };
        fs::remove_file(path.join(name)).unwrap();
        fs::create_dir(path.join(name)).unwrap();
        assert_unreadable(&path, Verdict::Retry, [name, "Is a directory"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_running_milvus_keeps_nobody_from_reading() {
    let mut milvus = Primary::start();
    milvus.produce("dml_0", ["a"]);
    let locked = DB::open_cf(&Options::default(), milvus.path(), ["default", "properties"]).unwrap_err();
    assert!(locked.as_ref().contains("lock"), "{locked}");
    let mut read = milvus.read().await.subscribe(&"dml_0".into(), Position::offset(FIRST)).await.unwrap();
    milvus.produce("dml_0", ["b"]);
    assert_eq!(take(&mut read, 2).await[1].payload, "b");
}
