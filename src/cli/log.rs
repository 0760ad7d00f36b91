//! `tapedeck log`: a look into a log.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::{archive, instant, listed, print_json, prune, timeline, verify};
use crate::config;
use crate::error::{Error, Result};
use crate::log::inspect;
use crate::log::reader::{LogReader, no_log};
use crate::log::store::Store;
use crate::position::Seq;
use crate::task::connect;
use crate::task::encryption::EncryptionSpec;
use crate::task::log::{Look, view};
use crate::task::secret::Secret;
use crate::task::spec::{LogSpec, StoreSpec};
use crate::telemetry::{self, LogFormat};
use crate::tick::Tso;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Identity, windows of restores, holes and size
    Info(Place),
    /// Commits, one line each
    Ls {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        range: Commits,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Records, one JSON object a line
    Cat {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        range: Commits,
    },
    /// What changed when, holes, rows per period, and which instants can be restored
    Timeline(timeline::Args),
    /// Check every digest and every link
    Verify {
        #[command(flatten)]
        place: Place,
        /// Only commits whose watermark is later: a TSO or RFC 3339
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        since: Option<Tso>,
        /// Also compare the rows of the archive with those of the segments
        #[arg(long)]
        deep: bool,
    },
    /// Write the rows that are committed since the last time as Parquet files
    Archive {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        readers: Readers,
    },
    /// Take away the history that is not to be kept
    Prune(prune::PruneArgs),
    /// Keep an instant under a name, whatever is pruned
    Keep(prune::KeepArgs),
}

/// Where a log is.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// s3://bucket/prefix, gs://..., az://..., file:///folder, or a folder; keys come from the environment
    url: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// How to reach its store.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// Address of a store that is not the provider's own
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Region of the store
    #[arg(long)]
    region: Option<String>,
    /// File with the secret key of an encrypted log
    #[arg(long, env = "TAPEDECK_LOG_IDENTITY_FILE", value_name = "FILE")]
    identity: Option<PathBuf>,
}

/// For whom rows that are written into an encrypted log are.
#[derive(Debug, clap::Args)]
pub struct Readers {
    /// Of an encrypted log: the public key (age1...) of one who can read its rows; give each of the task's recipients
    #[arg(long = "recipient", value_name = "KEY")]
    keys: Vec<String>,
}

impl Readers {
    /// Refuses to write rows into an encrypted log for the given key alone: the other readers were locked out.
    pub fn check(log: &LogSpec) -> Result<()> {
        match &log.encryption {
            Some(encryption) if encryption.recipients.is_empty() => {
                Err(Error::usage("the log is encrypted, and nobody is named who could read what is written")
                    .advice("give --recipient for each of the task's recipients"))
            }
            _ => Ok(()),
        }
    }
}

impl StoreArgs {
    /// The log at a URL; what is written into an encrypted one is for these readers, if there are any.
    pub fn log_for(&self, url: &str, readers: &Readers) -> Result<LogSpec> {
        with_recipients(self.log(url)?, readers.keys.clone())
    }

    /// The log at a URL.
    pub fn log(&self, url: &str) -> Result<LogSpec> {
        let options = StoreSpec {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            ..StoreSpec::default()
        };
        let identity = self.identity.as_deref().map(Secret::in_file);
        let encryption =
            identity.map(|identity| EncryptionSpec { identity: Some(identity), ..EncryptionSpec::default() });
        Ok(LogSpec { url: config::url(url)?, options, encryption })
    }
}

#[derive(Debug, clap::Args)]
pub struct Commits {
    /// First commit, instead of that with which the log begins
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Last commit
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
}

impl Place {
    fn spec(&self) -> Result<LogSpec> {
        self.store.log(&self.url)
    }

    pub(super) async fn store(&self) -> Result<Store> {
        self.store_for(Vec::new()).await
    }

    /// The store; what is written into an encrypted log is for these public keys, if there are any.
    pub(super) async fn store_for(&self, recipients: Vec<String>) -> Result<Store> {
        open(&with_recipients(self.spec()?, recipients)?).await
    }

    /// The store; rows that are written into an encrypted log are for these readers.
    pub(super) async fn store_with_rows(&self, readers: &Readers) -> Result<Store> {
        let spec = self.store.log_for(&self.url, readers)?;
        Readers::check(&spec)?;
        open(&spec).await
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.store.identity.is_some()
    }

    pub(super) async fn reader(&self) -> Result<LogReader> {
        LogReader::open(self.store().await?).await
    }
}

fn with_recipients(mut spec: LogSpec, recipients: Vec<String>) -> Result<LogSpec> {
    match &mut spec.encryption {
        Some(encryption) => encryption.recipients = recipients,
        None if recipients.is_empty() => {}
        None => return Err(Error::usage("--recipient is for an encrypted log").advice("give --identity too")),
    }
    Ok(spec)
}

async fn open(spec: &LogSpec) -> Result<Store> {
    connect::store_to_read(spec).await?.ok_or_else(|| no_log(&spec.url))
}

