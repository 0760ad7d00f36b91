//! Credentials of S3 that are renewed while a store is used: their places are read anew.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use crate::error::Result;

/// How often their places are read at most.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What S3 is asked with.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// Token of temporary credentials.
    pub session_token: Option<String>,
}

/// Reads them.
pub type ReadKeys = Arc<dyn Fn() -> Result<Keys> + Send + Sync>;

/// Those that were read last.
pub(super) struct Renewed {
    read: ReadKeys,
    every: Duration,
    last: Mutex<Option<Last>>,
}

struct Last {
    at: Instant,
    read: Keys,
    used: Arc<AwsCredential>,
}

impl Renewed {
    pub fn new(read: ReadKeys) -> Renewed {
        Renewed { read, every: READ_EVERY, last: Mutex::default() }
    }
}

#[async_trait]
impl CredentialProvider for Renewed {
    type Credential = AwsCredential;

    /// New ones are used when they were read twice: whoever renews several files may be half-way. While they cannot be
    /// read the last ones stay.
    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.at.elapsed() < self.every) {
            return Ok(last.used.clone());
        }
        let used = match (&mut *last, (self.read)()) {
            (Some(last), Ok(read)) => {
                if read == last.read {
                    last.used = Arc::new(credential(read.clone()));
                }
                (last.at, last.read) = (Instant::now(), read);
                last.used.clone()
            }
            (Some(last), Err(_)) => {
                last.at = Instant::now();
                last.used.clone()
            }
            (none, Ok(read)) => {
                let used = Arc::new(credential(read.clone()));
                *none = Some(Last { at: Instant::now(), read, used: used.clone() });
                used
            }
            (_, Err(error)) => {
                return Err(object_store::Error::Generic { store: "S3", source: error.message.into() });
            }
        };
        Ok(used)
    }
}

fn credential(keys: Keys) -> AwsCredential {
    let Keys { access_key_id: key_id, secret_access_key: secret_key, session_token: token } = keys;
    AwsCredential { key_id, secret_key, token }
}

/// Shows none of them.
impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[tokio::test]
    async fn renewed_credentials_are_used_when_all_of_them_are_there_and_the_last_ones_until_then() {
        let place = Arc::new(Mutex::new(None));
        let reading = place.clone();
        let read = move || reading.lock().unwrap().clone().ok_or_else(|| Error::operator("no file"));
        let renewed = Renewed { every: Duration::ZERO, ..Renewed::new(Arc::new(read)) };
        let write = |key: &str, secret: &str, token: &str| {
            *place.lock().unwrap() = Some(Keys {
                access_key_id: key.to_owned(),
                secret_access_key: secret.to_owned(),
                session_token: Some(token.to_owned()),
            });
        };
        let used = async || {
            let used = renewed.get_credential().await.unwrap();
            [used.key_id.clone(), used.secret_key.clone(), used.token.clone().unwrap()].concat()
        };
        assert!(renewed.get_credential().await.is_err());
        write("a", "a", "a");
        assert_eq!(used().await, "aaa");
        write("b", "a", "a");
        assert_eq!(used().await, "aaa");
        write("b", "b", "b");
        assert_eq!((used().await, used().await), ("aaa".to_owned(), "bbb".to_owned()));
        *place.lock().unwrap() = None;
        assert_eq!(used().await, "bbb");
    }
}
