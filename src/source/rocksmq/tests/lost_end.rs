//! A RocksMQ whose folder was put back to an older copy.

use std::path::Path;

use super::*;

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Messages that an older copy holds, and those that it does not.
struct Written {
    kept: Range<Position>,
    lost: Range<Position>,
    copy: TempDir,
}

impl Written {
    fn by(milvus: Primary) -> (Primary, Written) {
        let mut milvus = milvus;
        let kept = milvus.produce("dml_0", ["a", "b", "c"]);
        let (next, folder) = milvus.stop();
        let saved = tempfile::tempdir().unwrap();
        copy(&folder.path().join("rdb_data"), &saved.path().join("rdb_data"));
        let mut milvus = Primary { next, ..Primary::start_in(folder) };
        let lost = milvus.produce("dml_0", ["d", "e"]);
        (milvus, Written { kept, lost, copy: saved })
    }

    /// Puts the copy in the place of the RocksMQ, whose ids jump as at every start.
    fn put_back(&self, milvus: Primary) -> Primary {
        let (next, folder) = milvus.stop();
        let path = folder.path().join("rdb_data");
        fs::remove_dir_all(&path).unwrap();
        copy(&self.copy.path().join("rdb_data"), &path);
        Primary { next: next + 1_000_000, ..Primary::start_in(folder) }
    }
}

fn assert_truncated(error: &Error, from: Position) {
    assert_eq!(error.verdict, Verdict::Refused, "{error}");
    for part in ["channel dml_0 was re-created or truncated", &format!("position {from}")] {
        assert!(error.message.contains(part), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_lost_its_end_is_refused_also_when_it_was_written_on() {
    let (milvus, written) = Written::by(Primary::start());
    let channel = Channel::from("dml_0");
    let mut milvus = written.put_back(milvus);
    let more = milvus.produce("dml_0", ["f", "g"]);
    let queue = milvus.read().await;
    // the message that was read last, and the place after it
    for from in [written.lost.start.next(), written.lost.end] {
        let Err(error) = queue.subscribe(&channel, from).await else { panic!("subscribed at {from}") };
        assert_truncated(&error, from);
    }
    // what lies on what the copy holds is right
    for from in [written.kept.start, written.kept.end, more.start, more.end] {
        let mut read = queue.subscribe(&channel, from).await.unwrap();
        if from < more.end {
            take(&mut read, 2).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_replaced_ends_the_reading() {
    let (milvus, written) = Written::by(Primary::start());
    let queue = milvus.read().await;
    let mut read = queue.subscribe(&"dml_0".into(), written.kept.start).await.unwrap();
    take(&mut read, 5).await;
    // nobody waits, so nobody looks while the files change
    drop(read);
    let mut milvus = written.put_back(milvus);
    milvus.produce("dml_0", ["f", "g"]);
    let error = queue.subscribe(&"dml_0".into(), written.kept.start).await.err().expect("a refusal");
    assert_eq!(error.verdict, Verdict::Operator, "{error}");
    assert!(error.message.contains("was replaced"), "{error}");
    let again = milvus.read().await.subscribe(&"dml_0".into(), written.lost.end).await;
    assert_truncated(&again.err().expect("a refusal"), written.lost.end);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_only_idle_or_expired_is_not_lost() {
    let mut milvus = Primary::start();
    let channel = Channel::from("dml_0");
    let written = milvus.produce("dml_0", ["a", "b", "c"]);
    milvus.produce("dml_1", ["other"]);
    let queue = milvus.read().await;
    let mut idle = queue.subscribe(&channel, written.end).await.unwrap();
    milvus.expire("dml_0", written.start.next());
    queue.subscribe(&channel, written.end).await.unwrap();
    milvus.expire("dml_0", written.end);
    queue.identity().await.unwrap(); // catches up
    assert!(timeout(Duration::from_millis(200), idle.next()).await.is_err());
    let error = queue.subscribe(&channel, written.end).await.err().unwrap();
    assert_eq!(error.verdict, Verdict::Operator, "{error}");
}
