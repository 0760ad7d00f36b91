//! What a store's error means: who acts now.
//!
//! `object_store` keeps the HTTP status of an error in its text only; a test with a real HTTP answer watches over that.
//! Of an answer's body nothing is shown but S3's code and message: bodies can repeat tokens.

use std::error::Error as StdError;
use std::io;

use object_store::Error as StoreError;
use object_store::client::HttpError;

use super::{Owner, Store};
use crate::error::Error;
use crate::tls::{HTTP, advice};

const STATUS: &str = "Server returned non-2xx status code: ";
const UNREACHABLE: &str = "see that the store is running and that its endpoint can be reached from here";
const BUCKET: &str = "create the bucket, or correct its name, the region or the endpoint";
const REGION: &str = "correct the region or the endpoint";
const FOREIGN: &str =
    "correct the endpoint: it must be that of an S3, GCS or Azure service, and the port the one of its API";

const PROXY: &str =
    "see that the store behind the endpoint is running, and that the endpoint is that of its API";

const KEPT: &str = "nothing is lost, and what is kept does no harm: when the policy's time is over, prune again; \
                    keep as long as it does (--keep-window, upkeep.keep_window)";
const CHECKSUM: &str =
    "write \"checksum\": true into the store's options (AWS_CHECKSUM_ALGORITHM=sha256 for a command)";

/// Whether a policy, and no lack of permission, keeps an object from being deleted or overwritten: a lock, a retention,
/// or a rule of the bucket that denies it to all.
pub(super) fn is_kept(error: &StoreError) -> bool {
    let words = [
        "ImmutableDueTo", // Azure
        "immutable due to",
        "ObjectLocked", // S3, MinIO
        "object lock",
        "WORM protected",
        "explicit deny in a resource-based policy",
        "RetentionPolicyNotMet", // GCS
        "retention policy",
        "ObjectUnderActiveHold",
    ];
    words.iter().any(|word| says(error, word))
}

/// Whether the object is not there; a bucket that is not there is something else, and so is an answer that a proxy gives
/// in the store's place.
pub(super) fn is_absent(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. }) && !no_bucket(error) && !is_foreign(error)
}

/// The error of `doing` something to `key`.
pub(super) fn failure(store: &Store, doing: &str, key: &str, error: &StoreError) -> Error {
    let failed = |why: &str| format!("cannot {doing} {key} in {store}: {why}");
    match error {
        _ if no_bucket(error) => Error::operator(failed("there is no such bucket")).advice(BUCKET),
        _ if says(error, "HTTP request to an HTTPS server") => Error::operator(failed("it wants TLS"))
            .advice(format!("write https:// in {}.options.endpoint", store.owner.section())),
        _ if let Some(advice) = outdated(store, error) => {
            Error::retry(failed(&format!("access denied{}", answer(error)))).advice(advice)
        }
        _ if is_foreign(error) => {
            let status = status(error).unwrap_or_default();
            if store.on_trial {
                Error::operator(failed(&format!("what answers {status} there is no object store")))
                    .advice(FOREIGN)
            } else {
                let why = format!("something answers {status}, but not as an object store does");
                Error::retry(failed(&why)).advice(PROXY)
            }
        }
        StoreError::NotFound { .. } => Error::operator(failed("it is not there")).advice(FOREIGN),
        _ if doing.starts_with("delete") && is_kept(error) => {
            Error::operator(failed(&format!("a policy of the store keeps it{}", answer(error)))).advice(KEPT)
        }
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => {
            // S3 has the code also for puts and deletes that meet.
            if doing == "create" || says(error, "OperationAborted") {
                return Error::retry(failed("another request is writing it"));
            }
            let status = status(error).unwrap_or_default();
            Error::operator(failed(&format!("it answers {status}{}", answer(error))))
                .advice("see what the store's documentation says of this code")
        }
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            Error::operator(failed(&format!("access denied{}", answer(error))))
                .advice(credentials(store.owner))
        }
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => {
            Error::operator(failed("the store does not have this operation")).advice("use another store")
        }
        _ => other(store.owner, error, failed),
    }
}

/// What helps where credentials were right, and are at another time.
fn outdated(store: &Store, error: &StoreError) -> Option<String> {
    let has = |codes: &[&str]| codes.iter().any(|code| says(error, &format!("<Code>{code}</Code>")));
    let section = store.owner.section();
    // MinIO knows nothing of a key that has expired.
    let is_unknown = store.renews && !store.on_trial && has(&["InvalidAccessKeyId"]);
    if is_unknown || has(&["ExpiredToken", "InvalidToken"]) {
        return Some(format!(
            "let {section}.options.session_token be the file of a token that holds, with its access key and secret: \
             it goes on by itself; a variable is read when the service starts"
        ));
    }
    has(&["RequestTimeTooSkewed"]).then(|| "set the clock of this machine, or of the store".to_owned())
}