impl Commits {
    fn range(&self) -> Range<Seq> {
        Seq(self.from.map_or(0, |from| from.max(1)))..self.to.map_or(Seq(u64::MAX), |to| Seq(to).next())
    }
}

pub async fn run(command: Command) -> Result<()> {
    telemetry::logs(LogFormat::Text, "warn");
    match command {
        Command::Info(place) => {
            let spec = place.spec()?;
            let found = view(&spec, &mut Look::default(), Duration::MAX).await?;
            print_json(&found.ok_or_else(|| no_log(&spec.url))?)
        }
        Command::Ls { place, range, json } => {
            inspect::ls(place.reader().await?, range.range(), |row| {
                if json { listed(compact(&row)?) } else { listed(line(&row)) }
            })
            .await
        }
        Command::Cat { place, range } => {
            inspect::cat(place.reader().await?, range.range(), |record| listed(compact(&record)?)).await
        }
        Command::Timeline(args) => timeline::run(args).await,
        Command::Verify { place, since, deep } => verify::run(place.store().await?, since, deep).await,
        Command::Archive { place, readers } => archive::run(place.store_with_rows(&readers).await?).await,
        Command::Prune(args) => prune::run_prune(args).await,
        Command::Keep(args) => prune::run_keep(args).await,
    }
}

fn line(row: &inspect::Row) -> String {
    let mut marks = String::new();
    if row.fence {
        marks.push_str(" fence");
    }
    if row.holes > 0 {
        marks.push_str(&format!(" {} holes", row.holes));
    }
    format!(
        "{:>8}  epoch {:<3} {}  to {:<24}  {:>9} rows {:>4} definitions {:>11} bytes{marks}",
        row.seq, row.epoch, row.time, row.watermark_time, row.rows, row.definitions, row.bytes
    )
}

pub(super) fn compact(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::operator(error.to_string()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::archive::tests::sample::{Action, Recorder};
    use crate::cli::{Cli, Command as Main};
    use crate::log::layout;
    use crate::log::store::encryption::{Encryption, Identity, Keys, new_key, read_keys};

    /// The golden encrypted log, opened with a key.
    fn place(identity: &str) -> Place {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/formats/golden");
        let line = format!("tapedeck log info {golden}/v1-encrypted --identity {golden}/keys/{identity}");
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Main::Log(Command::Info(place)) => place,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_encrypted_log_is_looked_into_with_a_key_and_its_rows_with_that_of_a_recipient() {
        for (identity, opens_rows) in [("reader.key", true), ("recorder.key", false)] {
            let place = place(identity);
            let found = view(&place.spec().unwrap(), &mut Look::default(), Duration::MAX).await.unwrap();
            assert_eq!(found.unwrap().commits, 3, "{identity}");
            let shown = inspect::cat(place.reader().await.unwrap(), Seq(1)..Seq(4), |_| Ok(())).await;
            assert_eq!(shown.is_ok(), opens_rows, "{identity}: {shown:?}");
        }
    }

    #[tokio::test]
    async fn an_archive_and_a_base_of_an_encrypted_log_are_for_all_who_are_named_and_not_written_for_nobody()
    {
        let [folder, keys] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (one, text) = new_key(jiff::Timestamp::UNIX_EPOCH);
        let file = keys.path().join("one.key");
        std::fs::write(&file, &text).unwrap();
        let [other, own] = [(); 2].map(|()| Identity::generate());
        let (url, two) = (format!("file://{}", folder.path().display()), other.to_public());
        let view = async |keys| {
            let store = Store::open(&url, &Default::default()).await.unwrap();
            store.encrypted(Encryption::new(keys, layout::ROWS).unwrap())
        };
        let recipients = vec![one.clone(), two.clone()];
        let writes = Keys { recipients, recorder: vec![own], ..Keys::default() };
        let mut recorder = Recorder::new(&view(writes).await).await;
        recorder.act(&Action::Insert { table: 0, partition: 0, keys: vec![1], again: false }).await;
        recorder.commit().await;
        for (command, folder) in [("log archive", layout::ARCHIVE), ("base", layout::BASES)] {
            let line = format!("tapedeck {command} {url} --identity {}", file.display());
            let run = |line: String| Cli::try_parse_from(line.split(' ')).unwrap().run();
            let error = run(line.clone()).await.unwrap_err();
            assert!(error.exit_code() == 2 && error.message.contains("nobody is named"), "{error}");
            run(format!("{line} --recipient {one} --recipient {two}")).await.unwrap();
            for identity in [read_keys(&text).unwrap().remove(0), other.clone()] {
                let store = view(Keys { identities: vec![identity], ..Keys::default() }).await;
                let written = store.list(folder, None).await.unwrap();
                assert!(written.len() > 1);
                for (key, _) in written {
                    assert!(store.read(&key).await.unwrap().unwrap().is_ok(), "{key}");
                }
            }
        }
    }
}
