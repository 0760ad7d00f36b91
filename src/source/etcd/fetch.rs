//! What is asked of etcd: whole spans in pages at one revision, then only what changed since.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, GetOptions, GetResponse, KeyValue, KvClient, ResponseHeader, Txn, TxnOp,
    TxnOpResponse,
};
use tokio::time::timeout;
use tonic::Code;

use super::EtcdOptions;
use super::keys::{DATABASES, Key, SPANS};
use super::mirror::{Mirror, Put};
use crate::error::{Context, Error, Result};
use crate::tick::Tso;
use crate::tls::{HTTP, advice, chain, said};

const CONNECT: Duration = Duration::from_secs(3);
const CALL: Duration = Duration::from_secs(10);
/// Keys in one answer; values are some hundred bytes.
const PAGE: i64 = 1000;
/// Keys without values in one answer.
const NAMES_PAGE: i64 = 10_000;
/// Of one answer: a page of large schemas must pass.
const ANSWER_BYTES: usize = 64 << 20;
/// Loads that compaction may overtake before the next try is left to the caller.
const LOADS: usize = 5;

/// An etcd with a Milvus in it.
pub(super) struct Store {
    kv: KvClient,
    endpoints: String,
    /// `{root}/{meta}/`
    meta: String,
    /// Where root-coord keeps the end of the time that it may give out.
    clock: String,
}

/// What changed since a mirror's revision.
#[derive(Debug)]
pub(super) struct Delta {
    /// etcd's revision now.
    pub revision: i64,
    /// Above every TSO given out.
    pub bound: Tso,
    /// Keys written.
    pub puts: Vec<Put>,
    /// Keys that are no longer there.
    pub gone: Vec<String>,
}

impl Store {
    /// Connects. Nothing but a login is sent.
    pub async fn connect(options: &EtcdOptions) -> Result<Store> {
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_timeout(CALL)
            .with_keep_alive(CALL, CONNECT);
        if let Some((user, password)) = &options.user {
            connect = connect.with_user(user, password).with_auto_token_refresh(true);
        }
        // without any, the client would trust nobody
        if options.endpoints.iter().all(|endpoint| endpoint.starts_with("https://")) {
            connect = connect.with_tls(options.tls.clone().unwrap_or_default().grpc());
        }
        let endpoints = options.endpoints.join(", ");
        let client = within(&endpoints, Client::connect(&options.endpoints, Some(connect))).await?;
        Ok(Store {
            kv: client.kv_client().max_decoding_message_size(ANSWER_BYTES),
            meta: format!("{}/{}/", options.root_path, options.meta_sub_path),
            clock: format!("{}/kv/gid/timestamp", options.root_path),
            endpoints,
        })
    }

    /// The cluster's id and its revision.
    pub async fn header(&mut self) -> Result<(u64, i64)> {
        let options = GetOptions::new().with_count_only();
        let response = within(&self.endpoints, self.kv.get(self.clock.as_str(), Some(options))).await?;
        let header = response.header().ok_or_else(|| self.broken("an answer without a header"))?;
        Ok((header.cluster_id(), header.revision()))
    }

    /// Reads everything at one revision, and says which snapshots there are.
    pub async fn load(&mut self) -> Result<(Mirror, Vec<(Key, Tso)>)> {
        for _ in 0..LOADS {
            if let Some(loaded) = self.load_once().await? {
                return Ok(loaded);
            }
        }
        Err(Error::retry(format!("etcd at {} compacts faster than it can be read", self.endpoints)))
    }

    /// Nothing when a compaction has overtaken it.
    async fn load_once(&mut self) -> Result<Option<(Mirror, Vec<(Key, Tso)>)>> {
        let (_, revision) = self.header().await?;
        let mut mirror = Mirror::new(revision);
        let mut written = vec![];
        for span in SPANS {
            let read = self.scan(span, revision, |name, pair| {
                let put = Put::decode(name, pair.value(), pair.mod_revision())?;
                written.extend(mirror.put(put));
                Ok(())
            });
            if !read.await? {
                return Ok(None);
            }
        }
        if !mirror.plain().any(|(key, _)| matches!(key, Key::Database(_))) {
            return Err(Error::operator(format!(
                "etcd at {} has no Milvus under {}: there is no key {}{DATABASES}...",
                self.endpoints, self.meta, self.meta
            ))
            .advice("set root_path and meta_sub_path to etcd.rootPath and etcd.metaSubPath of the source's milvus.yaml"));
        }
        Ok(Some((mirror, written)))
    }

