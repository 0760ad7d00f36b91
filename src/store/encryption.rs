//! Objects as age files: encrypted when they are put, decrypted when they are read, so that whatever is above a store
//! knows clear bytes only.
//!
//! Each file is for recipients (X25519) and carries its own key in its authenticated header: an object that was put in
//! the place of another is not opened. `formats/encryption.md` has the bytes.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use age_core::format::{FileKey, Stanza};
use bytes::Bytes;

use super::unreadable::Unreadable;
use crate::error::{Error, Result};

pub use age::x25519::{Identity, Recipient};

/// What every age file of every version begins with.
const MAGIC: &[u8] = b"age-encryption.org/";
/// No header is longer: a longer one is not parsed. [`MOST_RECIPIENTS`] need less than half of it.
const LONGEST_HEADER: usize = 64 << 10;
/// Recipients of an object.
pub const MOST_RECIPIENTS: usize = 256;
/// Of the part of a header that names the object.
const PLACE: &str = "tapedeck";

/// Whose keys a log is written for, and is read with.
#[derive(Clone, Default)]
pub struct Keys {
    /// They can read everything.
    pub recipients: Vec<Recipient>,
    /// A recorder's own: what it writes and has to read again is for them too, rows are not.
    pub recorder: Vec<Identity>,
    /// Of readers.
    pub identities: Vec<Identity>,
}

/// How the objects of one log are encrypted and decrypted.
pub struct Encryption {
    /// Of objects with rows.
    rows: Vec<Recipient>,
    /// Of all other objects.
    rest: Vec<Recipient>,
    identities: Vec<Identity>,
    /// Folders of objects with rows.
    folders: &'static [&'static str],
}

impl Encryption {
    /// `folders` are those of objects with rows. Without recipients, what is written is for the readers' keys
    /// themselves. Errors: no key at all, a recorder's key that is a recipient's and so would open rows, readers' keys
    /// that are none of the recipients' and so could not read what is written.
    pub fn new(keys: Keys, folders: &'static [&'static str]) -> Result<Encryption> {
        let Keys { recipients, recorder, identities } = keys;
        if identities.is_empty() && recorder.is_empty() {
            return Err(Error::usage("no key is given that could read the log").advice(
                "give the secret key of one of its recipients, or, to record, a key of the recorder's own",
            ));
        }
        let public = |keys: &[Identity]| keys.iter().map(Identity::to_public).collect::<Vec<_>>();
        let (readers, recorder_public) = (public(&identities), public(&recorder));
        if let Some(key) =
            recorder_public.iter().find(|key| recipients.contains(key) || readers.contains(key))
        {
            return Err(Error::operator(format!(
                "the recorder's key {key} is also a reader's: it would open rows"
            ))
            .advice("make a key for the recorder alone with `tapedeck keygen`"));
        }
        let fits = |key: &Recipient| recipients.is_empty() || recipients.contains(key);
        if let Some(key) = readers.first().filter(|_| !readers.iter().any(fits)) {
            return Err(Error::operator(format!(
                "the reader's key {key} is none of the recipients': it could not read what is written"
            ))
            .advice("add it to the recipients, or give the secret key of one of them"));
        }
        let rows = if recipients.is_empty() { readers } else { recipients };
        let rest = rows.iter().cloned().chain(recorder_public).collect();
        Ok(Encryption { rows, rest, identities: identities.into_iter().chain(recorder).collect(), folders })
    }

    fn recipients(&self, key: &str) -> &[Recipient] {
        let folder = key.split('/').next().unwrap_or_default();
        if self.folders.contains(&folder) { &self.rows } else { &self.rest }
    }

    /// The age file of an object.
    pub fn encrypt(&self, key: &str, clear: &[u8]) -> Result<Bytes> {
        let place = Place::of(key);
        let recipients = self.recipients(key).iter().map(|recipient| recipient as &dyn age::Recipient);
        let recipients = recipients.chain(std::iter::once(&place as &dyn age::Recipient));
        let failed =
            |error: &dyn std::fmt::Display| Error::operator(format!("{key} cannot be encrypted: {error}"));
        let encryptor = Encryptor::with_recipients(recipients).map_err(|error| failed(&error))?;
        let mut stored =
            Vec::with_capacity(clear.len().saturating_add(clear.len() >> 12).saturating_add(1 << 10));
        let mut writer = encryptor.wrap_output(&mut stored).map_err(|error| failed(&error))?;
        writer.write_all(clear).and_then(|()| writer.finish().map(drop)).map_err(|error| failed(&error))?;
        Ok(stored.into())
    }

    /// What an object holds, once all of it has been authenticated.
    pub fn decrypt(&self, key: &str, stored: &[u8]) -> Result<Bytes, Unreadable> {
        if !is_encrypted(stored) {
            return Err(Unreadable::Clear);
        }
        let header = stored.get(..LONGEST_HEADER).unwrap_or(stored);
        if !header.windows(4).any(|end| end == b"\n---") {
            return Err(Unreadable::Damaged("its header has no end".into()));
        }
        let place = Place::of(key);
        let identities = self.identities.iter().map(|identity| AtPlace { identity, place: &place.0 });
        let identities = identities.collect::<Vec<_>>();
        let decryptor = Decryptor::new_buffered(stored)?;
        let mut reader =
            decryptor.decrypt(identities.iter().map(|identity| identity as &dyn age::Identity))?;
        let mut clear = Vec::with_capacity(stored.len());
        reader.read_to_end(&mut clear).map_err(|error| Unreadable::Damaged(error.to_string()))?;
        Ok(clear.into())
    }
}

