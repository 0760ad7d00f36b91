//! What a collection is, as far as a user can tell: ids, channels and times differ between two Milvus by nature.

use std::collections::BTreeMap;

use crate::pb::milvus::proto::schema::{CollectionSchema, FieldSchema, FunctionSchema};
use crate::target::milvus::Found;
use crate::target::request::{facts, has_partition_key, is_dynamic, is_users, parameters, properties};

/// The fact that is about keys which Milvus makes itself.
const GENERATED: &str = "generated key";

/// What differs, in words for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Differences {
    /// What should be alike.
    pub differences: Vec<String>,
    /// What cannot be.
    pub by_design: Vec<String>,
}

/// Compares two definitions, the source's first.
pub(super) fn differences(source: &Found, target: &Found) -> Differences {
    let (mut ours, mut theirs) = (stated(source), stated(target));
    let name = |found: &Found| found.described.schema.as_ref().map(|schema| schema.name.clone());
    if name(source) != name(target) {
        // a copy under another name does not get its source's aliases
        for side in [&mut ours, &mut theirs] {
            side.retain(|what, _| !what.starts_with("alias "));
        }
    }
    let mut found = Differences::default();
    let about = ours.keys().chain(theirs.keys().filter(|about| !ours.contains_key(*about)));
    for about in about {
        let (here, there) = (ours.get(about), theirs.get(about));
        if here == there {
            continue;
        }
        let fact = |fact: Option<&String>| fact.map_or("none".to_owned(), |fact| format!("\"{fact}\""));
        if about.ends_with(GENERATED) && here.is_some_and(|here| here == "true") && there.is_some() {
            found.by_design.push("autoID is off at the target, by design".to_owned());
        } else {
            found.differences.push(format!(
                "{about}: {} at the source, {} at the target",
                fact(here),
                fact(there)
            ));
        }
    }
    found
}

/// By what it is about, e.g. `partition p`: what is true of it.
fn stated(found: &Found) -> BTreeMap<String, String> {
    let described = &found.described;
    let schema = described.schema.clone().unwrap_or_default();
    let fields = users(&schema).map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut stated = BTreeMap::from([
        ("description".to_owned(), schema.description.clone()),
        ("dynamic field".to_owned(), is_dynamic(&schema).to_string()),
        ("order of fields".to_owned(), fields),
        ("shards".to_owned(), described.shards_num.to_string()),
        ("consistency level".to_owned(), described.consistency_level.to_string()),
    ]);
    for field in users(&schema) {
        stated.insert(format!("field {}, description", field.name), field.description.clone());
        for (what, fact) in facts(field) {
            stated.insert(format!("field {}, {what}", field.name), fact);
        }
    }
    for function in &schema.functions {
        let FunctionSchema { r#type: kind, input_field_names: from, output_field_names: to, params, .. } =
            function;
        let fact = format!("type {kind}, {} -> {}, {}", from.join(", "), to.join(", "), parameters(params));
        stated.insert(format!("function {}", function.name), fact);
    }
    for property in properties(&described.properties) {
        stated.insert(format!("property {}", property.key), property.value);
    }
    for alias in &described.aliases {
        stated.insert(format!("alias {alias}"), "present".to_owned());
    }
    for index in &found.indexes {
        let fact = format!("on {} {}", index.field_name, parameters(&index.params));
        stated.insert(format!("index {}", index.index_name), fact);
    }
    if has_partition_key(&schema) {
        let loaded = if found.loaded.is_empty() { "not loaded" } else { "loaded" };
        stated.insert("partitions by key".to_owned(), found.partitions.len().to_string());
        stated.insert("load state".to_owned(), loaded.to_owned());
    } else {
        for partition in &found.partitions {
            let loaded = if found.loaded.contains(partition) { "loaded" } else { "not loaded" };
            stated.insert(format!("partition {partition}"), loaded.to_owned());
        }
    }
    stated
}

fn users(schema: &CollectionSchema) -> impl Iterator<Item = &FieldSchema> {
    schema.fields.iter().filter(|field| is_users(field))
}

/// What is needed to compare the rows of two collections.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    /// The ids of both: a name may come to stand for another collection.
    ids: [i64; 2],
    /// The primary key.
    pub key: FieldSchema,
    /// The fields that both have and show, the key among them.
    pub fields: Vec<String>,
    /// Rows of these are compared, each by itself; none stands for all of them at once.
    pub partitions: Vec<Option<String>>,
    /// Bytes that a row may take.
    pub width: usize,
    /// What is not compared, and why.
    pub notes: Vec<String>,
}

/// None: the rows cannot be compared, and the keys are the reason.
pub(super) fn layout(source: &Found, target: &Found) -> Option<Layout> {
    let (ours, theirs) = (source.described.schema.as_ref()?, target.described.schema.as_ref()?);
    let key = |schema: &CollectionSchema| schema.fields.iter().find(|field| field.is_primary_key).cloned();
    let (key, other) = (key(ours)?, key(theirs)?);
    if (&key.name, key.data_type) != (&other.name, other.data_type) {
        return None;
    }
    let shown = |field: &&FieldSchema| !field.is_function_output;
    let both = |field: &&FieldSchema| users(theirs).filter(shown).any(|other| other.name == field.name);
    let mut fields =
        users(ours).filter(shown).filter(both).map(|field| field.name.clone()).collect::<Vec<_>>();
    if is_dynamic(ours) && is_dynamic(theirs) {
        fields.push("$meta".to_owned());
    }
    let loaded = source.loaded.iter().filter(|partition| target.loaded.contains(partition));
    let loaded = loaded.cloned().collect::<Vec<_>>();
    let mut notes = Vec::new();
    if loaded.is_empty() {
        notes.push("not loaded: compared by definition alone".to_owned());
    } else if loaded.len() < source.partitions.len() {
        let (all, out) = (source.partitions.len(), source.partitions.len() - loaded.len());
        notes.push(format!("{out} of {all} partitions are not loaded: their rows are not compared"));
    }
    // partitions of a partition key take no names in queries, and one alone needs none
    let single = source.partitions.len() == 1 && target.partitions.len() == 1;
    let whole = has_partition_key(ours) || has_partition_key(theirs) || single;
    let partitions = match loaded.is_empty() {
        true => Vec::new(),
        false if whole => vec![None],
        false => loaded.into_iter().map(Some).collect(),
    };
    let ids = [source.described.collection_id, target.described.collection_id];
    Some(Layout { ids, width: width(ours), key, fields, partitions, notes })
}

/// Vectors by their dimension, and a guess for everything else.
fn width(schema: &CollectionSchema) -> usize {
    let dim = |field: &FieldSchema| {
        let dim = field.type_params.iter().find(|parameter| parameter.key == "dim");
        dim.and_then(|dim| dim.value.parse::<usize>().ok()).unwrap_or_default()
    };
    schema.fields.iter().fold(1024, |width, field| width.saturating_add(dim(field).saturating_mul(4)))
}

#[cfg(test)]
mod tests;