    /// Gives every pair of a span at one revision to `see`, in pages; false when a compaction has overtaken it.
    pub async fn scan(
        &mut self,
        (from, to): (&str, &str),
        revision: i64,
        mut see: impl FnMut(&str, &KeyValue) -> Result<()>,
    ) -> Result<bool> {
        let mut from = from.to_owned();
        loop {
            let options = GetOptions::new().with_revision(revision).with_limit(PAGE);
            let Some(page) = self.page(&from, to, options).await? else { return Ok(false) };
            for pair in page.kvs() {
                let name = self.relative(pair)?;
                see(name, pair).context(|| format!("below {}", self.meta))?;
                from = after(name);
            }
            if !page.more() {
                return Ok(true);
            }
        }
    }

    /// Reads what changed, at one revision: one transaction, and more pages of that revision where it changed much.
    pub async fn delta(&mut self, mirror: &Mirror) -> Result<Delta> {
        let changed =
            || GetOptions::new().with_min_mod_revision(mirror.revision.saturating_add(1)).with_limit(PAGE);
        let mut asked = vec![TxnOp::get(self.clock.as_str(), None)];
        asked.extend(
            SPANS.map(|(from, to)| TxnOp::get(self.name(from), Some(changed().with_range(self.name(to))))),
        );
        let response = within(&self.endpoints, self.kv.txn(Txn::new().and_then(asked))).await?;
        let revision = response.header().map(ResponseHeader::revision).unwrap_or_default();
        if revision < mirror.revision {
            return Err(Error::refused(format!(
                "etcd at {} went back from revision {} to {revision}: it was restored or replaced",
                self.endpoints, mirror.revision
            ))
            .advice("start a new log: the source's history is no longer the one that was recorded"));
        }
        let mut answers = response.op_responses().into_iter().map(|answer| match answer {
            TxnOpResponse::Get(page) => Some(page),
            _ => None,
        });
        let mut next = || answers.next().flatten().ok_or_else(|| self.broken("an answer with parts missing"));
        let bound = self.bound(next()?.kvs())?;
        let pages = SPANS.iter().map(|_| next()).collect::<Result<Vec<_>>>()?;

        let mut delta = Delta { revision, bound, puts: vec![], gone: vec![] };
        for (span, (mut page, (_, to))) in pages.into_iter().zip(SPANS).enumerate() {
            // etcd counts the whole span, whatever revisions are asked for
            let count = usize::try_from(page.count()).unwrap_or_default();
            let known = mirror.names(span);
            let mut puts = self.decode(page.kvs())?;
            while let (true, Some(last)) = (page.more(), puts.last()) {
                let from = after(last.name());
                page = self.pinned(&from, to, changed().with_revision(revision)).await?;
                puts.extend(self.decode(page.kvs())?);
            }
            let new = puts.iter().filter(|put| !known.contains(put.name())).count();
            if known.len().saturating_add(new) != count {
                delta.gone.extend(self.gone(span, revision, mirror).await?);
            }
            delta.puts.extend(puts);
        }
        Ok(delta)
    }

    /// The keys of a span that the mirror knows and etcd has no longer.
    async fn gone(&mut self, span: usize, revision: i64, mirror: &Mirror) -> Result<Vec<String>> {
        let mut gone = mirror.names(span).clone();
        let Some((from, to)) = SPANS.get(span) else { return Ok(vec![]) };
        let mut from = (*from).to_owned();
        loop {
            let options = GetOptions::new().with_revision(revision).with_limit(NAMES_PAGE).with_keys_only();
            let page = self.pinned(&from, to, options).await?;
            for kept in page.kvs() {
                let name = self.relative(kept)?;
                gone.remove(name);
                from = after(name);
            }
            if !page.more() {
                return Ok(gone.into_iter().collect());
            }
        }
    }

