//! The task document: what a person asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::{self, Deserializer, IgnoredAny, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, OneOf, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::encryption::EncryptionSpec;
use super::secret::Secret;
use super::tls::TlsSpec;
use super::upkeep::UpkeepSpec;
use crate::error::{Error, Result};
use crate::recorder;
use crate::replayer;
use crate::selection::{Renames, Selection};
use crate::tick::Tso;

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Its name: `^[a-z0-9][a-z0-9_-]{0,62}$`.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// The Milvus to be recorded (record, replicate).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSpec>,
    /// The log.
    pub log: LogSpec,
    /// The Milvus that changes are applied to (replay, replicate).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<MilvusSpec>,
    /// Where a new log begins (record, replicate); `earliest` where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartSpec>,
    /// Where a replay ends; it tails the log where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UntilSpec>,
    /// Which collections; all where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<SelectSpec>,
    /// Names at the target: `"db.collection": "db2.collection2"` or `"db.*": "db2.*"` (replay, replicate).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// Changes that a replay leaves out: `"12:3"` is the third definition of commit 12, `"tso:470656465160896520"` the
    /// deletes of one request. `tapedeck log timeline` shows them. The list cannot change once the replay has begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
    /// Of a `replay` to an instant: begin without reading first all that will be applied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchecked: bool,
    /// What is done for the log beside recording (record, replicate).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upkeep: Option<UpkeepSpec>,
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Records a source into a log.
    Record,
    /// Applies a log to a target.
    Replay,
    /// Both at once, through the log.
    Replicate,
}

impl Kind {
    /// Whether it has a recorder.
    pub fn records(self) -> bool {
        self != Kind::Replay
    }
    /// Whether it has a replayer.
    pub fn replays(self) -> bool {
        self != Kind::Record
    }
    /// As it stands in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Record => "record",
            Kind::Replay => "replay",
            Kind::Replicate => "replicate",
        }
    }
}

/// A source Milvus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Its definitions.
    pub etcd: EtcdSpec,
    /// Its rows.
    pub queue: QueueSpec,
    /// The channel of `msgChannel.chanNamePrefix.replicateMsg`; flushes are not seen without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicate_channel: Option<String>,
    /// Asked for what etcd cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milvus: Option<MilvusSpec>,
    /// Read for rows whose messages the queue no longer holds, where a new log begins with `earliest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,
    /// Read instead of `storage`: the folder of one backup that milvus-backup has made of this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<StorageSpec>,
}

/// Where a source stores its segments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StorageSpec {
    /// Bucket and `minio.rootPath`: `s3://a-bucket/files`; or `localStorage.path`: `file:///var/lib/milvus/data`. Of a
    /// backup: its folder, `s3://a-bucket/backup/NAME`.
    pub url: String,
    /// How to reach the store.
    #[serde(default, skip_serializing_if = "StoreSpec::is_default")]
    pub options: StoreSpec,
}

/// The etcd of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EtcdSpec {
    /// `http://host:port` or `https://host:port`, at least one.
    pub endpoints: Vec<String>,
    /// Milvus' `etcd.rootPath`.
    #[serde(default = "by_dev")]
    pub root_path: String,
    /// Milvus' `etcd.metaSubPath`.
    #[serde(default = "meta")]
    pub meta_sub_path: String,
    /// Where etcd wants a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Secret>,
    /// Where etcd wants a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Certificates, where the system's are not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

fn by_dev() -> String {
    "by-dev".to_owned()
}

fn meta() -> String {
    "meta".to_owned()
}

/// The queue of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", try_from = "Queues")]
pub enum QueueSpec {
    /// Apache Kafka.
    Kafka(KafkaSpec),
    /// Apache Pulsar.
    Pulsar(PulsarSpec),
    /// The queue within a Milvus standalone.
    Rocksmq(RocksmqSpec),
}

/// A queue as it is read: so that more than one are refused in words that say so.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object with one of kafka, pulsar, rocksmq")]
struct Queues {
    kafka: Option<KafkaSpec>,
    pulsar: Option<PulsarSpec>,
    rocksmq: Option<RocksmqSpec>,
}

impl TryFrom<Queues> for QueueSpec {
    type Error = &'static str;

