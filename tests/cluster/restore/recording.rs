//! A log in a folder, recorded from before its collections exist, and the commands on it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tapedeck::change::CollectionName;

use crate::stand::process::{Done, run};
use crate::stand::{Outcome, RUN, Service, Stand, ensure, task};

/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(120);

pub struct Recording {
    pub stand: Stand,
    pub service: Service,
    pub task: String,
    log: PathBuf,
}

impl Recording {
    pub async fn start(stand: Stand, test: &str) -> Outcome<Recording> {
        let service = Service::start(&stand, test).await?;
        let task = task(test);
        let log = stand.scratch()?.join(format!("{test}.tape"));
        let recording = Recording { stand, service, task, log };
        let mut spec =
            recording.stand.record(&recording.task, test, &[&format!("default.own_{}_{test}_*", *RUN)]);
        spec["log"] = json!({ "url": recording.url() });
        let api = &recording.service.api;
        api.create(&spec).await?;
        api.waits_for(&recording.task, "the log opened", |status| status["opens_at"]["tso"].is_u64()).await?;
        Ok(recording)
    }

    /// Of the log.
    pub fn url(&self) -> String {
        format!("file://{}", self.log.display())
    }

    /// Replays it as it grows; returns the task's name.
    pub async fn follow(&self) -> Outcome<String> {
        let name = format!("{}-live", self.task);
        let mut spec = self.stand.replay(&name, "");
        spec["log"] = json!({ "url": self.url() });
        self.service.api.create(&spec).await?;
        Ok(name)
    }

    /// Waits until the log holds an instant.
    pub async fn holds(&self, tso: u64) -> Outcome {
        let held = |status: &Value| status["recorded_to"]["tso"].as_u64() >= Some(tso);
        self.service.api.waits_for(&self.task, "the last change recorded", held).await
    }

    /// The command that restores collections at an instant under other names.
    pub fn command(&self, instant: u64, copies: &[(&CollectionName, CollectionName)]) -> Vec<String> {
        let words = ["restore", "--log", &self.log.display().to_string(), "--to", &instant.to_string()];
        let mut command = words.map(str::to_owned).to_vec();
        command.extend(["--target".into(), self.stand.target.uri.clone()]);
        command.extend(["--token-env".into(), "TAPEDECK_TEST_TARGET_TOKEN".into()]);
        for (name, copy) in copies {
            command.extend(["--select".into(), name.to_string()]);
            command.extend(["--rename".into(), format!("{name}={copy}")]);
        }
        command
    }

    /// Runs a command to its end; what it says goes to a file of this name.
    pub async fn run(&self, command: &[String], name: &str) -> Outcome<Done> {
        let words = command.iter().map(String::as_str).collect::<Vec<_>>();
        run(&self.stand, &words, name, COMMAND).await
    }

    /// Runs a command on the log, which must end well; returns what it prints.
    pub async fn on_log(&self, command: &[&str], options: &[&str], name: &str) -> Outcome<String> {
        let url = self.url();
        let words = [command, &[&url], options].concat();
        let done = run(&self.stand, &words, name, COMMAND).await?;
        ensure(done.code == Some(0), || format!("{words:?}: exit code {:?}\n{}", done.code, done.output))?;
        Ok(done.output)
    }
}