fn credentials(owner: Owner) -> String {
    let may = match owner {
        Owner::Log => "get, put, list and delete objects under the log's prefix",
        Owner::Source => "get and list objects under the source's root path",
    };
    format!("check access key and secret, and that they may {may}")
}

fn says(error: &StoreError, words: &str) -> bool {
    causes(error).any(|cause| cause.to_string().contains(words))
}

fn other(owner: Owner, error: &StoreError, failed: impl Fn(&str) -> String) -> Error {
    if let Some(io) =
        causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).filter(|_| is_local(error))
    {
        return local(owner, io, failed);
    }
    if says(error, "incorrectly configured region") {
        return Error::operator(failed("it is in another region")).advice(REGION);
    }
    if let Some(status) = status(error) {
        let why = format!("it answers {status}{}", answer(error));
        return match status {
            408 | 409 | 429 | 500.. => {
                Error::retry(failed(&why)).advice("see what the store's own log says, if this goes on")
            }
            // A body that holds an error came with a good status.
            200..=299 => Error::retry(failed(&why)),
            301 | 307 => Error::operator(failed(&why)).advice(REGION),
            400 if says(error, "x-amz-checksum") || says(error, "Content-MD5") => {
                Error::operator(failed(&why)).advice(CHECKSUM)
            }
            _ => Error::operator(failed(&why)).advice(credentials(owner)),
        };
    }
    if let Some(http) = causes(error).find_map(|cause| cause.downcast_ref::<HttpError>()) {
        let deepest = causes(http).last().map(ToString::to_string).unwrap_or_default();
        return Error::retry(failed(&format!("no answer ({:?}: {deepest})", http.kind()))).advice(
            advice(&deepest, &format!("{}.options", owner.section()), HTTP)
                .unwrap_or_else(|| UNREACHABLE.to_owned()),
        );
    }
    // Bodies that broke off, and credentials that the environment should have given.
    let text = causes(error).last().map(ToString::to_string).unwrap_or_default();
    if says(error, "credential") || says(error, "token") {
        return Error::operator(failed("there are no usable credentials")).advice(credentials(owner));
    }
    Error::retry(failed(&text.chars().take(200).collect::<String>())).advice(UNREACHABLE)
}

fn local(owner: Owner, error: &io::Error, failed: impl Fn(&str) -> String) -> Error {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let why = failed(&error.to_string());
    match error.kind() {
        StorageFull | QuotaExceeded => {
            Error::retry(why).advice("free some room on the disk: it goes on by itself")
        }
        PermissionDenied | ReadOnlyFilesystem => Error::operator(why).advice(match owner {
            Owner::Log => "let the user that runs tapedeck write to the folder",
            Owner::Source => {
                "let the user that runs tapedeck read the folder and every file in it, also later ones"
            }
        }),
        _ => Error::retry(why),
    }
}

fn is_local(error: &StoreError) -> bool {
    matches!(error, StoreError::Generic { store: "LocalFileSystem", .. })
}

/// Below a 404 there may be no object, or not even a bucket.
fn no_bucket(error: &StoreError) -> bool {
    let codes = ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"];
    matches!(error, StoreError::NotFound { .. })
        && causes(error).any(|cause| codes.iter().any(|code| cause.to_string().contains(code)))
}

/// Whether an answer is a refusal in words that no object store uses: a web page, or a line of text. Of what is not
/// there all stores tell with a code, where they are not asked by HEAD.
fn is_foreign(error: &StoreError) -> bool {
    let text = causes(error).map(ToString::to_string).find(|text| text.starts_with(STATUS));
    let body = text.as_deref().and_then(|text| Some(text.strip_prefix(STATUS)?.split_once(": ")?.1.trim()));
    let is_known = |body: &str| body.contains("<Code>") || body.contains("\"error\"");
    match status(error) {
        Some(404) => body.is_none_or(|body| !is_known(body)),
        Some(400 | 405) => body.is_some_and(|body| !body.is_empty() && !is_known(body)),
        _ => false,
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn status(error: &StoreError) -> Option<u16> {
    causes(error).find_map(|cause| {
        let text = cause.to_string();
        let status = text.strip_prefix(STATUS)?;
        status.get(..3)?.parse().ok()
    })
}

/// ` (Code: message)` of an S3 answer; empty where there is none.
fn answer(error: &StoreError) -> String {
    let text =
        causes(error).map(ToString::to_string).find(|text| text.contains("<Code>")).unwrap_or_default();
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.chars().take(200).collect::<String>())
    };
    match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => format!(" ({code}: {message})"),
        (Some(code), None) => format!(" ({code})"),
        _ => String::new(),
    }
}
