//! Commands whose words nobody reads.

use std::process::{Command, Stdio};

/// The exit code of `tapedeck`, with both its outputs closed.
fn run(arguments: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapedeck"));
    command.args(arguments).stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    command.status().unwrap().code()
}

#[test]
fn a_verdict_is_in_the_exit_code_though_nobody_reads_the_words() {
    let damaged = tempfile::tempdir().unwrap();
    std::fs::write(damaged.path().join("log.json"), "{").unwrap();
    assert_eq!(run(&["log", "verify", damaged.path().to_str().unwrap()]), Some(3));
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/formats/golden/v1");
    assert_eq!(run(&["log", "ls", golden]), Some(0));
}
