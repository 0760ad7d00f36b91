//! The secondary: what a RocksMQ holds as of the last look at its primary. Everything here blocks.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::{env, fs};

use bytes::Bytes;
use rocksdb::{DB, DBRawIterator, LogLevel, Options, ReadOptions};

use super::failure::{failed, other_kind};
use super::identity::Identity;
use super::key::{key, position, range};
use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::message;
use crate::position::{Channel, Position};
use crate::source::QueueMessage;
use crate::source::order::{check_kept, hole, truncated};

/// RocksMQ has made this column family in every version, and left it empty in most.
const PROPERTIES: &str = "properties";

/// How often a look is begun anew because the primary flushed meanwhile.
const MOST_LOOKS: usize = 20;

/// A RocksMQ that is read.
#[derive(Debug)]
pub(super) struct Store {
    db: DB,
    /// After a look that failed the secondary may hold newer messages and lack older ones: nothing is read then.
    whole: RwLock<Result<()>>,
    /// What the secondary writes: its log. Removed after it is closed.
    _own: Scratch,
    path: PathBuf,
    identity: Identity,
}

impl Store {
    pub fn open(path: &Path) -> Result<Store> {
        let identity = Identity::read(path)?;
        let families = DB::list_cf(&Options::default(), path).map_err(|error| failed(path, &error))?;
        if !families.iter().any(|family| family == PROPERTIES) {
            return Err(other_kind(path));
        }
        let own = Scratch::make(&env::temp_dir()).map_err(|error| {
            Error::operator(format!("no folder for RocksDB's own log: {error}"))
                .advice("make sure that the temporary folder (TMPDIR) can be written")
        })?;
        let mut options = Options::default();
        // the primary removes files that a secondary may still need
        options.set_max_open_files(-1);
        options.set_log_level(LogLevel::Error);
        options.set_max_log_file_size(1 << 20);
        options.set_keep_log_file_num(1);
        let db = DB::open_as_secondary(&options, path, own.path()).map_err(|error| failed(path, &error))?;
        let store = Store { db, whole: RwLock::new(Ok(())), _own: own, path: path.to_owned(), identity };
        store.catch_up()?;
        let mut any = store.db.raw_iterator();
        any.seek_to_first();
        if any.key().is_some_and(|key| position(key).is_none()) {
            return Err(other_kind(path));
        }
        drop(any);
        Ok(store)
    }

    /// What tells this RocksDB from every other, also from one that was made anew at the same place.
    pub fn id(&self) -> &str {
        &self.identity.id
    }

    /// Takes over what the primary has written since, and returns a number that grows with it.
    ///
    /// RocksDB takes over the list of files (the manifest) first and then what stands in the logs of writes: of a log that the
    /// primary flushes and removes in between it gets neither, but it does get what follows. A log is removed after the
    /// manifest was written: a look during which that happened is begun anew.
    pub fn catch_up(&self) -> Result<u64> {
        let mut whole = self.whole.write().unwrap_or_else(PoisonError::into_inner);
        let looked = self.look();
        *whole = looked.as_ref().map(drop).map_err(Error::clone);
        looked
    }

    fn look(&self) -> Result<u64> {
        for _ in 0..MOST_LOOKS {
            let before = self.manifest()?;
            // At once before it: RocksDB does not bear another manifest than its own.
            self.identity.check(&self.path)?;
            self.db.try_catch_up_with_primary().map_err(|error| failed(&self.path, &error))?;
            if self.manifest()? == before {
                self.identity.check(&self.path)?;
                return Ok(self.db.latest_sequence_number());
            }
        }
        Err(Error::retry(format!("RocksMQ at {} flushes faster than it can be read", self.path.display())))
    }

    /// Which manifest is written, and how far.
    fn manifest(&self) -> Result<(String, u64)> {
        let found = fs::read_to_string(self.path.join("CURRENT")).and_then(|name| {
            let length = fs::metadata(self.path.join(name.trim()))?.len();
            Ok((name, length))
        });
        found.map_err(|error| {
            let path = self.path.display();
            Error::retry(format!("the manifest of RocksMQ at {path} cannot be read: {error}"))
        })
    }

