//! The program: a table of contents.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tapedeck::cli::Cli;
use tapedeck::error::{Error, Result};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let advice = error.advice.iter().map(|advice| format!("          {advice}\n"));
            // Nobody may be reading; the exit code stays.
            let _ = write!(std::io::stderr(), "tapedeck: {error}\n{}", advice.collect::<String>());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    // An error means that there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Error::operator(format!("the runtime cannot start: {error}")))?;
    let outcome = runtime.block_on(cli.run());
    // What blocks (a client's thread, a slow disk) does not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}
