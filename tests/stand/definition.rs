//! What a collection is, as far as a user can tell.

use std::collections::{BTreeMap, BTreeSet};

use tapedeck::change::CollectionName;
use tapedeck::pb::milvus::proto::common::KeyValuePair;

use super::{Milvus, Outcome};

/// A collection's definition and load state, in a form in which those of source and target can be equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// By what it is about, e.g. `field text`, `partition _default`: what is true of it.
    facts: BTreeMap<String, String>,
    pub partitions: BTreeSet<String>,
    /// Loaded partitions; of a partition-key collection all or none.
    pub loaded: BTreeSet<String>,
}

impl Definition {
    /// The definition of a collection; none: it is not there, or is an alias.
    pub async fn read(milvus: &Milvus, name: &CollectionName) -> Outcome<Option<Definition>> {
        if !milvus.exists(name).await? {
            return Ok(None);
        }
        let described = milvus.describe(name).await?;
        if described.collection_name != name.collection {
            return Ok(None);
        }
        let schema = described.schema.unwrap_or_default();
        let partition_key = schema.fields.iter().any(|field| field.is_partition_key);
        let partitions = milvus.partitions(name).await?.into_iter().collect::<BTreeSet<_>>();
        let loaded = loaded(milvus, name, &partitions, partition_key).await?;
        let mut facts = BTreeMap::new();
        let mut state = |about: String, fact: String| facts.insert(about, fact);
        state("description".into(), schema.description);
        state("dynamic field".into(), schema.enable_dynamic_field.to_string());
        state("shards".into(), described.shards_num.to_string());
        state("consistency level".into(), described.consistency_level.to_string());
        for mut field in schema.fields {
            // a target of 2.3 gets autoID collections with autoID off: it could not take the source's keys otherwise
            (field.field_id, field.auto_id) = (0, false);
            field.type_params.sort_by(|one, other| one.key.cmp(&other.key));
            state(format!("field {}", field.name), format!("{field:?}"));
        }
        for property in described.properties {
            state(format!("property {}", property.key), property.value);
        }
        for alias in described.aliases {
            state(format!("alias {alias}"), String::new());
        }
        for index in milvus.indexes(name).await? {
            state(
                format!("index {}", index.index_name),
                format!("on {} {:?}", index.field_name, sorted(index.params)),
            );
        }
        for partition in &partitions {
            let loaded = if loaded.contains(partition) { "loaded" } else { "not loaded" };
            state(format!("partition {partition}"), loaded.into());
        }
        Ok(Some(Definition { facts, partitions, loaded }))
    }

    /// What is said differently of both.
    pub fn difference(&self, target: &Definition) -> Option<String> {
        let about = self.facts.keys().chain(target.facts.keys()).collect::<BTreeSet<_>>();
        let differing = about.into_iter().filter(|about| self.facts.get(*about) != target.facts.get(*about));
        let fact = |definition: &Definition, about| {
            definition.facts.get(about).map_or("none".into(), |fact| format!("\"{fact}\""))
        };
        let lines = differing.map(|about| {
            format!("{about}: {} at the source, {} at the target", fact(self, about), fact(target, about))
        });
        let lines = lines.collect::<Vec<_>>();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

fn sorted(pairs: Vec<KeyValuePair>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()
}

async fn loaded(
    milvus: &Milvus,
    name: &CollectionName,
    partitions: &BTreeSet<String>,
    partition_key: bool,
) -> Outcome<BTreeSet<String>> {
    if partition_key {
        let all = milvus.is_loaded(name, &[]).await?;
        return Ok(if all { partitions.clone() } else { BTreeSet::new() });
    }
    let mut loaded = BTreeSet::new();
    for partition in partitions {
        if milvus.is_loaded(name, &[partition]).await? {
            loaded.insert(partition.clone());
        }
    }
    Ok(loaded)
}
