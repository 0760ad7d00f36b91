//! Whether a target holds what a source holds.

use tapedeck::change::CollectionName;

use super::definition::Definition;
use super::rows::difference;
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
    let rows = (source.0.rows(source.1, &partitions).await?, target.0.rows(target.1, &partitions).await?);
    Ok(difference(&rows.0, &rows.1).map(|text| format!("{}: {text}", source.1)))
}
