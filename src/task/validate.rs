//! What a document that reads well can still get wrong. Pure but for the clock; every error names its place.

use std::net::{IpAddr, Ipv6Addr};
use std::time::SystemTime;

use url::{Host, Url};

use super::encryption::EncryptionSpec;
use super::secret::Secret;
use super::spec::{
    EtcdSpec, KafkaSpec, Kind, LogSpec, MilvusSpec, PulsarSpec, QueueSpec, SourceSpec, StartSpec, StoreSpec,
    TaskSpec,
};
use super::tls::TlsSpec;
use crate::error::{Error, Result};
use crate::log::store::encryption::MOST_RECIPIENTS;
use crate::tick::Tso;
use crate::tls::{HTTP, PULSAR};

/// The source's clock may be ahead of ours by this much.
const CLOCK_SLACK_MS: u128 = 5_000;
const STORES: [&str; 4] = ["s3", "gs", "az", "file"];

/// Everything that can be known without a connection.
pub fn validate(spec: &TaskSpec) -> Result<()> {
    name(&spec.name)?;
    sections(spec)?;
    if let Some(from) = &spec.source {
        source(from)?;
    }
    if let Some(StartSpec::Tso(tso)) = spec.start {
        start(Tso(tso))?;
    }
    log(&spec.log)?;
    keys(spec)?;
    upkeep(spec)?;
    if let Some(target) = &spec.target {
        milvus("target", target)?;
        not_its_own_source(spec, target)?;
    }
    spec.skip()?;
    spec.renames().map(|_| ())
}

/// `^[a-z0-9][a-z0-9_-]{0,62}$`: safe in object keys, URLs and labels.
pub fn name(name: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good =
        name.len() <= 63 && name.starts_with(word) && name.chars().all(|c| word(c) || c == '_' || c == '-');
    if good {
        Ok(())
    } else {
        Err(wrong(
            "name",
            "it is no name for a task",
            "write 1 to 63 of a-z 0-9 _ -, first a letter or digit",
        ))
    }
}

fn sections(spec: &TaskSpec) -> Result<()> {
    let kind = spec.kind;
    let (records, replays) = (kind.records(), kind.replays());
    for (section, present, wanted) in
        [("source", spec.source.is_some(), records), ("target", spec.target.is_some(), replays)]
    {
        let kind = kind.as_str();
        if wanted && !present {
            return Err(wrong(section, &format!("it is missing; a task of kind {kind} needs it"), "add it"));
        }
        if present && !wanted {
            return Err(wrong(
                section,
                &format!("a task of kind {kind} has none"),
                "take it out, or choose another kind",
            ));
        }
    }
    for (field, present, allowed, advice) in [
        (
            "start",
            spec.start.is_some(),
            records,
            "take it out: a replay begins where the log or its own last position says",
        ),
        (
            "rename",
            !spec.rename.is_empty(),
            replays,
            "take it out: a log keeps the names of the source; rename in the replay",
        ),
        (
            "until",
            spec.until.is_some(),
            kind == Kind::Replay,
            "take it out, or make it a task of kind replay",
        ),
        ("upkeep", spec.upkeep.is_some(), records, "take it out: whoever records keeps the log up"),
        (
            "skip",
            !spec.skip.is_empty(),
            kind == Kind::Replay,
            "take it out, or make it a task of kind replay",
        ),
        (
            "unchecked",
            spec.unchecked,
            kind == Kind::Replay,
            "take it out: only a replay to an instant reads the log first",
        ),
    ] {
        if present && !allowed {
            return Err(wrong(field, &format!("a task of kind {} has none", kind.as_str()), advice));
        }
    }
    Ok(())
}

/// Upkeep reads rows.
fn upkeep(spec: &TaskSpec) -> Result<()> {
    let Some(upkeep) = &spec.upkeep else { return Ok(()) };
    upkeep.check()?;
    match &spec.log.encryption {
        Some(EncryptionSpec { identity: None, .. }) => Err(wrong(
            "log.encryption.identity",
            "it is missing; upkeep reads rows",
            "add it, or take upkeep out and run `tapedeck log archive` with --identity, and --recipient for each of \
             the recipients, where the key is",
        )),
        _ => Ok(()),
    }
}

