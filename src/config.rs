//! The service's configuration: a TOML file, then the environment (`TAPEDECK_...`), then flags; later ones win.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::Provider;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::api::{CdcDefaults, Token};
use crate::error::{Error, Result};
use crate::period::Period;
use crate::task::connect;
use crate::task::secret::Secret;
use crate::task::spec::StoreSpec;
use crate::task::store::TaskStore;
use crate::telemetry::LogFormat;

const TOKEN: &str = "TAPEDECK_TOKEN";
const FROM_ENVIRONMENT: [&str; 4] = ["listen", "state", "log_format", "verify_every"];

/// What the service is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the API.
    pub listen: String,
    /// Where the task documents are: a folder, or the URL of an object store.
    pub state: String,
    /// How to reach that store.
    pub state_options: StoreSpec,
    /// The token that requests must carry; without one, that in the environment variable `TAPEDECK_TOKEN`.
    pub token: Option<Secret>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// How often the log of each task that records is verified; without it never.
    pub verify_every: Option<Period>,
    /// What requests of milvus-cdc's dialect leave out.
    pub cdc: CdcDefaults,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: "127.0.0.1:8444".to_owned(),
            state: "tapedeck-state".to_owned(),
            state_options: StoreSpec::default(),
            token: None,
            log_format: LogFormat::Text,
            verify_every: None,
            cdc: CdcDefaults::default(),
        }
    }
}

/// Flags that take the place of settings.
#[derive(Clone, Debug, Default, Serialize, clap::Args)]
pub struct Flags {
    /// Address of the API [default: 127.0.0.1:8444]
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Where the task documents are: a folder or file://, s3://... [default: tapedeck-state]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// File with the token that requests must carry (else the variable TAPEDECK_TOKEN)
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub token_file: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// How often the log of each task that records is verified, e.g. 24h [default: never]
    #[arg(long, value_name = "PERIOD")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_every: Option<Period>,
}

impl Config {
    /// From a file, the environment and flags.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Config> {
        Config::join(file, Env::prefixed("TAPEDECK_").only(&FROM_ENVIRONMENT), flags)
    }

    fn join(file: Option<&Path>, environment: impl Provider, flags: &Flags) -> Result<Config> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        let figment = figment.merge(environment).merge(Serialized::defaults(flags));
        let mut config: Config = figment.extract().map_err(|error| {
            Error::usage(format!("configuration: {error}"))
                .advice("deploy/config.example.toml shows every setting")
        })?;
        if let Some(file) = &flags.token_file {
            config.token = Some(Secret::File(std::path::absolute(file).unwrap_or_else(|_| file.clone())));
        }
        Ok(config)
    }

    /// The token that requests must carry.
    pub fn token(&self) -> Result<Option<Token>> {
        Ok(token(self.token.as_ref())?.map(|secret| Token::new(&secret)))
    }

    /// Where the task documents are.
    pub async fn task_store(&self) -> Result<TaskStore> {
        Ok(TaskStore::new(connect::store(&url(&self.state)?, &self.state_options).await?))
    }
}

/// The token of a server or a client: that of the reference, else of the environment.
pub fn token(reference: Option<&Secret>) -> Result<Option<String>> {
    let secret = match reference {
        Some(reference) => Some(reference.resolve()?),
        None => std::env::var(TOKEN).ok(),
    };
    match secret {
        Some(secret) if secret.is_empty() => Err(Error::usage("the token is empty")
            .advice("write one into its file or variable, e.g. openssl rand -hex 32")),
        secret => Ok(secret),
    }
}

/// A URL, or the one of a folder.
pub fn url(text: &str) -> Result<String> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    let folder = std::path::absolute(text).ok().and_then(|path| url::Url::from_directory_path(path).ok());
    // Read again, the URL is without dots.
    let folder = folder.and_then(|url| url::Url::parse(url.as_str()).ok());
    folder.map(String::from).ok_or_else(|| Error::usage(format!("\"{text}\" is neither a folder nor a URL")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tapedeck.toml");
        std::fs::write(
            &file,
            "listen = \"file:1\"\nstate = \"file\"\nlog_format = \"json\"\n[state_options]\nsecret_access_key = { env = \"KEY\" }\n",
        )
        .unwrap();
        let environment = Serialized::defaults(
            serde_json::json!({"listen": "env:1", "state": "env", "verify_every": "24h"}),
        );
        let flags = Flags { listen: Some("flag:1".to_owned()), ..Flags::default() };
        let config = Config::join(Some(&file), environment, &flags).unwrap();
        assert_eq!((config.listen.as_str(), config.state.as_str()), ("flag:1", "env"));
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.verify_every, Some("24h".parse().unwrap()));
        assert_eq!(config.state_options.secret_access_key, Some(Secret::Env("KEY".to_owned())));
    }

    #[test]
    fn a_setting_that_does_not_exist_is_refused_and_a_literal_secret_never_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tapedeck.toml");
        for (text, message) in [
            ("colour = 1", "colour"),
            ("token = \"hunter2\"", "a secret itself may not stand"),
            ("verify_every = \"daily\"", "\"daily\" is no period of a second or more: write e.g. 24h"),
            ("verify_every = \"0s\"", "\"0s\" is no period"),
            ("verify_every = 24", "expected a string"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = Config::load(Some(&file), &Flags::default()).unwrap_err();
            assert!(error.message.contains(message) && !error.message.contains("hunter2"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        assert!(Config::load(Some(&folder.path().join("none.toml")), &Flags::default()).is_err());
    }

    /// With and without what is commented out.
    #[test]
    fn the_example_is_a_configuration() {
        let example = include_str!("../deploy/config.example.toml");
        let setting = |line: &str| {
            let rest = line.strip_prefix("# ").unwrap_or(line);
            if rest.starts_with('[') || rest.contains(" = ") { rest.to_owned() } else { String::new() }
        };
        let all = example.lines().map(setting).collect::<Vec<_>>().join("\n");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tapedeck.toml");
        for (text, has_source) in [(example, false), (all.as_str(), true)] {
            std::fs::write(&file, text).unwrap();
            let nothing = Env::prefixed("TAPEDECK_").only(&[]);
            let config = Config::join(Some(&file), nothing, &Flags::default());
            assert_eq!(config.unwrap().cdc.source.is_some(), has_source);
        }
    }

    #[test]
    fn a_folder_is_the_url_of_the_folder() {
        assert_eq!(url("/var/lib/tape deck").unwrap(), "file:///var/lib/tape%20deck/");
        assert_eq!(url("s3://bucket/state").unwrap(), "s3://bucket/state");
        assert_eq!(url("/var/./lib/../state").unwrap(), "file:///var/state/");
        assert!(url("state").unwrap().starts_with("file:///"));
    }
}
