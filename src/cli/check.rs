//! `tapedeck check`: every connection of a task, one line each.

use super::{SpecFile, print};
use crate::error::{Error, Result};
use crate::task::check;
use crate::telemetry::{self, LogFormat};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    spec: SpecFile,
}

pub async fn check(args: Args) -> Result<()> {
    telemetry::logs(LogFormat::Text, "off");
    let spec = args.spec.read()?;
    let mut worst: Option<Error> = None;
    let checks = check::check(&spec).await;
    let count = checks.len();
    for check in checks {
        match check.outcome {
            Ok(says) => print(format!("ok      {}: {says}", check.what))?,
            Err(error) => {
                print(format!("FAILED  {}: {error}", check.what))?;
                if let Some(advice) = &error.advice {
                    print(format!("        {advice}"))?;
                }
                if worst.as_ref().is_none_or(|worst| worst.exit_code() < error.exit_code()) {
                    worst = Some(error);
                }
            }
        }
    }
    match worst {
        None => print(format!("all {count} connections work")),
        Some(worst) => Err(Error { message: "not every connection works".to_owned(), advice: None, ..worst }),
    }
}
