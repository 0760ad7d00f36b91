//! Keys of which no older row lives. Pure.

use std::collections::HashMap;

use crate::catalog::{CollectionId, PartitionId};
use crate::rows::Key;
use crate::tick::Tso;

/// Bytes of a slot: a hash, a TSO, and the table's own. Of eight slots seven are used, and their number is a power of two.
const SLOT: usize = 25;
/// Slots of the smallest table.
const FEWEST: usize = 16;

/// How often the rows must be gone through so that the keys closed on the way fit into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// How often.
    pub count: u64,
    /// Keys of each.
    most: usize,
}

impl Passes {
    /// For at most so many deletes and upserts.
    pub fn new(closing: u64, budget_bytes: usize) -> Passes {
        let most = Passes::keys_in(budget_bytes);
        // Hashes are spread evenly, but not exactly so.
        let count = closing.div_ceil((most - most / 8) as u64).max(1);
        let closing = usize::try_from(closing).unwrap_or(usize::MAX);
        Passes { count, most: most.min(closing) }
    }

    /// How many keys fit.
    pub fn keys_in(budget_bytes: usize) -> usize {
        let slots = (budget_bytes / SLOT).max(FEWEST);
        (1 << slots.ilog2()) / 8 * 7
    }
}

/// The keys of one pass: those whose hash leaves its number as remainder. What is held of a key is its hash: two keys of
/// one hash are not to be found, even on purpose.
pub struct Closed {
    passes: Passes,
    pass: u64,
    keys: HashMap<[u8; 16], Tso>,
}

impl Closed {
    /// None yet.
    pub fn new(passes: Passes, pass: u64) -> Closed {
        Closed { passes, pass, keys: HashMap::with_capacity(passes.most) }
    }

    /// Whether a key is one of this pass.
    pub fn takes(&self, id: CollectionId, key: &Key) -> bool {
        self.passes.count == 1
            || u128::from_le_bytes(hash(id, None, key)) % u128::from(self.passes.count) == self.pass.into()
    }

    /// Closes a key, in one partition or in all: of its rows no older one lives.
    pub fn close(&mut self, id: CollectionId, partition: Option<PartitionId>, key: &Key, tso: Tso) {
        let closed = self.keys.entry(hash(id, partition, key)).or_default();
        *closed = tso.max(*closed);
    }

    /// Whether a row lives, as far as what is newer says. What has its own TSO came before it, or with it.
    pub fn lives(&self, id: CollectionId, partition: PartitionId, key: &Key, tso: Tso) -> bool {
        let places = [None, Some(partition)].into_iter();
        let mut closed = places.filter_map(|place| self.keys.get(&hash(id, place, key)));
        closed.all(|closed| *closed <= tso)
    }
}

fn hash(id: CollectionId, partition: Option<PartitionId>, key: &Key) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&id.to_le_bytes());
    hasher.update(&[partition.is_some().into()]);
    hasher.update(&partition.unwrap_or_default().to_le_bytes());
    match key {
        Key::Int(key) => hasher.update(&key.to_le_bytes()),
        Key::Text(key) => hasher.update(key.as_bytes()),
    };
    let mut hash = [0; 16];
    hasher.finalize_xof().fill(&mut hash);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_pass_fit_into_the_memory_that_they_are_given() {
        for budget in [0, 1000, 4 << 20, 64 << 20] {
            let keys = Passes::keys_in(budget);
            assert!(keys >= 14 && (keys < 16 || keys / 7 * 8 * SLOT <= budget), "{budget}: {keys}");
            for (closing, counts) in [(0, 1..2), (keys as u64 / 2, 1..2), (keys as u64 * 10, 11..13)] {
                assert!(counts.contains(&Passes::new(closing, budget).count), "{budget}: {closing}");
            }
        }
    }

    #[test]
    fn every_key_is_taken_in_one_pass() {
        let passes = Passes::new(100, 0);
        let all = (0..passes.count).map(|pass| Closed::new(passes, pass)).collect::<Vec<_>>();
        for key in (0..1000).map(Key::Int).chain((0..1000).map(|key| Key::Text(key.to_string()))) {
            assert_eq!(all.iter().filter(|closed| closed.takes(7, &key)).count(), 1, "{key:?}");
        }
    }
}
