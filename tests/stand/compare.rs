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
    let mut rows = (source.0.rows(source.1, &partitions).await?, target.0.rows(target.1, &partitions).await?);
    if rows.0.len() as i64 != counts.0 {
        // of a key that stands twice a query shows either row, and not always the same
        for key in unequal(&rows.0, &rows.1) {
            let here = source.0.count_of(source.1, &partitions, std::slice::from_ref(&key)).await?;
            if here > 1
                && here == target.0.count_of(target.1, &partitions, std::slice::from_ref(&key)).await?
            {
                rows.0.remove(&key);
                rows.1.remove(&key);
            }
        }
    }
    let differ = difference(&rows.0, &rows.1);
    if counts.0 == counts.1 {
        return Ok(differ.map(|text| format!("{}: {text}", source.1)));
    }
    let which = match differ {
        Some(text) => text,
        None => uneven(source, target, &partitions, rows.0.keys()).await?,
    };
    let (name, (here, there)) = (source.1, counts);
    Ok(Some(format!("{name}: count(*) is {here} at the source, {there} at the target: {which}")))
}

/// A key that stands more often on one side than on the other.
async fn uneven(
    source: At<'_>,
    target: At<'_>,
    partitions: &[String],
    keys: impl Iterator<Item = &Key>,
) -> Outcome<String> {
    let keys = keys.cloned().collect::<Vec<_>>();
    let mut within = keys.as_slice();
    while within.len() > 1 {
        let (first, rest) = within.split_at(within.len() / 2);
        let here = source.0.count_of(source.1, partitions, first).await?;
        let there = target.0.count_of(target.1, partitions, first).await?;
        within = if here == there { rest } else { first };
    }
    let here = source.0.count_of(source.1, partitions, within).await?;
    let there = target.0.count_of(target.1, partitions, within).await?;
    Ok(format!("the same keys, of them {within:?} {here} times at the source, {there} times at the target"))
}

/// Keys that both have, with different rows; the first few are enough.
fn unequal(source: &Rows, target: &Rows) -> Vec<Key> {
    let keys = source.iter().filter(|(key, row)| target.get(key).is_some_and(|other| other != *row));
    keys.map(|(key, _)| key.clone()).take(100).collect()
}
