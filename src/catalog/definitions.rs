//! The definitions that make a catalog out of nothing. Pure.

use super::Catalog;
use crate::pb::log::{self as pb, Collection, Definition, definition::Change};

impl Catalog {
    /// The definitions, all of TSO 0, that make this catalog out of nothing, in the order in which they are applied: as in a
    /// first commit indexes and load states follow the collection that has them.
    pub fn definitions(&self) -> Vec<Definition> {
        let databases = self.databases.values().cloned().map(Change::CreateDatabase);
        let collections = self.collections.values().flat_map(changes_of);
        let aliases = self.aliases.iter().map(|((database_id, name), collection_id)| {
            let (database_id, name, collection_id) = (*database_id, name.clone(), *collection_id);
            Change::CreateAlias(pb::Alias { database_id, name, collection_id })
        });
        let changes = databases.chain(collections).chain(aliases);
        changes.map(|change| Definition { tso: 0, exact: false, change: Some(change) }).collect()
    }
}

fn changes_of(collection: &Collection) -> Vec<Change> {
    let collection_id = collection.id;
    let bare = Collection { indexes: Vec::new(), load: None, ..collection.clone() };
    let mut changes = vec![Change::CreateCollection(bare)];
    changes.extend(collection.indexes.iter().cloned().map(|index| {
        let index = Some(index);
        Change::CreateIndex(pb::CreateIndex { collection_id, index })
    }));
    let Some(pb::Load { replicas, whole, partition_ids }) = &collection.load else { return changes };
    let asked = if *whole { Vec::new() } else { partition_ids.clone() };
    let load = pb::LoadChange { collection_id, whole: *whole, partition_ids: asked, replicas: *replicas };
    changes.push(Change::Load(load));
    let known = collection.partitions.iter().map(|partition| partition.id);
    let released = known.filter(|id| *whole && !partition_ids.contains(id)).collect::<Vec<_>>();
    if !released.is_empty() {
        let partition_ids = released;
        changes.push(Change::Release(pb::LoadChange { collection_id, partition_ids, ..Default::default() }));
    }
    changes
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::pb::log::{CreateIndex, CreatePartition, DropPartition, Index, LoadChange, Partition};

    const PARTITIONS: std::ops::Range<i64> = 1..5;

    fn creation(id: i64) -> impl Strategy<Value = Change> {
        (1i64..3, vec(Just(()), 0..2)).prop_map(move |(database_id, more)| {
            let partition = |id| Partition { id, name: format!("p{id}"), create_tso: 3 };
            let partitions = (1..2 + more.len() as i64).map(partition).collect();
            let name = format!("docs{id}");
            Change::CreateCollection(Collection { id, database_id, name, partitions, ..Default::default() })
        })
    }

    fn change() -> impl Strategy<Value = Change> {
        let load = |collection_id: i64| {
            let partitions = prop::collection::btree_set(PARTITIONS, 1..3);
            (any::<bool>(), partitions, 1i32..3).prop_map(move |(whole, ids, replicas)| LoadChange {
                collection_id,
                whole,
                partition_ids: ids.into_iter().collect(),
                replicas,
            })
        };
        (7i64..10).prop_flat_map(move |collection_id| {
            prop_oneof![
                creation(collection_id),
                (1i64..4).prop_map(move |id| {
                    let index = Some(Index { id, name: format!("i{id}"), ..Default::default() });
                    Change::CreateIndex(CreateIndex { collection_id, index })
                }),
                PARTITIONS.prop_map(move |id| {
                    let partition = Some(Partition { id, name: format!("p{id}"), create_tso: 4 });
                    Change::CreatePartition(CreatePartition { collection_id, partition })
                }),
                PARTITIONS.prop_map(move |partition_id| {
                    Change::DropPartition(DropPartition { collection_id, partition_id })
                }),
                load(collection_id).prop_map(Change::Load),
                load(collection_id).prop_map(Change::Release),
                (1i64..3, "[xy]").prop_map(move |(database_id, name)| {
                    Change::CreateAlias(pb::Alias { database_id, name, collection_id })
                }),
            ]
        })
    }

    /// As a source would have it: nothing is done to what is not there.
    fn is_possible(catalog: &Catalog, change: &Change) -> bool {
        let has = |collection: i64, id: &i64| {
            let known = catalog.collections.get(&collection).into_iter().flat_map(|known| &known.partitions);
            known.map(|partition| partition.id).any(|known| known == *id)
        };
        match change {
            Change::CreateCollection(created) => !catalog.collections.contains_key(&created.id),
            Change::CreateAlias(alias) => catalog.collections.contains_key(&alias.collection_id),
            Change::CreateIndex(created) => catalog.collections.contains_key(&created.collection_id),
            Change::CreatePartition(created) => {
                let id = created.partition.as_ref().map_or(0, |partition| partition.id);
                has(created.collection_id, &1) && !has(created.collection_id, &id)
            }
            Change::DropPartition(dropped) => {
                dropped.partition_id != 1 && has(dropped.collection_id, &dropped.partition_id)
            }
            Change::Load(load) | Change::Release(load) => {
                load.partition_ids.iter().all(|id| has(load.collection_id, id))
            }
            _ => true,
        }
    }

    proptest! {
        #[test]
        fn what_makes_a_catalog_out_of_nothing_gives_that_catalog(changes in vec(change(), 0..60)) {
            let mut catalog = Catalog::default();
            let databases = ["default", "db1"].into_iter().zip(1..).map(|(name, id)| {
                Change::CreateDatabase(pb::Database { id, name: name.into(), properties: vec![] })
            });
            for change in databases.chain(changes) {
                if is_possible(&catalog, &change) {
                    let change = Some(change);
                    catalog.apply(&Definition { tso: 9, exact: true, change }).unwrap();
                }
            }
            let mut made = Catalog::default();
            for definition in catalog.definitions() {
                prop_assert_eq!((definition.tso, definition.exact), (0, false));
                made.apply(&definition).unwrap();
            }
            prop_assert_eq!(made, catalog);
        }
    }
}