/// Which keys an encrypted log needs depends on what is done with it.
fn keys(spec: &TaskSpec) -> Result<()> {
    let Some(keys) = &spec.log.encryption else { return Ok(()) };
    let kind = spec.kind;
    for (field, present, wanted, advice) in [
        (
            "recipients",
            !keys.recipients.is_empty(),
            kind.records(),
            "write the public keys (age1...) of those who may read the log",
        ),
        (
            "identity",
            keys.identity.is_some(),
            kind.replays(),
            r#"give the secret key of one of the recipients: {"env": "NAME"} or {"file": "/path"}"#,
        ),
        (
            "recorder_identity",
            keys.recorder_identity.is_some(),
            kind == Kind::Record,
            "give the recorder a key of its own, made with `tapedeck keygen`: it opens no rows",
        ),
    ] {
        if wanted && !present {
            let why = format!("it is missing; a task of kind {} needs it", kind.as_str());
            return Err(wrong(&format!("log.encryption.{field}"), &why, advice));
        }
    }
    if keys.recorder_identity.is_some() && !kind.records() {
        let why = format!("a task of kind {} has none", kind.as_str());
        return Err(wrong(
            "log.encryption.recorder_identity",
            &why,
            "take it out: a replay reads with identity",
        ));
    }
    Ok(())
}

fn start(tso: Tso) -> Result<()> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    if u128::from(tso.millis()) <= now.saturating_add(CLOCK_SLACK_MS) {
        return Ok(());
    }
    Err(wrong(
        "start.tso",
        &format!("{tso} ({}) lies in the future", tso.time()),
        "write a TSO that the source has given out already, or \"now\"",
    ))
}

fn source(spec: &SourceSpec) -> Result<()> {
    etcd(&spec.etcd)?;
    queue(&spec.queue)?;
    if let Some(channel) = &spec.replicate_channel {
        let good = !channel.is_empty()
            && channel.len() <= 249
            && channel.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !good {
            return Err(wrong(
                "source.replicate_channel",
                "it is no topic's name",
                "write it as in Milvus' configuration, e.g. by-dev-replicate-msg",
            ));
        }
    }
    if let Some(spec) = &spec.storage {
        store("source.storage", &spec.url, &spec.options)?;
    }
    if let Some(backup) = &spec.backup {
        store("source.backup", &backup.url, &backup.options)?;
        if spec.storage.is_some() {
            return Err(wrong("source.backup", "there is source.storage too", "give one of the two"));
        }
    }
    spec.milvus.as_ref().map_or(Ok(()), |spec| milvus("source.milvus", spec))
}

fn queue(spec: &QueueSpec) -> Result<()> {
    match spec {
        QueueSpec::Kafka(spec) => kafka(spec),
        QueueSpec::Pulsar(spec) => pulsar(spec),
        QueueSpec::Rocksmq(spec) if spec.path.is_absolute() => Ok(()),
        QueueSpec::Rocksmq(_) => Err(wrong(
            "source.queue.rocksmq.path",
            "it is no absolute path",
            "write Milvus' `rocksmq.path`, e.g. /var/lib/milvus/rdb_data",
        )),
    }
}

fn kafka(kafka: &KafkaSpec) -> Result<()> {
    addresses("source.queue.kafka.brokers", &kafka.brokers, "write host:port")?;
    pair("source.queue.kafka", kafka.username.as_ref(), kafka.password.as_ref())?;
    let Some(spec) = &kafka.tls else { return Ok(()) };
    if spec.server_name.is_some() {
        let why = "Kafka's brokers are checked against their addresses";
        return Err(wrong("source.queue.kafka.tls.server_name", why, "take it out"));
    }
    tls("source.queue.kafka.tls", spec)
}

fn pulsar(pulsar: &PulsarSpec) -> Result<()> {
    let (at, advice) = ("source.queue.pulsar.url", "write pulsar://host:port or pulsar+ssl://host:port");
    let url = &pulsar.url;
    let hosts = PULSAR.iter().find_map(|scheme| url.strip_prefix(scheme));
    let why = format!("\"{url}\" is no address of a Pulsar");
    let hosts = hosts.ok_or_else(|| wrong(at, &why, advice))?;
    addresses(at, hosts.trim_end_matches('/'), advice)?;
    for (part, name) in [("tenant", &pulsar.tenant), ("namespace", &pulsar.namespace)] {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-=:".contains(c)) {
            let at = format!("source.queue.pulsar.{part}");
            return Err(wrong(&at, "it is no name", "write it as in Milvus' configuration"));
        }
    }
    let tls = pulsar.tls.as_ref();
    tls.map_or(Ok(()), |spec| tls_to("source.queue.pulsar.tls", spec, PULSAR, [url.as_str()]))
}

