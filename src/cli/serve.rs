//! `tapedeck serve`.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::signal;
use crate::api::{self, Api};
use crate::config::{Config, Flags};
use crate::error::{Error, Result};
use crate::task::service::Service;
use crate::task::upkeep::keep_up;
use crate::task::verification::keep_verifying;
use crate::task::work::Work;
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML)
    #[arg(long, env = "TAPEDECK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

pub async fn serve(args: Args) -> Result<()> {
    let config = Config::load(args.config.as_deref(), &args.flags)?;
    telemetry::logs(config.log_format, "info");
    let cancel = signal::stop()?;
    let token = config.token()?;
    let listener = api::listen(&config.listen, token.as_ref()).await?;
    let address = listener.local_addr().map_err(|error| Error::operator(error.to_string()))?;
    let service = Service::start(config.task_store().await?, Work::real()).await?;
    info!("listening on http://{address}");
    let api = Api {
        service: service.clone(),
        token,
        cdc: Arc::new(config.cdc),
        looks: Arc::default(),
        process: telemetry::metrics(),
    };
    let stopping = async {
        cancel.cancelled().await;
        service.stop().await;
    };
    let verifying = async {
        if let Some(every) = config.verify_every {
            keep_verifying(&service, every.0, &cancel).await;
        }
    };
    let upkeep = AbortOnDropHandle::new(tokio::spawn(keep_up(service.clone(), cancel.clone())));
    tokio::join!(api::serve(api, listener, cancel.clone()), stopping, verifying);
    drop(upkeep);
    info!("stopped");
    Ok(())
}
