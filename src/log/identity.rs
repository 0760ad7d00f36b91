//! `log.json`: which log this is. Written once, before the first commit.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::damage::Damage;
use super::envelope::VERSION;
use super::layout;
use super::store::{Created, Store};
use crate::error::{Error, Result};

/// What `log.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// A uuid; segments and checkpoints carry it too.
    pub log_id: String,
    /// Format version of the whole log.
    pub format: u32,
    /// RFC 3339.
    pub created: String,
    /// BLAKE3 in hexadecimal of the three values above, each followed by a line feed.
    pub digest: String,
}

impl Identity {
    pub(super) fn new(log_id: Uuid, created: jiff::Timestamp) -> Identity {
        let mut identity = Identity {
            log_id: log_id.to_string(),
            format: VERSION,
            created: created.to_string(),
            digest: String::new(),
        };
        identity.digest = identity.right_digest();
        identity
    }

    fn right_digest(&self) -> String {
        blake3::hash(format!("{}\n{}\n{}\n", self.log_id, self.format, self.created).as_bytes()).to_string()
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        serde_json::to_vec_pretty(self).unwrap_or_default().into()
    }

    /// The identity in the object's bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Identity, Damage> {
        let key = layout::IDENTITY;
        let identity: Identity = serde_json::from_slice(bytes)
            .map_err(|error| Damage::new(key, error.column(), format!("is no identity of a log: {error}")))?;
        if identity.digest != identity.right_digest() {
            return Err(Damage::new(
                key,
                None,
                "is damaged: its values do not have the digest that it names",
            ));
        }
        if identity.format > VERSION {
            return Err(Damage::newer(key, identity.format));
        }
        Ok(identity)
    }

    /// That of the log in `store`, if there is one.
    pub async fn load(store: &Store) -> Result<Option<Identity>> {
        let bytes = store.get(layout::IDENTITY).await?;
        Ok(bytes.map(|bytes| Identity::from_bytes(&bytes)).transpose()?)
    }

    /// That of the log in `store`, which is begun if there is none.
    pub async fn load_or_create(store: &Store) -> Result<Identity> {
        if let Some(identity) = Identity::load(store).await? {
            return Ok(identity);
        }
        if let Some((key, _)) = store.list(layout::COMMITS, None).await?.first() {
            return Err(Error::refused(format!("{store} holds {key} but no {}", layout::IDENTITY)).advice(
                "bring log.json back from a copy of the bucket, or choose another prefix for a new log",
            ));
        }
        let identity = Identity::new(Uuid::new_v4(), jiff::Timestamp::now());
        match store.create(layout::IDENTITY, identity.to_bytes()).await? {
            Created::Yes => Ok(identity),
            Created::No(existing) => Ok(Identity::from_bytes(&existing)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_of_a_later_format_is_refused_by_its_number() {
        let mut identity = Identity::new(Uuid::nil(), jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(Identity::from_bytes(&identity.to_bytes()).unwrap(), identity);
        identity.format = 2;
        identity.digest = identity.right_digest();
        let damage = Identity::from_bytes(&identity.to_bytes()).unwrap_err();
        assert!(damage.to_string().contains("log.json has format version 2"), "{damage}");
    }

    #[tokio::test]
    async fn a_log_that_lost_its_identity_is_not_begun_anew() {
        let store = Store::memory();
        store.put(&layout::commit(crate::position::Seq(1)), Bytes::from_static(b"x")).await.unwrap();
        let error = Identity::load_or_create(&store).await.unwrap_err();
        assert!(error.message.contains("commits/00000000000000000001.pb but no log.json"), "{error}");
    }
}