    /// `[first kept, next to be written)`; none where a topic holds no message.
    pub fn kept(&self, channel: &Channel) -> Result<Option<Range<Position>>> {
        let mut messages = self.messages(channel)?;
        messages.seek_to_first();
        let first = self.at(&messages)?;
        messages.seek_to_last();
        let last = self.at(&messages)?;
        Ok(first.zip(last).map(|(first, last)| first..last.next()))
    }

    /// The same, of a topic that must be there.
    pub fn bounds(&self, channel: &Channel) -> Result<Range<Position>> {
        self.kept(channel)?.ok_or_else(|| {
            Error::operator(format!("RocksMQ at {} has no message of topic {channel}", self.path.display()))
                .advice("check the topic's name, and that the path is that of this source")
        })
    }

    /// Refuses a position from which reading cannot begin.
    pub fn check(&self, channel: &Channel, from: Position) -> Result<()> {
        check_kept(channel, from, &self.bounds(channel)?)?;
        self.messages_from(channel, from).map(drop)
    }

    /// Messages from a position on, up to so many bytes, at least one if there is one. One iterator is one instant:
    /// whether something was removed before the first of them is decided at the same.
    pub fn read(&self, channel: &Channel, from: Position, bytes: usize) -> Result<Vec<QueueMessage>> {
        let mut messages = self.messages_from(channel, from)?;
        let (mut taken, mut batch) = (0, Vec::new());
        while taken < bytes
            && let Some(position) = self.at(&messages)?
        {
            let payload = payload(&messages);
            taken += payload.len();
            batch.push(QueueMessage { position, payload });
            messages.next();
        }
        Ok(batch)
    }

    /// Where the first message with a TSO from `millis` on stands: ids say nothing about time.
    pub fn position_at(&self, channel: &Channel, millis: u64) -> Result<Position> {
        let Range { start, end } = self.bounds(channel)?;
        // everything before `low` is older; nothing from `high` on is
        let (mut low, mut high) = (start.offset, end.offset);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.dated(channel, Position::offset(middle))? {
                Some((position, date)) if date < millis => low = position.next().offset,
                _ => high = middle,
            }
        }
        Ok(Position::offset(low))
    }

    /// The first message with a date at or after a position.
    fn dated(&self, channel: &Channel, from: Position) -> Result<Option<(Position, u64)>> {
        let mut messages = self.messages(channel)?;
        messages.seek(key(channel, from));
        while let Some(position) = self.at(&messages)? {
            let header = message::header(&payload(&messages)).ok();
            if let Some(date) = header.map(|header| header.tso.millis()).filter(|date| *date > 0) {
                return Ok(Some((position, date)));
            }
            messages.next();
        }
        Ok(None)
    }

    /// The messages of a topic from a position on, which is that of a message or just after one. Where older messages
    /// are kept, that message is too, or the end was lost.
    fn messages_from(&self, channel: &Channel, from: Position) -> Result<DBRawIterator<'_>> {
        let mut messages = self.messages(channel)?;
        messages.seek_for_prev(key(channel, from));
        match self.at(&messages)? {
            Some(here) if here == from => {}
            Some(before) if before.next() == from => messages.next(),
            Some(older) => {
                let why = format_args!(
                    "the message at position {from} or just before is gone, that at {older} is not"
                );
                return Err(truncated(channel, why));
            }
            None => {
                messages.seek_to_first();
                if let Some(first) = self.at(&messages)? {
                    return Err(hole(channel, from..first));
                }
            }
        }
        Ok(messages)
    }

    fn messages(&self, channel: &Channel) -> Result<DBRawIterator<'_>> {
        let mut options = ReadOptions::default();
        let keys = range(channel);
        options.set_iterate_lower_bound(keys.start);
        options.set_iterate_upper_bound(keys.end);
        let whole = self.whole.read().unwrap_or_else(PoisonError::into_inner);
        whole.clone()?;
        Ok(self.db.raw_iterator_opt(options))
    }

    /// Where an iterator stands; none: beyond what there is.
    fn at(&self, messages: &DBRawIterator<'_>) -> Result<Option<Position>> {
        messages.status().map_err(|error| failed(&self.path, &error))?;
        messages.key().map(|key| position(key).ok_or_else(|| other_kind(&self.path))).transpose()
    }
}

fn payload(messages: &DBRawIterator<'_>) -> Bytes {
    Bytes::copy_from_slice(messages.value().unwrap_or_default())
}