/// Whether it is an age file, of any version.
pub(super) fn is_encrypted(stored: &[u8]) -> bool {
    stored.starts_with(MAGIC)
}

impl From<DecryptError> for Unreadable {
    fn from(error: DecryptError) -> Unreadable {
        match error {
            DecryptError::NoMatchingKeys => Unreadable::NoKeyFits,
            DecryptError::Io(error) => Unreadable::Damaged(error.to_string()),
            error => Unreadable::Damaged(error.to_string()),
        }
    }
}

/// The object that a file is. No recipient: readers that do not know it pass it over.
struct Place(Stanza);

impl Place {
    fn of(key: &str) -> Place {
        Place(Stanza { tag: PLACE.into(), args: Vec::new(), body: key.as_bytes().to_vec() })
    }
}

impl age::Recipient for Place {
    fn wrap_file_key(&self, _: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let Stanza { tag, args, body } = &self.0;
        let stanza = Stanza { tag: tag.clone(), args: args.clone(), body: body.clone() };
        Ok((vec![stanza], HashSet::new()))
    }
}

/// A key that opens files of one object only.
struct AtPlace<'a> {
    identity: &'a Identity,
    place: &'a Stanza,
}

impl age::Identity for AtPlace<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.identity.unwrap_stanza(stanza)
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let opened = stanzas.iter().find_map(|stanza| self.unwrap_stanza(stanza))?;
        let elsewhere = || DecryptError::Io(io::Error::other("it was written as another object"));
        Some(if stanzas.contains(self.place) { opened } else { Err(elsewhere()) })
    }
}

/// A new key in age's own text format, and its public half.
pub fn new_key(created: jiff::Timestamp) -> (Recipient, String) {
    let identity = Identity::generate();
    let (public, secret) = (identity.to_public(), identity.to_string());
    let text = format!("# created: {created}\n# public key: {public}\n{}\n", secret.expose_secret());
    (public, text)
}

/// The keys in a file in age's own text format. None of its text is in the error.
pub fn read_keys(text: &str) -> Result<Vec<Identity>, &'static str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(str::parse).collect::<Result<Vec<Identity>, _>>();
    let keys = keys.map_err(|_| "a line of it is no secret key of age (AGE-SECRET-KEY-1...)")?;
    if keys.is_empty() { Err("there is no secret key of age (AGE-SECRET-KEY-1...) in it") } else { Ok(keys) }
}

/// Encryption on another thread: of a large object it takes long.
pub(super) async fn apart<T: Send + 'static>(
    encryption: &Arc<Encryption>,
    work: impl FnOnce(&Encryption) -> T + Send + 'static,
) -> Result<T> {
    let encryption = encryption.clone();
    let done = tokio::task::spawn_blocking(move || work(&encryption)).await;
    done.map_err(|died| Error::operator(format!("encryption failed: {died}")))
}

#[cfg(test)]
mod tests;
