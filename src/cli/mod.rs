//! The command line.

mod archive;
mod base;
mod check;
mod client;
mod compare;
mod keygen;
mod log;
mod progress;
mod prune;
mod restore;
mod run;
mod selected;
mod serve;
mod signal;
mod task;
mod timeline;
mod verify;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::task::spec::TaskSpec;
use crate::tick::Tso;

const MOST_SPEC_BYTES: u64 = 1 << 20;

/// Record, rewind and replay for Milvus.
///
/// Exit codes: 0 done, 1 failed, 2 usage, 3 refused (a gap, a fence, damage).
#[derive(Debug, Parser)]
#[command(name = "tapedeck", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The service: HTTP API and tasks
    Serve(serve::Args),
    /// One task in the foreground, with progress
    Run(run::Args),
    /// Replay a log to an instant, exactly
    Restore(restore::Args),
    /// Store the state of a log, so that restores need nothing before it
    Base(base::Args),
    /// Whether a target holds what its source holds
    Compare(compare::Args),
    /// Tasks of a service
    #[command(subcommand)]
    Task(task::Command),
    /// Look into a log; no service needed
    #[command(subcommand)]
    Log(log::Command),
    /// Try every connection of a task and say what is wrong
    Check(check::Args),
    /// Make a key for encrypted logs
    Keygen(keygen::Args),
    /// A script that completes commands in a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

impl Cli {
    /// Does what was asked for.
    pub async fn run(self) -> Result<()> {
        match self.command {
            Command::Serve(args) => serve::serve(args).await,
            Command::Run(args) => run::run(args).await,
            Command::Restore(args) => restore::restore(args).await,
            Command::Base(args) => base::run(args).await,
            Command::Compare(args) => compare::compare(args).await,
            Command::Task(command) => task::run(command).await,
            Command::Log(command) => log::run(command).await,
            Command::Check(args) => check::check(args).await,
            Command::Keygen(args) => keygen::keygen(&args),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "tapedeck", &mut script);
                print(String::from_utf8_lossy(&script).trim_end())
            }
        }
    }
}

/// Where a task document is.
#[derive(Debug, clap::Args)]
struct SpecFile {
    /// The task document (JSON); - reads it from standard input
    #[arg(long, short = 'f', value_name = "FILE")]
    spec: PathBuf,
}

impl SpecFile {
    fn bytes(&self) -> Result<Vec<u8>> {
        let failed = |error: std::io::Error| {
            Error::usage(format!("the task document {} cannot be read: {error}", self.spec.display()))
        };
        let input: Box<dyn Read> = if self.spec == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(&self.spec).map_err(failed)?)
        };
        let mut bytes = Vec::new();
        input.take(MOST_SPEC_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn read(&self) -> Result<TaskSpec> {
        TaskSpec::parse(&self.bytes()?)
    }
}

/// An instant on the command line, refused with what to write.
fn instant(text: &str) -> std::result::Result<Tso, String> {
    text.parse().map_err(|error: Error| match error.advice {
        Some(advice) => format!("{}; {advice}", error.message),
        None => error.message,
    })
}

/// A line on standard output. Whoever reads it may stop doing so (`| head`): then the work goes on without
/// words, and its exit code says what came of it.
fn print(line: impl std::fmt::Display) -> Result<()> {
    written(line).map(drop)
}

/// A line of a listing, which is over when nobody reads it any more.
fn listed(line: impl std::fmt::Display) -> Result<()> {
    if written(line)? { Ok(()) } else { std::process::exit(0) }
}

/// False: nobody reads any more.
fn written(line: impl std::fmt::Display) -> Result<bool> {
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::operator(format!("cannot write to standard output: {error}"))),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(serde_json::to_string_pretty(value).map_err(|error| Error::operator(error.to_string()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_instant_that_is_none_is_refused_with_what_to_write() {
        let error =
            Cli::try_parse_from(["tapedeck", "log", "timeline", "file:///log", "--from", "yesterday"]);
        let error = error.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("write a TSO such as 470656465160896520, or a time"), "{error}");
    }

    #[test]
    fn a_comparison_takes_its_two_from_one_place() {
        for line in [
            "compare",
            "compare http://h:1",
            "compare http://h:1 http://h:2 --task a",
            "compare http://h:1 http://h:2 --spec task.json",
            "compare --task a --spec task.json",
            "compare --task a --select db.a",
            "compare --spec task.json --source-token-env S",
            "compare http://h:1 http://h:2 --keys 1001",
            "compare http://h:1 http://h:2 --source-token-env S --source-token-file s",
        ] {
            let error = Cli::try_parse_from(std::iter::once("tapedeck").chain(line.split(' ')));
            assert_eq!(error.map_err(|error| error.exit_code()).err(), Some(2), "{line}");
        }
    }

    #[test]
    fn the_commands_of_the_design_parse() {
        for line in [
            "serve --config c.toml --listen 127.0.0.1:8444 --state file:///s --verify-every 24h",
            "run --spec task.json",
            "task create --spec task.json",
            "task list",
            "task get a",
            "task events a --follow",
            "log ls file:///log",
            "log timeline file:///log --from 2026-11-23T08:00:00Z --to 470656465160896520 --period 15m --json --svg t.svg",
            "log prune s3://bucket/log --keep-window 7d --keep-bases 4 --dry-run --identity reader.key --recipient age1a --recipient age1b",
            "log keep file:///log before_release",
            "log keep file:///log before_release --at 2026-11-23T08:00:00Z",
            "log keep file:///log before_release --release",
            "log archive s3://bucket/log --endpoint http://127.0.0.1:9000 --region r",
            "log archive file:///log --identity reader.key --recipient age1a --recipient age1b",
            "log verify file:///log --deep",
            "log verify s3://bucket/log --endpoint http://127.0.0.1:9000 --since 2026-11-23T08:00:00Z",
            "base file:///log --at 2026-11-23T08:00:00Z --identity reader.key --recipient age1a --json",
            "restore --log s3://bucket/log --to 2026-11-23T08:00:00Z --target http://h:1 --token-env T --plan",
            "restore --log l --to 9 --target http://h:1 --select a.* --exclude a.b --rename a.c=a.d --skip 12:3",
            "compare http://h:1 http://h:2 --source-token-env S --target-token-file f --select a.* --exclude a.b --rename a.c=a.d",
            "compare http://h:1 https://h:2 --at 2026-11-23T08:00:00Z --wait 30s --keys 20 --json",
            "compare --task a --api http://127.0.0.1:8444 --token-file f --at 470656465160896520",
            "compare --spec task.json",
            "check --spec task.json",
            "keygen",
            "keygen -o reader.key",
            "log cat file:///log --identity reader.key",
            "restore --log l --to 9 --target http://h:1 --identity reader.key --recipient age1a",
            "completions bash",
        ] {
            Cli::try_parse_from(std::iter::once("tapedeck").chain(line.split(' '))).unwrap();
        }
    }
}
