//! `tapedeck serve` and its HTTP API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::process::tail;
use super::{Failure, Outcome, Process, Stand, ensure, eventually, fail, free_port};

/// How long a service may take to stop by SIGTERM: it promises 5 s, two cores are busy.
pub const STOP: Duration = Duration::from_secs(8);

/// A client of a service.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    address: String,
    log: PathBuf,
}

/// An answer of the API.
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Api {
    /// The API at host:port of a service that logs to `log`.
    pub fn at(address: &str, log: &Path) -> Outcome<Api> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build()?;
        Ok(Api { http, address: address.into(), log: log.into() })
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Outcome<Answer> {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }

    pub async fn get(&self, path: &str) -> Outcome<Answer> {
        self.send(reqwest::Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Option<&Value>) -> Outcome<Answer> {
        self.send(reqwest::Method::POST, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Outcome<Answer> {
        self.send(reqwest::Method::DELETE, path, None).await
    }

    /// Creates a task and waits until it runs.
    pub async fn create(&self, spec: &Value) -> Outcome {
        let answer = self.post("/v1/tasks", Some(spec)).await?;
        ensure(answer.status == 201, || {
            format!("create: {} {}\n{}", answer.status, answer.body, tail(&self.log))
        })?;
        self.reaches(spec["name"].as_str().unwrap_or_default(), "running").await
    }

    /// A task's status.
    pub async fn status(&self, task: &str) -> Outcome<Value> {
        let answer = self.get(&format!("/v1/tasks/{task}")).await?;
        ensure(answer.status == 200, || format!("status of {task}: {} {}", answer.status, answer.body))?;
        Ok(answer.body["status"].clone())
    }

    /// Waits for a state. `failed` ends the wait at once unless it is the one waited for.
    pub async fn reaches(&self, task: &str, state: &str) -> Outcome {
        self.waits_for(task, &format!("state {state}"), |status| status["state"] == state).await
    }

    /// Waits until the first commit is in: from then on nothing of the source is missed.
    pub async fn records(&self, task: &str) -> Outcome {
        self.waits_for(task, "a first commit", |status| status["recorded_to"]["tso"].as_u64() > Some(0)).await
    }

    /// Waits until a status satisfies `good`; a task that has failed never will.
    pub async fn waits_for(&self, task: &str, what: &str, good: impl Fn(&Value) -> bool) -> Outcome {
        let mut failed = None;
        let title = format!("{what} of task {task}");
        let waited = eventually(&title, async || {
            let status = self.status(task).await?;
            if good(&status) {
                return Ok(None);
            }
            if status["state"] == "failed" {
                failed = Some(status);
                return Ok(None);
            }
            Ok(Some(status.to_string()))
        });
        let waited = waited.await;
        match failed {
            Some(status) => fail(format!("{title}: it has failed: {status}\n{}", tail(&self.log))),
            None => waited.map_err(|error| Failure(format!("{}\n{}", error.0, tail(&self.log)))),
        }
    }

    /// Waits like [`eventually`], but ends at once when one of the tasks has failed; a failure shows their status.
    pub async fn eventually(
        &self,
        tasks: &[&str],
        what: &str,
        mut look: impl AsyncFnMut() -> Outcome<Option<String>>,
    ) -> Outcome {
        let mut failed = None;
        let mut states = String::new();
        let waited = eventually(what, async || {
            let missing = look().await;
            states.clear();
            for task in tasks {
                let status = self.status(task).await?;
                states += &format!("\ntask {task}: {status}");
                if status["state"] == "failed" && !matches!(missing, Ok(None)) {
                    failed = Some(format!("{what}: task {task} has failed; still: {missing:?}"));
                    return Ok(None);
                }
            }
            missing
        });
        let waited = waited.await;
        match failed.map_or(waited, fail) {
            Ok(()) => Ok(()),
            Err(error) => fail(format!("{}{states}\n{}", error.0, tail(&self.log))),
        }
    }
}

/// A service of a test's own.
pub struct Service {
    pub process: Process,
    pub api: Api,
    stand: Stand,
    listen: String,
    state: String,
    log: PathBuf,
}

impl Service {
    /// Starts a service without tasks; `name` is that of its log file and state directory.
    pub async fn start(stand: &Stand, name: &str) -> Outcome<Service> {
        let scratch = stand.scratch()?;
        let (log, state) = (scratch.join(format!("{name}.log")), scratch.join(format!("{name}.state")));
        std::fs::create_dir_all(&state)?;
        let (listen, state) = (format!("127.0.0.1:{}", free_port()?), format!("file://{}", state.display()));
        let process = Process::start(stand, &["serve", "--listen", &listen, "--state", &state], &log)?;
        let api = Api::at(&listen, &log)?;
        let mut service = Service { process, api, stand: stand.clone(), listen, state, log };
        service.answers().await?;
        Ok(service)
    }

    /// Where it listens and what it logs to, for clients in other threads.
    pub fn place(&self) -> (String, PathBuf) {
        (self.listen.clone(), self.log.clone())
    }

    /// All that it has written for people and for itself: its log, and the objects of its state.
    pub fn said(&self) -> Outcome<String> {
        let mut texts = vec![std::fs::read(&self.log)?];
        let mut folders = vec![PathBuf::from(self.state.trim_start_matches("file://"))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    texts.push(std::fs::read(path)?);
                }
            }
        }
        Ok(texts.iter().map(|text| String::from_utf8_lossy(text)).collect())
    }

    /// Starts it again after its end, with the same state.
    pub async fn start_again(&mut self) -> Outcome {
        let arguments = ["serve", "--listen", &self.listen, "--state", &self.state];
        self.process = Process::start(&self.stand, &arguments, &self.log)?;
        self.answers().await
    }

    /// kill -9 and a new start.
    pub async fn crash(&mut self) -> Outcome {
        self.process.kill()?;
        self.start_again().await
    }

    /// SIGTERM; it must end in time and with exit code 0.
    pub async fn stop(&mut self) -> Outcome {
        let status = self.process.terminate(STOP).await?;
        ensure(status.code() == Some(0), || {
            format!("SIGTERM ended it with {status}\n{}", self.process.tail())
        })
    }

    async fn answers(&mut self) -> Outcome {
        let mut ended = None;
        eventually("tapedeck serve", async || {
            ended = self.process.ended()?;
            if ended.is_some() {
                return Ok(None);
            }
            let answer = self.api.get("/readyz").await?;
            Ok((answer.status != 200).then(|| format!("readyz: {} {}", answer.status, answer.body)))
        })
        .await?;
        ensure(ended.is_none(), || {
            format!("tapedeck serve ended at once: {ended:?}\n{}", self.process.tail())
        })
    }
}
