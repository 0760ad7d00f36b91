//! From a URL to a store.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::Certificate;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::renewed::Renewed;
use super::upload::{ANSWER, Connector};
use super::{Owner, StoreOptions};
use crate::error::{Error, Result};
use crate::loopback::is_loopback;

const FORMS: &str = "write file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix; credentials go into the options";

type Opened = (Arc<dyn ObjectStore>, Path);

pub(super) fn open(text: &str, options: &StoreOptions) -> Result<Opened> {
    let owner = options.owner;
    // The text itself is not shown: people put credentials into URLs.
    let url = Url::parse(text)
        .map_err(|error| Error::usage(format!("the URL of {owner} is none: {error}")).advice(FORMS))?;
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_bare {
        return Err(
            Error::usage(format!("the URL of {owner} carries a user, a query or a fragment")).advice(FORMS)
        );
    }
    if url.scheme() == "file" {
        return local(&url, owner);
    }
    let bucket = url.host_str().unwrap_or_default();
    let prefix = Path::from_url_path(url.path()).map_err(|error| {
        Error::usage(format!("{url} has no prefix that stores take: {error}")).advice(FORMS)
    })?;
    if url.scheme() == "memory" {
        return Ok((in_memory(bucket), prefix));
    }
    if bucket.is_empty() {
        return Err(Error::usage(format!("{url} names no bucket")).advice(FORMS));
    }
    if let Some(endpoint) = &options.endpoint {
        check_endpoint(endpoint)?;
    }
    sendable(options)?;
    // Another part of the process may have chosen a provider: any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = match url.scheme() {
        "s3" => s3(bucket, options),
        "gs" => gcs(bucket, options),
        "az" => azure(bucket, options),
        scheme => return Err(Error::usage(format!("{url}: \"{scheme}\" is no kind of store")).advice(FORMS)),
    };
    // The builders' errors may quote what they were given.
    let store = store.map_err(|_| {
        Error::operator(format!("the options for {url} do not fit together"))
            .advice("give endpoint, region, access_key_id and secret_access_key, or none of the keys to use the environment's")
    })?;
    let store = store.ok_or_else(|| {
        Error::operator(format!("there are no credentials for {url}"))
            .advice(format!("put them into {}.options, or into the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_KEY)", owner.section()))
    })?;
    Ok((store, prefix))
}

/// What goes into headers must fit there: the clouds' libraries take it for granted.
fn sendable(options: &StoreOptions) -> Result<()> {
    let StoreOptions { region, access_key_id, session_token, .. } = options;
    let sent = [("region", region), ("access_key_id", access_key_id), ("session_token", session_token)];
    let unfit = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(char::is_control));
    match sent.into_iter().find(|(_, text)| unfit(text)) {
        Some((name, _)) => Err(Error::usage(format!("the store's {name} has a line break in it"))
            .advice("give it alone, without names, quotes or further lines")),
        None => Ok(()),
    }
}

/// It is shown to people, so it carries no credential.
fn check_endpoint(endpoint: &str) -> Result<()> {
    let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    match url {
        Some(url) if url.username().is_empty() && url.password().is_none() => Ok(()),
        Some(_) => Err(Error::usage("the store's endpoint carries a user").advice(FORMS)),
        None => Err(Error::usage("the store's endpoint is no http:// or https:// URL")
            .advice("write it as https://host:port, without the bucket")),
    }
}

/// Written files are synced before a put returns, and so is their folder: a commit must not outlive its segments.
fn local(url: &Url, owner: Owner) -> Result<Opened> {
    let no_folder = |()| Error::usage(format!("{url} is no folder of this machine")).advice(FORMS);
    let folder = url.to_file_path().map_err(no_folder)?;
    let failed = |error: &dyn std::fmt::Display| {
        let error = Error::operator(format!("cannot use the folder {}: {error}", folder.display()));
        match owner {
            Owner::Log => error.advice("create it, and let the user that runs tapedeck write to it"),
            Owner::Source => error.advice("write localStorage.path of the source's milvus.yaml as this machine sees it, and let the user that runs tapedeck read it"),
        }
    };
    if owner == Owner::Log {
        std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
    }
    let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| failed(&error))?;
    Ok((Arc::new(store.with_fsync(true)), Path::ROOT))
}