/// `host:port`, several with commas between them.
fn addresses(at: &str, list: &str, advice: &str) -> Result<()> {
    for broker in list.split(',') {
        // Only an address: a URL with nothing but a host and a port.
        let parsed = Url::parse(&format!("http://{}", broker.trim()));
        let url = parsed.ok().filter(|url| {
            broker.trim().rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) && bare(url)
        });
        let url = url.ok_or_else(|| {
            wrong(at, "it is no list of addresses", &format!("{advice}, several with commas between them"))
        })?;
        not_link_local(at, &url)?;
    }
    Ok(())
}

fn etcd(spec: &EtcdSpec) -> Result<()> {
    if spec.endpoints.is_empty() {
        return Err(wrong(
            "source.etcd.endpoints",
            "it is empty",
            "write at least one, e.g. http://127.0.0.1:2379",
        ));
    }
    for (n, endpoint) in spec.endpoints.iter().enumerate() {
        address(&format!("source.etcd.endpoints[{n}]"), endpoint)?;
    }
    for (field, path) in [("root_path", &spec.root_path), ("meta_sub_path", &spec.meta_sub_path)] {
        if path.is_empty() || path.starts_with('/') || path.ends_with('/') {
            return Err(wrong(
                &format!("source.etcd.{field}"),
                "it is empty or has a slash at an end",
                "write it as in Milvus' configuration",
            ));
        }
    }
    pair("source.etcd", spec.username.as_ref(), spec.password.as_ref())?;
    let addresses = spec.endpoints.iter().map(String::as_str);
    spec.tls.as_ref().map_or(Ok(()), |spec| tls_to("source.etcd.tls", spec, HTTP, addresses))
}

fn tls(at: &str, spec: &TlsSpec) -> Result<()> {
    if spec.certificate.is_some() == spec.key.is_some() {
        return Ok(());
    }
    Err(wrong(at, "certificate and key come together", "give both or none"))
}

/// TLS to addresses that say so themselves.
fn tls_to<'a>(
    at: &str,
    spec: &TlsSpec,
    [_, secured]: [&str; 2],
    addresses: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    tls(at, spec)?;
    match addresses.into_iter().find(|address| !address.starts_with(secured)) {
        None => Ok(()),
        Some(address) => {
            let advice = format!("write {secured} there, or take tls out");
            Err(wrong(at, &format!("{address} does not use TLS"), &advice))
        }
    }
}

fn pair(at: &str, username: Option<&Secret>, password: Option<&Secret>) -> Result<()> {
    if username.is_some() == password.is_some() {
        return Ok(());
    }
    Err(wrong(at, "username and password come together", "give both or none"))
}

fn milvus(at: &str, spec: &MilvusSpec) -> Result<()> {
    address(&format!("{at}.uri"), &spec.uri)?;
    let uri = spec.uri.as_str();
    spec.tls.as_ref().map_or(Ok(()), |spec| tls_to(&format!("{at}.tls"), spec, HTTP, [uri]))
}

/// What is replayed into its own source comes again, without end.
fn not_its_own_source(spec: &TaskSpec, target: &MilvusSpec) -> Result<()> {
    let asked = spec.source.as_ref().and_then(|source| source.milvus.as_ref());
    let same = asked.is_some_and(|asked| asked.uri.trim_end_matches('/') == target.uri.trim_end_matches('/'));
    if same && spec.rename.is_empty() {
        let why = "it is the source: each row would be replayed as a new one, without end";
        return Err(wrong(
            "target.uri",
            why,
            "write the address of another Milvus, or rename what is selected",
        ));
    }
    Ok(())
}

/// A log's address.
pub fn log(spec: &LogSpec) -> Result<()> {
    store("log", &spec.url, &spec.options)?;
    if let Some(encryption) = &spec.encryption
        && encryption.recipients()?.len() > MOST_RECIPIENTS
    {
        let why = format!("there are more than {MOST_RECIPIENTS}");
        return Err(wrong("log.encryption.recipients", &why, "share a key among those who read alike"));
    }
    Ok(())
}

