//! DuckDB and pandas read an archive as it is. They are fetched from the Python package index: where that cannot be
//! reached these tests fail.

#[allow(dead_code, reason = "shared with the flow tests")]
#[path = "../flow/oracle.rs"]
mod oracle;
#[allow(dead_code, reason = "shared with the flow tests")]
#[path = "../flow/stage.rs"]
mod stage;
#[allow(dead_code, reason = "shared with the flow tests")]
#[path = "../flow/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tapedeck::log::store::Store;
use tapedeck::source::memory::CollectionSpec;
use world::{Duplicates, World};

const TAPEDECK: &str = env!("CARGO_BIN_EXE_tapedeck");

/// What it says on standard output; it must end well.
fn run(program: impl AsRef<Path>, args: &[&str]) -> String {
    let program = program.as_ref();
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{} {args:?} ended with {}:\n{out}{err}",
        program.display(),
        output.status
    );
    out
}

/// A Python with DuckDB and pandas, in the build's folder.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("archive-venv");
        let (python, folder) = (venv.join("bin/python"), venv.to_str().unwrap());
        if !venv.join("bin/pip").exists() {
            run("python3", &["-m", "venv", "--clear", folder]);
        }
        let needed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/archive/requirements.txt");
        let quietly = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", needed];
        run(&python, &quietly);
        python
    })
}

fn read(test: &str, files: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/archive/read.py");
    run(python(), &[script, test, files]);
}

#[test]
fn every_type_is_read_by_duckdb_and_pandas() {
    read(
        "types",
        concat!(env!("CARGO_MANIFEST_DIR"), "/formats/golden/v1/archive/default/docs-101/*.parquet"),
    );
}

/// A log in a folder: key 7 came, was upserted and, after its collection got another name, deleted.
fn recorded() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    stage::process(async {
        let (store, mut world) = (Store::memory(), World::new(2, 0, Duplicates::Kept));
        world.create(CollectionSpec::new("docs"));
        let partition = world.tables[0].default_partition();
        world.insert(0, partition, &(0..100).collect::<Vec<_>>());
        world.upsert(0, partition, &[7, 8]);
        stage::record_all(&mut world, &store).await;
        world.rename(0, 1, "papers");
        world.delete(0, Some(partition), &[6, 7]);
        world.insert(0, partition, &[6]);
        stage::record_all(&mut world, &store).await;
        for (key, _) in store.list("", None).await.unwrap() {
            let path = folder.path().join(&key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, store.get(&key).await.unwrap().unwrap()).unwrap();
        }
    });
    folder
}

#[test]
fn the_command_archives_a_log_and_the_readme_tells_who_deleted_key_7_and_when() {
    let folder = recorded();
    let url = folder.path().to_str().unwrap();
    let report = run(TAPEDECK, &["log", "archive", url]);
    assert!(report.contains("\"inserted\": 101") && report.contains("\"deleted\": 2"), "{report}");
    assert!(report.contains("\"upserted\": 2") && report.contains("\"files\": 1"), "{report}");
    read("deleted", url);
    let again = run(TAPEDECK, &["log", "archive", url]);
    assert!(again.contains("\"files\": 0") && again.contains("\"manifests\": 0"), "{again}");
    let verified = run(TAPEDECK, &["log", "verify", url, "--deep"]);
    assert!(verified.contains("\"rows\": 105") && verified.contains("\"damages\": []"), "{verified}");
}
