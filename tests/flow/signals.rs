//! Processes that are told to stop.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

/// A `tapedeck` of a test; ends with it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(arguments: &[&str], stderr: impl Into<Stdio>) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapedeck"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Process(command.spawn().unwrap())
    }

    /// Sends SIGTERM; the exit code.
    fn terminate(&mut self) -> Option<i32> {
        let told = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        assert!(told.success());
        let mut code = None;
        within_a_minute("an end", || {
            code = self.0.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        });
        code.flatten()
    }
}

fn within_a_minute(what: &str, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !seen() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_service_whose_log_nobody_reads_serves_and_stops_when_it_is_told_to() {
    let state = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (listen, state) = (address.to_string(), state.path().to_str().unwrap());
    let mut service = Process::start(&["serve", "--listen", &listen, "--state", state], writer);
    within_a_minute("an open port", || TcpStream::connect(address).is_ok());
    assert_eq!(service.terminate(), Some(0));
}

#[test]
fn a_replay_that_is_stopped_before_its_end_does_not_exit_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/formats/golden/v1");
    let log = folder.path().join("log");
    assert!(Command::new("cp").args(["-r", golden, log.to_str().unwrap()]).status().unwrap().success());
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = folder.path().join("replay.json");
    let document = json!({
        "name": "r", "kind": "replay", "until": "latest",
        "log": {"url": format!("file://{}", log.display())},
        "target": {"uri": format!("http://{}", target.local_addr().unwrap())},
    });
    std::fs::write(&spec, document.to_string()).unwrap();
    let mut run = Process::start(&["run", "--no-check", "--spec", spec.to_str().unwrap()], Stdio::null());
    // it has begun when it asks its target, which never answers
    target.set_nonblocking(true).unwrap();
    within_a_minute("a question to the target", || target.accept().is_ok());
    assert_eq!(run.terminate(), Some(1));
}
