//! Collections whose rows expire, for people. Pure.
//!
//! A row's age counts from the TSO with which its Milvus wrote it, and a target writes with its own.

use crate::change::{CollectionName, DefinitionChange, NewCollection};
use crate::pb::milvus::proto::common::KeyValuePair;

const TTL: &str = "collection.ttl.seconds";

/// What to say of a collection; none: its rows do not expire.
pub fn note(name: &CollectionName, properties: &[KeyValuePair]) -> Option<String> {
    let ttl = properties.iter().find(|property| property.key == TTL)?;
    let expires = ttl.value.parse::<i64>().is_ok_and(|seconds| seconds > 0);
    expires.then(|| {
        format!(
            "{name}: its rows expire ({TTL}), at the target by their age there: \
             rows that had expired at the source may show, and the others live longer"
        )
    })
}

/// Moves the notes on a target's collections over a change.
pub fn apply(notes: &mut Vec<String>, change: &DefinitionChange) {
    let of = |name: &CollectionName| format!("{name}: ");
    match change {
        DefinitionChange::CreateCollection(NewCollection { name, properties, .. })
        | DefinitionChange::AlterCollection { name, properties, .. } => {
            notes.retain(|note| !(note.starts_with(&of(name)) && note.contains(TTL)));
            notes.extend(note(name, properties));
        }
        DefinitionChange::RenameCollection { from, to } => {
            for note in notes {
                if let Some(rest) = note.strip_prefix(&of(from)) {
                    *note = of(to) + rest;
                }
            }
        }
        DefinitionChange::DropCollection { name } => notes.retain(|note| !note.starts_with(&of(name))),
        _ => {}
    }
}
