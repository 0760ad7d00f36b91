//! What a target must hold: the workload's own list of changes, applied to a target in memory.

use futures::FutureExt;
use tapedeck::change::{CollectionName, DefinitionChange, RowChange};
use tapedeck::target::memory::{Contents, MemoryTarget};
use tapedeck::target::{Mode, Target};
use tapedeck::tick::Tso;

#[derive(Clone, Debug)]
enum Change {
    Define(DefinitionChange),
    Write(CollectionName, RowChange),
}

/// All changes of a source, in order.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    changes: Vec<(Tso, Change)>,
}

impl Oracle {
    pub fn define(&mut self, tso: Tso, change: DefinitionChange) {
        self.changes.push((tso, Change::Define(change)));
    }

    pub fn write(&mut self, tso: Tso, name: &CollectionName, change: RowChange) {
        self.changes.push((tso, Change::Write(name.clone(), change)));
    }

    /// What users of the source see at a TSO.
    pub fn at(&self, tso: Tso) -> Contents {
        self.replay(Tso::ZERO, tso)
    }

    /// What users of the source see in the end.
    pub fn contents(&self) -> Contents {
        self.at(Tso::MAX)
    }

    /// What is there in the end if the rows up to a TSO have never been.
    pub fn with_rows_after(&self, start: Tso) -> Contents {
        self.replay(start, Tso::MAX)
    }

    /// All changes but those that are left out, by their TSO and how they are shown.
    pub fn without(&self, left_out: impl Fn(Tso, &str) -> bool) -> Oracle {
        let kept = self.changes.iter().filter(|(tso, change)| !left_out(*tso, &format!("{change:?}")));
        Oracle { changes: kept.cloned().collect() }
    }

    /// When something changed last.
    pub fn last(&self) -> Tso {
        self.changes.last().expect("a change").0
    }

    /// When something changed.
    pub fn instants(&self) -> Vec<Tso> {
        self.changes.iter().map(|(tso, _)| *tso).collect()
    }

    fn replay(&self, rows_after: Tso, until: Tso) -> Contents {
        let target = MemoryTarget::new();
        for (tso, change) in self.changes.iter().filter(|(tso, _)| *tso <= until) {
            let applied = match change {
                Change::Define(change) => {
                    target.define(change).now_or_never().map(|defined| defined.map(drop))
                }
                Change::Write(name, change) if *tso > rows_after => {
                    target.write(name, change, Mode::Plain).now_or_never()
                }
                Change::Write(..) => continue,
            };
            applied.expect("no waiting").expect("a change that the source granted");
        }
        target.contents()
    }
}

/// Leaves out what Milvus gives no date: indexes and what is loaded.
pub fn dated(mut contents: Contents) -> Contents {
    for collection in contents.collections.values_mut() {
        collection.indexes.clear();
        collection.loaded.clear();
    }
    contents
}

/// As [`assert_same`], but of the rows that the source holds under one key only the newest must be there: what a crash
/// or an unknown outcome may cost.
pub fn assert_newest(found: &Contents, expected: &Contents, what: &str) {
    let mut expected = expected.clone();
    for (name, collection) in &mut expected.collections {
        for (partition, rows) in &mut collection.partitions {
            for (key, held) in rows {
                let there = || found.collections.get(name)?.partitions.get(partition)?.get(key);
                let Some(there) = there() else { continue };
                let mut left = held.iter();
                let all_are_held = there.iter().all(|row| left.any(|held| held == row));
                // Rows of one key stand in the order of their notes, which are TSOs.
                if all_are_held && there.last() == held.last() {
                    held.clone_from(there);
                }
            }
        }
    }
    assert_same(found, &expected, what);
}

/// Fails with the first difference in words.
pub fn assert_same(found: &Contents, expected: &Contents, what: &str) {
    if found == expected {
        return;
    }
    assert_eq!(found.databases, expected.databases, "{what}: databases");
    assert_eq!(found.aliases, expected.aliases, "{what}: aliases");
    let names = |contents: &Contents| contents.collections.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}: collections");
    for (name, expected) in &expected.collections {
        let found = &found.collections[name];
        assert_eq!(found.schema, expected.schema, "{what}: schema of {name}");
        assert_eq!(found.properties, expected.properties, "{what}: properties of {name}");
        assert_eq!(found.indexes, expected.indexes, "{what}: indexes of {name}");
        assert_eq!(found.loaded, expected.loaded, "{what}: what is loaded of {name}");
        let partitions =
            |of: &tapedeck::target::memory::Collection| of.partitions.keys().cloned().collect::<Vec<_>>();
        assert_eq!(partitions(found), partitions(expected), "{what}: partitions of {name}");
        for (partition, expected) in &expected.partitions {
            let counts = |rows: &std::collections::BTreeMap<_, Vec<_>>| {
                rows.iter().map(|(key, rows)| (format!("{key:?}"), rows.len())).collect::<Vec<_>>()
            };
            let found = &found.partitions[partition];
            assert_eq!(counts(found), counts(expected), "{what}: rows of {name} in {partition}");
            for (key, expected) in expected {
                assert_eq!(&found[key], expected, "{what}: {key:?} of {name} in {partition}");
            }
        }
    }
    assert_eq!(found, expected, "{what}");
}
