//! `tapedeck task`: tasks of a service.

use reqwest::Method;

use super::client::{Server, ServerArgs};
use super::{SpecFile, listed, print_json};
use crate::api::{TaskList, TaskView};
use crate::error::{Error, Result};
use crate::task::events::Event;
use crate::task::spec::TaskSpec;
use crate::task::validate;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Create a task and start it
    Create {
        #[command(flatten)]
        spec: SpecFile,
        /// Create it even if a connection does not work now
        #[arg(long)]
        no_check: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// All tasks
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// One task: what was asked for and how it is
    Get(Named),
    /// Stop a task until it is resumed
    Pause(Named),
    /// Start a paused or failed task again
    Resume(Named),
    /// Stop a task and forget it; its log stays
    Delete(Named),
    /// What happened to a task
    Events {
        #[command(flatten)]
        named: Named,
        /// Oldest first, and wait for more
        #[arg(long)]
        follow: bool,
    },
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// The task's name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl Named {
    fn path(&self, rest: &str) -> Result<String> {
        validate::name(&self.name)?;
        Ok(format!("/v1/tasks/{}{rest}", self.name))
    }

    async fn ask(&self, method: Method, rest: &str) -> Result<()> {
        let answer = Server::new(&self.server)?.ask::<TaskView>(method, &self.path(rest)?, None).await?;
        answer.map_or(Ok(()), |answer| print_json(&answer))
    }
}

pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Create { spec, no_check, server } => {
            let document = spec.bytes()?;
            // What can be known here is said without a service.
            TaskSpec::parse(&document)?;
            let path = format!("/v1/tasks?check={}", !no_check);
            let created = Server::new(&server)?.ask::<TaskView>(Method::POST, &path, Some(document)).await?;
            print_json(&created)
        }
        Command::List { json, server } => list(&Server::new(&server)?, json).await,
        Command::Get(named) => named.ask(Method::GET, "").await,
        Command::Pause(named) => named.ask(Method::POST, "/pause").await,
        Command::Resume(named) => named.ask(Method::POST, "/resume").await,
        Command::Delete(named) => named.ask(Method::DELETE, "").await,
        Command::Events { named, follow } => {
            let server = Server::new(&named.server)?;
            if follow {
                return server
                    .follow(&named.path("/events?follow")?, |data| {
                        let event = serde_json::from_str(data);
                        show(&event.map_err(|error| Error::operator(format!("no event: {error}")))?)
                    })
                    .await;
            }
            let answer =
                server.ask::<crate::api::EventList>(Method::GET, &named.path("/events")?, None).await?;
            answer.into_iter().flat_map(|list| list.events).try_for_each(|event| show(&event))
        }
    }
}

async fn list(server: &Server, json: bool) -> Result<()> {
    let mut after = String::new();
    loop {
        let page = server.ask::<TaskList>(Method::GET, &format!("/v1/tasks{after}"), None).await?;
        let Some(TaskList { tasks, next }) = page else { return Ok(()) };
        for task in &tasks {
            if json { print_json(task)? } else { listed(line(task))? }
        }
        match next {
            Some(next) => after = format!("?after={next}"),
            None => return Ok(()),
        }
    }
}

fn line(task: &TaskView) -> String {
    let (spec, status) = (&task.spec, &task.status);
    let lag =
        status.apply_lag_s.or(status.record_lag_s).map(|lag| format!("lag {lag:.1} s")).unwrap_or_default();
    let why = status.last_error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
    let why = if matches!(status.state.as_str(), "degraded" | "failed") { why } else { "" };
    format!("{:<24} {:<10} {:<9} {lag:<16} {why}", spec.name, spec.kind.as_str(), status.state.as_str())
        .trim_end()
        .to_owned()
}

fn show(event: &Event) -> Result<()> {
    let advice = event.advice.as_ref().map(|advice| format!(" ({advice})")).unwrap_or_default();
    listed(format!("{} {:<9} {}{advice}", event.at, event.what, event.message))
}
