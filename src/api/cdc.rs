//! `/cdc`: the request and answer shapes that users of milvus-cdc have in their scripts, as far as they fit.
//!
//! milvus-cdc knows its source from its own configuration, so a `create` names only the target. Here the configuration
//! may do the same (`[cdc]`: source, log, token); a request may also carry `source` and `log` as a task document has
//! them. Each task gets a log of its own below the configured one.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::tasks::json as json_body;
use super::{Api, Problem};
use crate::error::{Error, Result};
use crate::task::runner::Task;
use crate::task::secret::Secret;
use crate::task::service::{Creation, Refusal};
use crate::task::spec::{LogSpec, MilvusSpec, SourceSpec, TaskSpec};
use crate::task::state::State as TaskState;
use crate::task::status::Moment;
use crate::tick::Tso;

/// What requests leave out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// The source.
    pub source: Option<SourceSpec>,
    /// Logs of tasks are made below this one.
    pub log: Option<LogSpec>,
    /// The target's token.
    pub token: Option<Secret>,
}

/// A request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CdcRequest {
    /// `create`, `delete`, `pause`, `resume`, `get`, `list` or `position`.
    request_type: String,
    /// What the type wants.
    #[serde(default)]
    request_data: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    milvus_connect_param: Connect,
    collection_infos: Vec<Named>,
    #[serde(default)]
    rpc_channel_info: Option<Named>,
    source: Option<SourceSpec>,
    log: Option<LogSpec>,
    #[serde(default, rename = "buffer_config")]
    _buffer_config: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Connect {
    uri: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    enable_tls: bool,
    #[serde(default, deserialize_with = "secret")]
    token: Option<Secret>,
    #[serde(default, rename = "username", deserialize_with = "no_login")]
    _username: (),
    #[serde(default, rename = "password", deserialize_with = "no_login")]
    _password: (),
    #[serde(default, rename = "ignore_partition", deserialize_with = "no_choice")]
    _ignore_partition: (),
    #[serde(default, rename = "connect_timeout")]
    _connect_timeout: Value,
    #[serde(default, rename = "channel_num")]
    _channel_num: Value,
}

/// Where there is none, scripts send an empty one.
fn secret<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Secret>, D::Error> {
    match Value::deserialize(field)? {
        given if is_empty(&given) => Ok(None),
        given => serde_json::from_value(given).map(Some).map_err(D::Error::custom),
    }
}

fn no_login<'de, D: Deserializer<'de>>(field: D) -> Result<(), D::Error> {
    if is_empty(&Value::deserialize(field)?) {
        return Ok(());
    }
    Err(D::Error::custom(
        "a login may not stand in a request: give the service a reference to USER:PASSWORD as cdc.token",
    ))
}

fn no_choice<'de, D: Deserializer<'de>>(field: D) -> Result<(), D::Error> {
    match Value::deserialize(field)? {
        Value::Null | Value::Bool(false) => Ok(()),
        _ => Err(D::Error::custom("partitions are replicated as they are: leave it out, or let it be false")),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskId {
    task_id: String,
}

/// Does what milvus-cdc's API does with such a request.
#[utoipa::path(post, path = "/cdc", tag = "milvus-cdc", request_body = CdcRequest, responses(
    (status = 200, description = "`{\"code\": 200, \"data\": {...}}`", body = serde_json::Value),
    (status = 422, description = "`{\"code\": 422, \"message\": \"...\"}`; likewise for other failures.", body = serde_json::Value),
))]
pub async fn request(
    State(api): State<Api>,
    headers: HeaderMap,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Response {
    match answer(&api, &headers, body).await {
        Ok(data) => Json(json!({"code": 200, "data": data})).into_response(),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let advice = problem.advice.map(|advice| format!(" ({advice})")).unwrap_or_default();
            (status, Json(json!({"code": problem.status, "message": format!("{}{advice}", problem.detail)})))
                .into_response()
        }
    }
}