fn store(section: &str, text: &str, options: &StoreSpec) -> Result<()> {
    let at = &format!("{section}.url");
    let of_options = |field: &str| format!("{section}.options{field}");
    let url = Url::parse(text)
        .map_err(|error| wrong(at, &format!("it is no URL: {error}"), "write e.g. s3://bucket/prefix"))?;
    no_secret(at, &url)?;
    let is_dots = |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if text.split(['/', '\\']).any(is_dots) {
        return Err(wrong(at, "it goes up or round with dots", "write the folder itself"));
    }
    if !STORES.contains(&url.scheme()) {
        return Err(wrong(
            at,
            &format!("no store is called \"{}\"", url.scheme()),
            &format!("known are {}", STORES.join(", ")),
        ));
    }
    let local = url.scheme() == "file";
    if local != url.host_str().is_none_or(str::is_empty) || (local && url.path() == "/") {
        return Err(wrong(
            at,
            "the bucket or folder is missing",
            "write s3://bucket/prefix or file:///folder",
        ));
    }
    if local && *options != StoreSpec::default() {
        return Err(wrong(
            &of_options(""),
            "a folder needs none",
            "take them out, or write the URL of a bucket",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            at,
            "it has a query or a fragment",
            &format!("put settings into {}", of_options("")),
        ));
    }
    if let Some(endpoint) = &options.endpoint {
        address(&of_options(".endpoint"), endpoint)?;
    }
    let Some(spec) = &options.tls else { return Ok(()) };
    if spec.certificate.is_some() || spec.key.is_some() || spec.server_name.is_some() {
        let why = "object stores are given a ca and nothing else";
        return Err(wrong(&of_options(".tls"), why, "take certificate, key and server_name out"));
    }
    Ok(())
}

/// A folder of a store, however its URL is spelt.
#[derive(Debug, PartialEq)]
pub struct Folder {
    store: (String, Option<String>),
    path: Vec<String>,
}

/// The folder of a log at its endpoint; none: it has no URL.
pub fn folder(log: &LogSpec) -> Option<(Folder, Option<&str>)> {
    let endpoint = log.options.endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/'));
    Some((folder_at(&log.url)?, endpoint))
}

fn folder_at(url: &str) -> Option<Folder> {
    let url = Url::parse(url).ok()?;
    let store = (url.scheme().to_owned(), url.host_str().map(str::to_owned));
    let path = url.path_segments().into_iter().flatten().filter(|part| !part.is_empty());
    Some(Folder { store, path: path.map(str::to_owned).collect() })
}

/// A log and the service's own documents must not lie within each other.
pub fn apart(log: &str, state: &str) -> Result<()> {
    let (Some(here), Some(there)) = (folder_at(log), folder_at(state)) else { return Ok(()) };
    let within = here.path.starts_with(&there.path) || there.path.starts_with(&here.path);
    if here.store != there.store || !within {
        return Ok(());
    }
    Err(wrong(
        "log.url",
        &format!("{log} and the service's state at {state} lie within each other"),
        "choose another folder for the log",
    ))
}

/// `http(s)://host:port` and nothing more.
fn address(at: &str, text: &str) -> Result<()> {
    let example = "write http://host:port or https://host:port";
    let url = Url::parse(text).map_err(|error| wrong(at, &format!("it is no URL: {error}"), example))?;
    no_secret(at, &url)?;
    if !matches!(url.scheme(), "http" | "https") || !bare(&url) {
        return Err(wrong(at, "it is not just an address", example));
    }
    not_link_local(at, &url)
}

fn bare(url: &Url) -> bool {
    url.host().is_some()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

fn no_secret(at: &str, url: &Url) -> Result<()> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err(wrong(
        at,
        "it has a user or password in it",
        r#"give secrets as {"env": "NAME"} or {"file": "/path"}"#,
    ))
}

/// Such addresses lead to the credentials service of a cloud's machine.
fn not_link_local(at: &str, url: &Url) -> Result<()> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address).to_canonical()),
        _ => None,
    };
    let refused = match address {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        Some(IpAddr::V6(address)) => Ipv6Addr::is_unicast_link_local(&address),
        None => false,
    };
    if refused {
        Err(wrong(at, "it is a link-local address, which no service has", "write the address of the service"))
    } else {
        Ok(())
    }
}

fn wrong(at: &str, why: &str, advice: &str) -> Error {
    Error::usage(format!("{at}: {why}")).advice(advice)
}