    /// One page; nothing when its revision is compacted.
    async fn page(&mut self, from: &str, to: &str, options: GetOptions) -> Result<Option<GetResponse>> {
        let options = options.with_range(self.name(to));
        let from = self.name(from);
        match timeout(CALL, self.kv.get(from, Some(options))).await {
            Ok(Ok(page)) => Ok(Some(page)),
            Ok(Err(etcd_client::Error::GRpcStatus(status))) if status.code() == Code::OutOfRange => Ok(None),
            Ok(Err(error)) => Err(failed(&self.endpoints, &error)),
            Err(_) => Err(silent(&self.endpoints)),
        }
    }

    async fn pinned(&mut self, from: &str, to: &str, options: GetOptions) -> Result<GetResponse> {
        let page = self.page(from, to, options).await?;
        page.ok_or_else(|| Error::retry(format!("etcd at {} compacted what was being read", self.endpoints)))
    }

    fn name(&self, relative: &str) -> String {
        format!("{}{relative}", self.meta)
    }

    fn relative<'a>(&self, pair: &'a KeyValue) -> Result<&'a str> {
        let name = pair.key_str().ok().and_then(|name| name.strip_prefix(&self.meta));
        name.ok_or_else(|| self.broken("a key that was not asked for"))
    }

    fn decode(&self, pairs: &[KeyValue]) -> Result<Vec<Put>> {
        let put = |pair: &KeyValue| Put::decode(self.relative(pair)?, pair.value(), pair.mod_revision());
        pairs
            .iter()
            .map(put)
            .collect::<Result<_>>()
            .map_err(|error| error.context(format_args!("below {}", self.meta)))
    }

    /// 8 bytes, big endian: the end of the reserved time, in nanoseconds since the Unix epoch.
    fn bound(&self, pairs: &[KeyValue]) -> Result<Tso> {
        let value = pairs.first().map(KeyValue::value).ok_or_else(|| {
            Error::operator(format!(
                "etcd at {} has no key {}: no Milvus gives out time there",
                self.endpoints, self.clock
            ))
            .advice("set root_path to etcd.rootPath of the source's milvus.yaml, and start the source once")
        })?;
        let nanos = <[u8; 8]>::try_from(value).map_err(|_| {
            Error::refused(format!("the value of {} in etcd is no time of 8 bytes", self.clock))
        })?;
        let millis = u64::from_be_bytes(nanos) / 1_000_000;
        Ok(Tso::from_millis(millis.saturating_add(1)))
    }

    fn broken(&self, what: &str) -> Error {
        Error::retry(format!("etcd at {} gave {what}", self.endpoints))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("endpoints", &self.endpoints)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// The smallest key after a key.
fn after(name: &str) -> String {
    format!("{name}\0")
}

async fn within<T>(endpoints: &str, call: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T> {
    match timeout(CALL, call).await {
        Ok(answer) => answer.map_err(|error| failed(endpoints, &error)),
        Err(_) => Err(silent(endpoints)),
    }
}

fn silent(endpoints: &str) -> Error {
    Error::retry(format!("etcd at {endpoints} did not answer within {} s", CALL.as_secs()))
        .advice("check that etcd runs, has a quorum, and can be reached from here")
}

/// Who acts on an error of etcd. Whatever is not known to pass waits for a person.
fn advised(said: &str) -> String {
    let otherwise = || "check that etcd runs, has a quorum, and can be reached from here".to_owned();
    advice(said, "source.etcd", HTTP).unwrap_or_else(otherwise)
}

fn failed(endpoints: &str, error: &etcd_client::Error) -> Error {
    let at = |what: &dyn fmt::Display| format!("etcd at {endpoints}: {what}");
    let etcd_client::Error::GRpcStatus(status) = error else {
        return match error {
            etcd_client::Error::TransportError(error) => {
                let said = chain(error);
                Error::operator(at(&said)).advice(advised(&said))
            }
            etcd_client::Error::IoError(_) => {
                Error::retry(at(error)).advice("check that etcd runs and can be reached from here")
            }
            _ => Error::operator(at(error)).advice("check the addresses, each like http://host:2379"),
        };
    };
    let advice = advised(&said(status));
    let said = at(&said(status));
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::FailedPrecondition => {
            Error::operator(said)
                .advice("check user, password and role: reading the source's prefix must be allowed")
        }
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal
        | Code::Aborted
        | Code::ResourceExhausted => Error::retry(said).advice(advice),
        _ => Error::operator(said)
            .advice("check that the addresses are those of an etcd of version 3.4 or later"),
    }
}
