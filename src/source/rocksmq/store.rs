//! The secondary: what a RocksMQ holds as of the last look at its primary. Everything here blocks.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rocksdb::{DB, DBRawIterator, ErrorKind, LogLevel, Options, ReadOptions};
use tempfile::TempDir;

use super::key::{key, position, range};
use crate::error::{Error, Result, Verdict};
use crate::message;
use crate::position::{Channel, Position};
use crate::source::QueueMessage;
use crate::source::order::hole;

/// RocksMQ has made this column family in every version, and left it empty in most.
const PROPERTIES: &str = "properties";

/// A RocksMQ that is read.
#[derive(Debug)]
pub(super) struct Store {
    db: DB,
    /// What the secondary writes: its log. Removed after it is closed.
    _own: TempDir,
    path: PathBuf,
    id: String,
}

impl Store {
    pub fn open(path: &Path) -> Result<Store> {
        let id = read_id(path)?;
        let families = DB::list_cf(&Options::default(), path).map_err(|error| failed(path, &error))?;
        if !families.iter().any(|family| family == PROPERTIES) {
            return Err(other_kind(path));
        }
        let own = tempfile::Builder::new().prefix("tapedeck-rocksmq-").tempdir();
        let own = own.map_err(|error| {
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
        let store = Store { db, _own: own, path: path.to_owned(), id };
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
        &self.id
    }

    /// Takes over what the primary has written since, and returns a number that grows with it.
    pub fn catch_up(&self) -> Result<u64> {
        self.check_same()?;
        self.db.try_catch_up_with_primary().map_err(|error| failed(&self.path, &error))?;
        Ok(self.db.latest_sequence_number())
    }

    /// Refuses a RocksDB that has taken the place of the one that was opened; one that is away may come back.
    fn check_same(&self) -> Result<()> {
        let now = read_id(&self.path).map_err(|error| Error { verdict: Verdict::Retry, ..error })?;
        if now == self.id {
            return Ok(());
        }
        Err(Error::refused(format!(
            "the RocksMQ at {} was re-created: it was {}, and is {now}",
            self.path.display(),
            self.id
        ))
        .advice("record this source into a new log"))
    }

    /// `[first kept, next to be written)`; none where a topic holds no message.
    pub fn kept(&self, channel: &Channel) -> Result<Option<Range<Position>>> {
        let mut messages = self.messages(channel);
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

    /// Messages from a position on, up to so many bytes, at least one if there is one. One iterator is one instant:
    /// whether something was removed before the first of them is decided at the same.
    pub fn read(&self, channel: &Channel, from: Position, bytes: usize) -> Result<Vec<QueueMessage>> {
        let mut messages = self.messages(channel);
        messages.seek_for_prev(key(channel, Position::offset(from.offset.saturating_sub(1))));
        if self.at(&messages)?.is_some() {
            messages.next();
        } else {
            messages.seek_to_first();
            if let Some(first) = self.at(&messages)?.filter(|first| *first > from) {
                return Err(hole(channel, from..first));
            }
        }
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
        let mut messages = self.messages(channel);
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

    fn messages(&self, channel: &Channel) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        let keys = range(channel);
        options.set_iterate_lower_bound(keys.start);
        options.set_iterate_upper_bound(keys.end);
        self.db.raw_iterator_opt(options)
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

/// RocksDB writes an id of its own into every database that it makes.
fn read_id(path: &Path) -> Result<String> {
    let shown = path.display();
    let read = |name: &str| {
        fs::read_to_string(path.join(name)).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => not_allowed(format!("RocksMQ at {shown}: {error}")),
            io::ErrorKind::NotFound if !path.exists() => {
                Error::operator(format!("RocksMQ at {shown}: there is no such folder")).advice(ADVICE)
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Error::operator(format!("RocksMQ at {shown}: there is no RocksDB in it")).advice(ADVICE)
            }
            _ => Error::retry(format!("RocksMQ at {shown}: {error}")),
        })
    };
    read("CURRENT")?;
    Ok(read("IDENTITY")?.trim().to_owned())
}

const ADVICE: &str =
    "write Milvus' `rocksmq.path` as this machine sees it; Milvus makes it at its first start";

fn not_allowed(what: String) -> Error {
    Error::operator(what).advice(
        "run tapedeck as Milvus' user, or let it read the folder and every file in it, also later ones",
    )
}

fn other_kind(path: &Path) -> Error {
    Error::operator(format!("the RocksDB at {} is no RocksMQ", path.display()))
        .advice("write Milvus' `rocksmq.path`, not the folder beside it that ends in _meta_kv")
}

fn failed(path: &Path, error: &rocksdb::Error) -> Error {
    let what = format!("RocksMQ at {}: {error}", path.display());
    match error.kind() {
        _ if error.as_ref().contains("Permission denied") => not_allowed(what),
        ErrorKind::IOError
        | ErrorKind::Busy
        | ErrorKind::TryAgain
        | ErrorKind::TimedOut
        | ErrorKind::Aborted => {
            Error::retry(what).advice("check that the folder is still there and can be read")
        }
        _ => Error::operator(what).advice("check that Milvus itself can read it, and the versions of both"),
    }
}