async fn answer(
    api: &Api,
    headers: &HeaderMap,
    body: std::result::Result<Bytes, BytesRejection>,
) -> std::result::Result<Value, Problem> {
    let body = json_body(headers, body)?;
    let request: CdcRequest =
        serde_json::from_slice(&body).map_err(|error| Problem::bad_request(error.to_string()))?;
    let data = request.request_data;
    Ok(match request.request_type.as_str() {
        "create" => {
            let spec = spec(read(data)?, &api.cdc, &format!("cdc-{}", Uuid::new_v4().simple()))?;
            let (Creation::New(task) | Creation::Same(task)) = api.service.create(spec, true).await?;
            json!({"task_id": task.spec().name})
        }
        "delete" => {
            api.service.delete(&name(data)?).await?;
            json!({})
        }
        "pause" => api.service.pause(&name(data)?).await.map(|_| json!({}))?,
        "resume" => api.service.resume(&name(data)?).await.map(|_| json!({}))?,
        "get" => json!({"task": shown(&*api.service.get(&name(data)?)?)}),
        "list" => {
            let tasks = api.service.list(None, usize::MAX);
            json!({"tasks": tasks.iter().map(|task| shown(task)).collect::<Vec<_>>()})
        }
        "position" | "get-position" => positions(&*api.service.get(&name(data)?)?),
        other => {
            let known = "create, delete, pause, resume, get, list, position";
            return Err(Error::usage(format!("request_type: \"{other}\" is not known"))
                .advice(format!("known are {known}"))
                .into());
        }
    })
}

fn read<T: DeserializeOwned>(data: Value) -> Result<T> {
    serde_path_to_error::deserialize(data)
        .map_err(|error| Error::usage(format!("request_data.{}: {}", error.path(), error.inner())))
}

fn name(data: Value) -> std::result::Result<String, Refusal> {
    Ok(read::<TaskId>(data)?.task_id)
}

/// The task that a `create` asks for.
fn spec(create: Create, defaults: &Defaults, name: &str) -> Result<TaskSpec> {
    let lacking = |what: &str| {
        Error::usage(format!(
            "request_data.{what}: it is missing, and the service's configuration has no cdc.{what}"
        ))
        .advice(format!(
            "add \"{what}\" as a task document has it, or configure it, or create the task at /v1/tasks"
        ))
    };
    let mut source = create.source.or_else(|| defaults.source.clone()).ok_or_else(|| lacking("source"))?;
    let mut log = create.log.or_else(|| defaults.log.clone()).ok_or_else(|| lacking("log"))?;
    log.url = format!("{}/{name}", log.url.trim_end_matches('/'));
    if let Some(channel) = create.rpc_channel_info {
        source.replicate_channel = Some(channel.name);
    }
    let connect = create.milvus_connect_param;
    let scheme = if connect.enable_tls { "https" } else { "http" };
    let address = connect.host.zip(connect.port).map(|(host, port)| format!("{scheme}://{host}:{port}"));
    let uri = connect.uri.or(address).ok_or_else(|| {
        Error::usage("request_data.milvus_connect_param: it has no address")
            .advice("give uri, or host and port")
    })?;
    let token = connect.token.or_else(|| defaults.token.clone());
    // A name without a database is one of the database "default"; "*" is everything.
    let include = create.collection_infos.into_iter().map(|Named { name }| match name.as_str() {
        "*" => "*.*".to_owned(),
        name if name.contains('.') => name.to_owned(),
        name => format!("default.{name}"),
    });
    let document = json!({
        "name": name, "kind": "replicate", "source": source, "log": log,
        "target": MilvusSpec { uri, token, tls: None }, "select": {"include": include.collect::<Vec<_>>()},
    });
    TaskSpec::parse(document.to_string().as_bytes())
}

/// A task as milvus-cdc shows it.
fn shown(task: &Task) -> Value {
    let (spec, status) = (task.spec(), task.status());
    let include =
        spec.select.as_ref().map_or_else(|| vec!["*.*".to_owned()], |select| select.include.clone());
    let collections =
        include.into_iter().map(|pattern| if pattern == "*.*" { "*".to_owned() } else { pattern });
    let state = match status.state {
        TaskState::Running | TaskState::Degraded => "Running",
        TaskState::Paused | TaskState::Failed | TaskState::Done => "Paused",
    };
    let reason = match status.state {
        TaskState::Running => String::new(),
        TaskState::Paused => "manually pause through http interface".to_owned(),
        TaskState::Done => "done".to_owned(),
        TaskState::Degraded | TaskState::Failed => {
            status.last_error.map(|error| error.message).unwrap_or_default()
        }
    };
    json!({
        "task_id": spec.name,
        "milvus_connect_param": {"uri": spec.target.as_ref().map(|target| &target.uri)},
        "collection_infos": collections.map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "state": state,
        "reason": reason,
    })
}

/// One position stands for all channels: everything up to it is recorded, or applied.
fn positions(task: &Task) -> Value {
    let status = task.status();
    let list = |moment: Option<Moment>| -> Vec<Value> {
        let position = |moment: Moment| {
            let time = Tso(moment.tso).millis();
            json!({"collection_id": 0, "channel_name": "*", "time": time, "tt": moment.tso, "msg_id": ""})
        };
        moment.map(position).into_iter().collect()
    };
    json!({"positions": list(status.recorded_to), "op_positions": [], "target_positions": list(status.applied_to)})
}
