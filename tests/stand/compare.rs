//! Whether a target holds what a source holds.

use tapedeck::change::CollectionName;

use super::definition::Definition;
use super::rows::{Key, Rows, difference};
use super::{Milvus, Outcome};

/// A collection at one of the two.
pub type At<'a> = (&'a Milvus, &'a CollectionName);

/// What differs between a collection and its copy: definition, then `count(*)`, then rows, the cheap things first.
/// Rows can only be read where they are loaded.
pub async fn compare(source: At<'_>, target: At<'_>) -> Outcome<Option<String>> {
    let here = Definition::read(source.0, source.1).await?;
    let there = Definition::read(target.0, target.1).await?;
    let (here, there) = match (here, there) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Ok(Some(format!("{} is not at the target", target.1))),
        (None, Some(_)) => return Ok(Some(format!("{} is still at the target", target.1))),
        (Some(here), Some(there)) => (here, there),
    };
    if let Some(text) = here.difference(&there) {
        return Ok(Some(format!("{}: {text}", source.1)));
    }
    if here.loaded.is_empty() {
        return Ok(None);
    }
    // an expressly named list is refused by partition-key collections, and not needed where all is loaded
    let partitions =
        if here.loaded == here.partitions { vec![] } else { here.loaded.into_iter().collect::<Vec<_>>() };
    let counts = (source.0.count(source.1, &partitions).await?, target.0.count(target.1, &partitions).await?);
    if counts.0 != counts.1 {
        return Ok(Some(format!(
            "{}: count(*) is {} at the source, {} at the target",
            source.1, counts.0, counts.1
        )));
    }
    let mut rows = (source.0.rows(source.1, &partitions).await?, target.0.rows(target.1, &partitions).await?);
    if rows.0.len() as i64 != counts.0 {
        // of a key that stands twice a query shows either row, and not always the same
        for key in unequal(&rows.0, &rows.1) {
            let here = source.0.count_of(source.1, &partitions, &key).await?;
            if here > 1 && here == target.0.count_of(target.1, &partitions, &key).await? {
                rows.0.remove(&key);
                rows.1.remove(&key);
            }
        }
    }
    Ok(difference(&rows.0, &rows.1).map(|text| format!("{}: {text}", source.1)))
}

/// Keys that both have, with different rows; the first few are enough.
fn unequal(source: &Rows, target: &Rows) -> Vec<Key> {
    let keys = source.iter().filter(|(key, row)| target.get(key).is_some_and(|other| other != *row));
    keys.map(|(key, _)| key.clone()).take(100).collect()
}
