//! What a collection is, as far as a user can tell.

use std::collections::{BTreeMap, BTreeSet};

use tapedeck::change::CollectionName;
use tapedeck::pb::milvus::proto::common::KeyValuePair;

use super::{Milvus, Outcome};

/// A collection's definition and load state, in a form in which those of source and target can be equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Name, then everything that the server says about the field but ids and autoID: a target of 2.3 gets
    /// autoID collections with autoID off, because it could not take the source's keys otherwise.
    pub fields: BTreeMap<String, String>,
    pub description: String,
    pub dynamic: bool,
    pub shards: i32,
    pub consistency_level: i32,
    pub properties: BTreeMap<String, String>,
    pub partitions: BTreeSet<String>,
    pub aliases: BTreeSet<String>,
    /// By name: field and parameters.
    pub indexes: BTreeMap<String, (String, BTreeMap<String, String>)>,
    /// Loaded partitions; of a partition-key collection all or none.
    pub loaded: BTreeSet<String>,
}

impl Definition {
    /// The definition of a collection; none: it is not there.
    pub async fn read(milvus: &Milvus, name: &CollectionName) -> Outcome<Option<Definition>> {
        // also true of an alias: but then the description has another name
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
        let indexes = milvus.indexes(name).await?.into_iter();
        Ok(Some(Definition {
            description: schema.description,
            dynamic: schema.enable_dynamic_field,
            shards: described.shards_num,
            consistency_level: described.consistency_level,
            properties: sorted(described.properties),
            aliases: described.aliases.into_iter().collect(),
            indexes: indexes.map(|index| (index.index_name, (index.field_name, sorted(index.params)))).collect(),
            loaded: loaded(milvus, name, &partitions, partition_key).await?,
            partitions,
            fields: schema
                .fields
                .into_iter()
                .map(|mut field| {
                    (field.field_id, field.auto_id) = (0, false);
                    field.type_params.sort_by(|one, other| one.key.cmp(&other.key));
                    (field.name.clone(), format!("{field:?}"))
                })
                .collect(),
        }))
    }

    /// The line of each part that differs.
    pub fn difference(&self, other: &Definition) -> Option<String> {
        let (one, other) = (format!("{self:#?}"), format!("{other:#?}"));
        if one == other {
            return None;
        }
        let missing = |from: &str, of: &str, mark| {
            let known = of.lines().collect::<BTreeSet<_>>();
            let lines = from.lines().filter(|line| !known.contains(line));
            lines.map(|line| format!("  {mark} {}", line.trim())).collect::<Vec<_>>()
        };
        let lines = [missing(&one, &other, "source"), missing(&other, &one, "target")].concat();
        Some(format!("definitions differ\n{}", lines.join("\n")))
    }
}

fn sorted(pairs: Vec<KeyValuePair>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()
}

async fn loaded(
    milvus: &Milvus, name: &CollectionName, partitions: &BTreeSet<String>, partition_key: bool,
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