    fn try_from(queues: Queues) -> Result<QueueSpec, &'static str> {
        match (queues.kafka, queues.pulsar, queues.rocksmq) {
            (Some(kafka), None, None) => Ok(QueueSpec::Kafka(kafka)),
            (None, Some(pulsar), None) => Ok(QueueSpec::Pulsar(pulsar)),
            (None, None, Some(rocksmq)) => Ok(QueueSpec::Rocksmq(rocksmq)),
            _ => Err(
                "a source has one queue: name one of kafka, pulsar, rocksmq, the one that its Milvus uses",
            ),
        }
    }
}

/// Kafka. No client setting can be passed through: some of them run programs or read files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSpec {
    /// `host:port`, several with commas between them.
    pub brokers: String,
    /// Where the brokers want a login (SASL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Secret>,
    /// Where the brokers want a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// How the login is made.
    #[serde(default, skip_serializing_if = "MechanismSpec::is_default")]
    pub mechanism: MechanismSpec,
    /// Where the brokers speak TLS; `{}` trusts whom the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum MechanismSpec {
    /// The password goes over the wire: use TLS.
    #[default]
    #[serde(rename = "plain")]
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl MechanismSpec {
    fn is_default(&self) -> bool {
        *self == MechanismSpec::default()
    }
}

/// Pulsar. Its namespace must keep messages for as long as the recorder may be away: nothing here holds them back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PulsarSpec {
    /// `pulsar://host:port` or `pulsar+ssl://host:port` of a broker or proxy, several hosts with commas between them.
    pub url: String,
    /// Milvus' `pulsar.tenant`.
    #[serde(default = "public")]
    pub tenant: String,
    /// Milvus' `pulsar.namespace`.
    #[serde(default = "default")]
    pub namespace: String,
    /// Where the brokers want a token (a JWT); it is read anew for each connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Certificates, where the system's are not enough. Without a token, `certificate` is the login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

fn public() -> String {
    "public".to_owned()
}

fn default() -> String {
    "default".to_owned()
}

/// RocksMQ, read where its Milvus writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RocksmqSpec {
    /// Milvus' `rocksmq.path` as tapedeck's machine sees it: the same host, or the same volume.
    #[schema(value_type = String)]
    pub path: PathBuf,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogSpec {
    /// `s3://bucket/prefix`, `gs://...`, `az://...` or `file:///folder`.
    pub url: String,
    /// How to reach the store.
    #[serde(default, skip_serializing_if = "StoreSpec::is_default")]
    pub options: StoreSpec,
    /// Encryption at rest: with it nothing is written in clear, and nothing in clear is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionSpec>,
}

/// How to reach an object store. What is left out comes from the environment of the service, as its clients do it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSpec {
    /// Address of a store that is not the provider's own, e.g. `http://127.0.0.1:9000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Secret>,
    /// Secret key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// Token of a temporary login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    /// Certificates, where the system's are not enough: only `ca` can be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// The bucket stands in the host name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub virtual_hosted_style: bool,
    /// S3: each put carries a SHA-256, as buckets with Object Lock want it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub checksum: bool,
}

impl StoreSpec {
    fn is_default(&self) -> bool {
        *self == StoreSpec::default()
    }
}

/// Address of a Milvus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MilvusSpec {
    /// `http://host:port` or `https://host:port`.
    pub uri: String,
    /// `user:password` or an API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Certificates, where the system's are not enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
}

/// Where a new log begins: `"earliest"`, `"now"` or `{"tso": 470656465160896520}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartSpec {
    /// With all rows of every collection that exists.
    Earliest,
    /// With the rows that come from now on.
    Now,
    /// With the rows after a TSO.
    Tso(u64),
}

/// Where a replay ends: `"latest"`, a time in RFC 3339, or a TSO (a number, or a string of digits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntilSpec {
    /// With the last commit that the log has when the replay starts.
    Latest,
    /// With the last change whose TSO is at most this.
    Tso(Tso),
}

/// Which collections: patterns `database.collection`, `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectSpec {
    /// What is in.
    #[serde(default = "everything")]
    pub include: Vec<String>,
    /// What is out all the same.
    #[serde(default)]
    pub exclude: Vec<String>,
}

