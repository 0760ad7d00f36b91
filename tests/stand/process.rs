//! The built binary as a real process, which never outlives the tests.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{Failure, Outcome, Stand, fail};

/// A running `tapedeck`. Dropped, it is killed.
pub struct Process {
    child: Child,
    watchdog: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `tapedeck` with arguments; what it says is appended to a file.
    pub fn start(stand: &Stand, arguments: &[&str], log: &Path) -> Outcome<Process> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = Command::new(env!("CARGO_BIN_EXE_tapedeck"))
            .args(arguments)
            .env("TAPEDECK_TEST_S3_KEY", &stand.minio.access_key)
            .env("TAPEDECK_TEST_S3_SECRET", &stand.minio.secret_key)
            .env("AWS_ACCESS_KEY_ID", &stand.minio.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &stand.minio.secret_key)
            .env("TAPEDECK_TEST_TARGET_TOKEN", stand.target.token.as_deref().unwrap_or_default())
            .env("TAPEDECK_TEST_WRONG", "wrong")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        // its standard input ends with the tests, also when they are killed: statics are never dropped
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -KILL $0", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Process { child, watchdog, log: log.into() })
    }

    /// SIGTERM; returns how it ended, which it must within `within`.
    pub async fn terminate(&mut self, within: Duration) -> Outcome<ExitStatus> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        self.exit(within).await
    }

    /// kill -9.
    pub fn kill(&mut self) -> Outcome {
        // first, so that it cannot meet another process under the same id
        self.watchdog.kill()?;
        self.watchdog.wait()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its own end.
    pub async fn exit(&mut self, within: Duration) -> Outcome<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if begin.elapsed() > within {
                return fail(format!("tapedeck still runs after {within:?}\n{}", self.tail()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The end of what it said, for failures.
    pub fn tail(&self) -> String {
        tail(&self.log)
    }

    /// The most memory that it has had, in MiB.
    pub fn peak_memory(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib =
            line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
        kib.map(|kib| kib / 1024).ok_or_else(|| Failure("no VmHWM".into()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The last lines of a file.
pub fn tail(log: &Path) -> String {
    const LINES: usize = 30;
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines = text.lines().collect::<Vec<_>>();
    format!("--- last lines of {}\n{}", log.display(), lines[lines.len().saturating_sub(LINES)..].join("\n"))
}

/// What a command that ended by itself said and its exit code.
pub struct Done {
    pub code: Option<i32>,
    pub output: String,
}

/// Runs `tapedeck` to its end. The output goes to a file of this name.
pub async fn run(stand: &Stand, arguments: &[&str], name: &str, within: Duration) -> Outcome<Done> {
    let log = stand.scratch()?.join(format!("{name}.log"));
    let status = Process::start(stand, arguments, &log)?.exit(within).await?;
    Ok(Done { code: status.code(), output: String::from_utf8_lossy(&fs::read(&log)?).into_owned() })
}