/// Stores in memory by name, for as long as the process runs.
fn in_memory(name: &str) -> Arc<dyn ObjectStore> {
    static STORES: LazyLock<Mutex<BTreeMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    stores.entry(name.to_owned()).or_default().clone()
}

/// A store, where its options or the environment hold credentials. Without any, the clouds' libraries would ask the
/// metadata service of the machine; a log that is given through an API must not make this process do that.
type WithCredentials = object_store::Result<Option<Arc<dyn ObjectStore>>>;

fn s3(bucket: &str, options: &StoreOptions) -> WithCredentials {
    // A key of the task must not be joined by a session token of the environment.
    let builder = match options.access_key_id {
        Some(_) => AmazonS3Builder::new().with_region("us-east-1"),
        None => AmazonS3Builder::from_env(),
    };
    let mut builder = builder
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(options.virtual_hosted_style)
        .with_unsigned_payload(true) // the log has digests of its own
        .with_disable_bulk_delete(true) // not every S3 has it
        .with_http_connector(Connector)
        .with_retry(retries());
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(key) = &options.access_key_id {
        builder = builder.with_access_key_id(key);
    }
    if let Some(secret) = &options.secret_access_key {
        builder = builder.with_secret_access_key(secret);
    }
    if let Some(token) = &options.session_token {
        builder = builder.with_token(token);
    }
    if options.checksum {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    if let Some(read) = &options.renewed {
        builder = builder.with_credentials(Arc::new(Renewed::new(read.clone())));
    }
    if builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_none() {
        return Ok(None);
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let client = client(endpoint.as_deref(), options)?;
    Ok(Some(Arc::new(builder.with_client_options(client).build()?)))
}

fn gcs(bucket: &str, options: &StoreOptions) -> WithCredentials {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket)
        .with_client_options(client(options.endpoint.as_deref(), options)?)
        .with_http_connector(Connector)
        .with_retry(retries());
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if let Some(account) = &options.secret_access_key {
        builder = builder.with_service_account_key(account);
    }
    let keys = [
        GoogleConfigKey::ServiceAccount,
        GoogleConfigKey::ServiceAccountKey,
        GoogleConfigKey::ApplicationCredentials,
    ];
    if keys.iter().all(|key| builder.get_config_value(key).is_none()) {
        return Ok(None);
    }
    Ok(Some(Arc::new(builder.build()?)))
}

fn azure(container: &str, options: &StoreOptions) -> WithCredentials {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(container)
        .with_client_options(client(options.endpoint.as_deref(), options)?)
        .with_http_connector(Connector)
        .with_retry(retries());
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if let Some(account) = &options.access_key_id {
        builder = builder.with_account(account);
    }
    if let Some(key) = &options.secret_access_key {
        builder = builder.with_access_key(key);
    }
    let keys = [AzureConfigKey::AccessKey, AzureConfigKey::SasKey, AzureConfigKey::ClientSecret];
    if keys.iter().all(|key| builder.get_config_value(key).is_none()) {
        return Ok(None);
    }
    Ok(Some(Arc::new(builder.build()?)))
}

/// `read` bounds the time of a request until its answer begins, and each wait after that, so that a half-open connection
/// is given up; a large body goes past it (see [`Connector`]), and a long answer may come slowly. Idle connections go
/// before it ends, lest each of them be tried for as long.
fn client(endpoint: Option<&str>, options: &StoreOptions) -> object_store::Result<ClientOptions> {
    let is_http = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut client = ClientOptions::new()
        .with_allow_http(is_http)
        .with_connect_timeout(Duration::from_secs(5))
        .with_read_timeout(ANSWER)
        .with_pool_idle_timeout(Duration::from_secs(10))
        .with_timeout_disabled();
    let is_here =
        |endpoint: &&str| Url::parse(endpoint).is_ok_and(|url| url.host_str().is_some_and(is_loopback));
    if let Some(endpoint) = endpoint.filter(is_here) {
        // One that is given, and used for nothing, takes the place of the environment's.
        client = client.with_proxy_url(endpoint).with_proxy_excludes("localhost,127.0.0.0/8,::1");
    }
    for certificate in options.ca.iter().map(|ca| Certificate::from_pem_bundle(ca.as_bytes())) {
        client = certificate?.into_iter().fold(client, ClientOptions::with_root_certificate);
    }
    Ok(client)
}

/// Short: the loops above try again, and say so.
fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(5),
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(1),
            base: 2.,
        },
    }
}