impl SelectSpec {
    /// Whether nothing is out.
    pub fn is_everything(&self) -> bool {
        self.include == everything() && self.exclude.is_empty()
    }
}

fn everything() -> Vec<String> {
    vec!["*.*".to_owned()]
}

/// Refuses what is no JSON, by line and column.
pub fn check_json(document: &[u8]) -> Result<()> {
    serde_json::from_slice::<IgnoredAny>(document).map(drop).map_err(|error| {
        Error::usage(format!("this is no JSON: {error}")).advice("correct it at this line and column")
    })
}

impl TaskSpec {
    /// Reads and validates a document. Every error names the place in it (a JSON path) and what to write there.
    pub fn parse(document: &[u8]) -> Result<TaskSpec> {
        check_json(document)?;
        if !document.trim_ascii_start().starts_with(b"{") {
            return Err(Error::usage("the document: it is no JSON object")
                .advice("see the task document at /v1/openapi.json"));
        }
        let mut json = serde_json::Deserializer::from_slice(document);
        let spec: TaskSpec = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let place = match error.path().to_string() {
                root if root == "." => "the document".to_owned(),
                place => place,
            };
            Error::usage(format!("{place}: {}", error.inner()))
                .advice("see the task document at /v1/openapi.json")
        })?;
        super::validate::validate(&spec)?;
        Ok(spec)
    }

    /// The collections that it is about.
    pub fn selection(&self) -> Result<Selection> {
        self.select.as_ref().map_or_else(
            || Ok(Selection::default()),
            |select| Selection::new(&select.include, &select.exclude),
        )
    }

    /// Their names at the target.
    pub fn renames(&self) -> Result<Renames> {
        Renames::new(&self.rename, &self.selection()?)
    }

    /// What it leaves out.
    pub fn skip(&self) -> Result<replayer::Skip> {
        let places = self.skip.iter().enumerate();
        let places = places.map(|(at, text)| {
            text.parse::<replayer::Place>().map_err(|error| error.context(format!("skip[{at}]")))
        });
        Ok(replayer::Skip::new(places.collect::<Result<Vec<_>>>()?))
    }

    /// Where a new log begins.
    pub fn start(&self) -> recorder::Start {
        match self.start {
            None | Some(StartSpec::Earliest) => recorder::Start::Earliest,
            Some(StartSpec::Now) => recorder::Start::Now,
            Some(StartSpec::Tso(tso)) => recorder::Start::After(Tso(tso)),
        }
    }

    /// Where its replay ends.
    pub fn until(&self) -> replayer::Until {
        match self.until {
            None => replayer::Until::Cancelled,
            Some(UntilSpec::Latest) => replayer::Until::Latest,
            Some(UntilSpec::Tso(tso)) => replayer::Until::Tso(tso),
        }
    }
}

impl ToSchema for UntilSpec {}

impl PartialSchema for UntilSpec {
    fn schema() -> RefOr<Schema> {
        let text = Object::builder()
            .schema_type(Type::String)
            .examples([json!("2026-11-23T08:00:00Z"), json!("latest")]);
        let tso = Object::builder().schema_type(Type::Integer).examples([json!(470656465160896520u64)]);
        let both =
            OneOf::builder().description(Some("`latest`, a time in RFC 3339, or a TSO")).item(text).item(tso);
        Schema::OneOf(both.build()).into()
    }
}

impl Serialize for UntilSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            UntilSpec::Latest => serializer.serialize_str("latest"),
            UntilSpec::Tso(tso) => serializer.serialize_u64(tso.0),
        }
    }
}

impl<'de> Deserialize<'de> for UntilSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UntilSpec, D::Error> {
        deserializer.deserialize_any(UntilVisitor)
    }
}

struct UntilVisitor;

impl Visitor<'_> for UntilVisitor {
    type Value = UntilSpec;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"latest\", a time such as \"2026-11-23T08:00:00Z\", or a TSO")
    }

    fn visit_u64<E: de::Error>(self, tso: u64) -> Result<UntilSpec, E> {
        Ok(UntilSpec::Tso(Tso(tso)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<UntilSpec, E> {
        match text {
            "latest" => Ok(UntilSpec::Latest),
            _ => text
                .parse()
                .map(UntilSpec::Tso)
                .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests;
