//! The floor of a log: what lies below it is gone for good.
//!
//! A floor is put before anything below it goes. So whoever finds nothing where a commit should be looks here to tell
//! what was pruned from what was lost; and a writer that slept until its slot was free again, because the commit in it
//! was pruned, finds the floor above it: the look comes after the put, the put came after the commit went, and the
//! commit went after the floor was put.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::damage::Damage;
use super::envelope::{self, Kind};
use super::layout;
use super::store::Store;
use super::tail::FLOORS;
use crate::error::{Error, Result};
use crate::pb::log::Floor;
use crate::position::Seq;
use crate::tick::Tso;

/// The object of a floor.
pub fn seal(floor: &Floor) -> Bytes {
    envelope::seal(Kind::Floor, floor)
}

/// The floor in slot `n` of a log.
pub fn open(log_id: &str, n: u64, bytes: Bytes) -> Result<Floor, Damage> {
    let key = layout::floor(n);
    let floor: Floor = envelope::open(Kind::Floor, &key, bytes)?;
    let wrong = if floor.n != n {
        format!("is floor {}", floor.n)
    } else if floor.log_id != log_id {
        format!("belongs to the log {}, not to {log_id}", floor.log_id)
    } else if floor.first_seq < 2 || floor.first_manifest == 0 {
        "says that nothing is gone".into()
    } else {
        return Ok(floor);
    };
    Err(Damage::new(&key, None, wrong))
}

/// Whether `next` may stand after `previous`: what is gone does not come back.
pub fn follows(previous: Option<&Floor>, next: &Floor) -> Result<(), Damage> {
    let rises = previous.is_none_or(|previous| {
        next.first_seq > previous.first_seq && next.first_manifest >= previous.first_manifest
    });
    let damage = || Damage::new(&layout::floor(next.n), None, "lies below the floor before it");
    if rises { Ok(()) } else { Err(damage()) }
}

/// The commit whose base a log begins with.
pub fn base(floor: &Floor) -> Seq {
    Seq(floor.first_seq.saturating_sub(1))
}

/// The error for whoever wants a commit that was pruned.
pub fn below(floor: &Floor, seq: Seq) -> Error {
    let (first, time) = (floor.first_seq, Tso::from_millis(floor.wall_time_ms).time());
    let (opens, watermark) = (Tso(floor.watermark).time(), floor.watermark);
    Error::refused(format!(
        "commit {seq} was pruned: what lies below commit {first} is gone since {time}, and no instant before {opens} \
         ({watermark}) can be restored"
    ))
    .advice(format!(
        "begin with commit {first} or a later one; a replay that stood below it begins anew with a base, into an empty \
         target under another name"
    ))
}

/// The floor of one log, as far as it was seen. Clones share what they see.
#[derive(Clone, Debug)]
pub struct Floors {
    store: Store,
    log_id: String,
    seen: Arc<RwLock<Option<Floor>>>,
}

impl Floors {
    /// Of the log in a store; nothing was seen yet.
    pub fn new(store: Store, log_id: String) -> Floors {
        Floors { store, log_id, seen: Arc::default() }
    }

    /// The newest floor that was seen.
    pub fn seen(&self) -> Option<Floor> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks for newer ones: the newest there is; none while nothing was pruned.
    pub async fn look(&self) -> Result<Option<Floor>> {
        let known = self.seen().map_or(0, |floor| floor.n);
        let n = FLOORS.last(&self.store, known).await?;
        if n > known {
            let key = layout::floor(n);
            let bytes = self.store.get(&key).await?;
            let bytes = bytes
                .ok_or_else(|| Error::retry(format!("{key} was there and is not now, in {}", self.store)))?;
            let newest = open(&self.log_id, n, bytes)?;
            let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
            if seen.as_ref().is_none_or(|seen| seen.n < n) {
                *seen = Some(newest);
            }
        }
        Ok(self.seen())
    }

    /// Whether there is another one than was seen before: then what is missing may have gone below it. What cannot be
    /// looked at has not risen.
    pub async fn have_risen_from(&self, before: &Option<Floor>) -> bool {
        self.look().await.is_ok_and(|now| now != *before)
    }

    /// Refuses to go on after a commit where what follows it was pruned, or may be at any time.
    pub async fn check_after(&self, seq: Seq) -> Result<()> {
        match self.look().await?.filter(|floor| seq < base(floor)) {
            Some(floor) => Err(below(&floor, seq.next())),
            None => Ok(()),
        }
    }

    /// For a writer that has just made a commit: its slot must not be one that was taken and pruned before.
    pub async fn check_made(&self, seq: Seq) -> Result<()> {
        let Some(floor) = self.look().await?.filter(|floor| seq.0 < floor.first_seq) else { return Ok(()) };
        Err(Error::fenced(format!(
            "commits below {} were pruned while this writer slept: commit {seq} was another's",
            floor.first_seq
        ))
        .advice("another recorder runs on this log, or did: stop one of the two"))
    }
}
