//! What is known about the collections that are written to, and whether they are still those.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::change::{CollectionName, DefinitionChange, NewCollection};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::milvus::DescribeCollectionResponse;
use crate::pb::milvus::proto::schema::CollectionSchema;
use crate::target::milvus::MilvusTarget;
use crate::target::milvus::collections::Behind;
use crate::target::request;

/// How long a look at a collection is believed. Milvus 2.3 takes columns of a wrong type, and dies of them.
const FRESH: Duration = Duration::from_secs(1);
const OTHERS: &str =
    "the target was changed by others: replay into an empty target, by a task of another name";

/// What must be known about a collection to write rows to it.
pub(super) struct Layout {
    pub key_field: String,
    pub schema: CollectionSchema,
    id: i64,
    shards: i32,
}

#[derive(Clone)]
struct Known {
    layout: Arc<Layout>,
    /// None: it is looked at again before it is used.
    seen: Option<Instant>,
}

/// The collections that were written to.
#[derive(Default)]
pub(super) struct Layouts(Mutex<HashMap<CollectionName, Known>>);

impl Layouts {
    /// Forgets the collections whose names are given to others, or to none.
    pub fn forget(&self, change: &DefinitionChange) {
        let names = match change {
            DefinitionChange::CreateCollection(NewCollection { name, .. })
            | DefinitionChange::DropCollection { name } => [name, name],
            DefinitionChange::RenameCollection { from, to } => [from, to],
            _ => return,
        };
        self.known().retain(|name, _| !names.contains(&name));
    }

    /// Believes a layout no longer, but remembers it.
    pub fn doubt(&self, name: &CollectionName) {
        if let Some(known) = self.known().get_mut(name) {
            known.seen = None;
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<CollectionName, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MilvusTarget {
    /// The layout of a collection. One that is no longer that which was written to before is an error for a person.
    pub(super) async fn layout(&self, name: &CollectionName) -> Result<Arc<Layout>> {
        let known = self.layouts.known().get(name).cloned();
        if let Some(Known { layout, seen: Some(seen) }) = &known
            && seen.elapsed() < FRESH
        {
            return Ok(layout.clone());
        }
        let Behind::Collection(found) = self.behind(name).await? else {
            return Err(Error::operator("the target does not have this collection").advice(OTHERS));
        };
        if let Some(known) = known.filter(|known| known.layout.id != found.collection_id) {
            return Err(replaced(name, &known.layout, &found));
        }
        let layout = Arc::new(Layout::of(*found)?);
        let known = Known { layout: layout.clone(), seen: Some(Instant::now()) };
        self.layouts.known().insert(name.clone(), known);
        Ok(layout)
    }
}

impl Layout {
    pub fn has_partition_key(&self) -> bool {
        request::has_partition_key(&self.schema)
    }

    fn of(found: DescribeCollectionResponse) -> Result<Layout> {
        let schema = found.schema.unwrap_or_default();
        let key = schema.fields.iter().find(|field| field.is_primary_key);
        let key = key.ok_or_else(|| Error::operator("the target shows no primary key of this collection"))?;
        if key.auto_id {
            let advice = "drop it in the target: a replay creates it with the source's keys";
            return Err(Error::operator("the target's collection makes its own keys (autoID)").advice(advice));
        }
        Ok(Layout { key_field: key.name.clone(), id: found.collection_id, shards: found.shards_num, schema })
    }
}

/// Another collection has the name now.
fn replaced(name: &CollectionName, before: &Layout, found: &DescribeCollectionResponse) -> Error {
    let asked = NewCollection {
        name: name.clone(),
        schema: before.schema.clone(),
        shards: before.shards,
        consistency_level: found.consistency_level,
        properties: Vec::new(),
        partitions: Vec::new(),
    };
    let differences = request::differences(&asked, found);
    let what = match differences.as_slice() {
        [] => "its rows are gone".to_owned(),
        some => some.join("; "),
    };
    let message = format!("the target's collection was dropped and created again by others: {what}");
    Error::operator(message).advice(OTHERS)
}
