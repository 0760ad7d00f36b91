//! Which collection belongs to which.

use std::collections::{BTreeMap, BTreeSet};

use super::Comparison;
use crate::change::CollectionName;
use crate::error::{Error, Result};
use crate::selection::{Renames, Selection};
use crate::target::milvus::MilvusReader;

/// What is to be compared.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Databases that only one has, in words for a person.
    pub databases: Vec<String>,
    /// Names at the source and at the target; one of the two may not exist.
    pub pairs: BTreeMap<CollectionName, CollectionName>,
}

/// What one Milvus has.
#[derive(Debug, Default)]
struct Names {
    databases: BTreeSet<String>,
    collections: Vec<CollectionName>,
}

impl Comparison {
    pub(super) async fn list(&self) -> Result<Listing> {
        let (source, target) = futures::try_join!(names(&self.source), names(&self.target))?;
        listing(&source, &target, &self.selection, &self.renames).or_nothing(&self.selection)
    }
}

impl Listing {
    /// An error where there is nothing to compare: what was not looked at is not equal.
    fn or_nothing(self, selection: &Selection) -> Result<Listing> {
        if self.pairs.is_empty() && self.databases.is_empty() {
            return Err(Error::operator(format!(
                "nothing to compare: neither the source nor the target has a collection of {selection}"
            ))
            .advice("see what was selected for a wrong name"));
        }
        Ok(self)
    }
}

async fn names(milvus: &MilvusReader) -> Result<Names> {
    let mut names = Names::default();
    for database in milvus.databases().await? {
        names.collections.extend(milvus.collections(&database).await?);
        names.databases.insert(database);
    }
    Ok(names)
}

fn listing(source: &Names, target: &Names, selection: &Selection, renames: &Renames) -> Listing {
    let selected = source.collections.iter().filter(|name| selection.matches(name));
    let mut pairs = selected.map(|name| (name.clone(), renames.apply(name))).collect::<BTreeMap<_, _>>();
    for name in &target.collections {
        if let Some(origin) = renames.origin(name).filter(|origin| selection.matches(origin)) {
            pairs.entry(origin).or_insert_with(|| name.clone());
        }
    }
    let mut databases = Vec::new();
    for database in source.databases.iter().filter(|database| selection.matches_database(database)) {
        let copy = renames.apply_database(database);
        if !target.databases.contains(&copy) {
            databases.push(format!("database {copy} is not at the target"));
        }
    }
    let kept = renames.target_databases();
    for database in target.databases.iter().filter(|database| !kept.contains(database.as_str())) {
        let origin = renames.origin_database(database);
        if origin
            .is_some_and(|origin| selection.matches_database(origin) && !source.databases.contains(origin))
        {
            databases.push(format!("database {database} is at the target alone"));
        }
    }
    Listing { databases, pairs }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CollectionName {
        let (database, collection) = text.split_once('.').unwrap();
        CollectionName::new(database, collection)
    }

    fn names(collections: &[&str]) -> Names {
        let collections = collections.iter().map(|text| name(text)).collect::<Vec<_>>();
        let databases = collections.iter().map(|name| name.database.clone()).collect();
        Names { databases, collections }
    }

    fn listed(source: &[&str], target: &[&str], include: &[&str], renames: &[(&str, &str)]) -> Listing {
        let include = include.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let selection = Selection::new(&include, &[]).unwrap();
        let renames = renames.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let renames = Renames::new(&renames, &selection).unwrap();
        listing(&names(source), &names(target), &selection, &renames)
    }

    fn pairs(listing: &Listing) -> Vec<String> {
        listing.pairs.iter().map(|(source, target)| format!("{source}={target}")).collect()
    }

    #[test]
    fn what_only_the_target_has_is_compared_too() {
        let listing = listed(&["a.x"], &["a.y", "b.z"], &["*.*"], &[]);
        assert_eq!(pairs(&listing), ["a.x=a.x", "a.y=a.y", "b.z=b.z"]);
        assert_eq!(listing.databases, ["database b is at the target alone"]);
    }

    #[test]
    fn what_is_not_selected_is_left_alone_at_both() {
        let listing = listed(&["a.x", "b.x"], &["a.x", "a.y", "c.x"], &["a.x"], &[]);
        assert_eq!(pairs(&listing), ["a.x=a.x"]);
        assert_eq!(listing.databases, [""; 0]);
    }

    #[test]
    fn nothing_to_compare_is_an_error_that_says_what_was_selected() {
        let selection = Selection::new(&["a.y".into(), "b.*".into()], &["b.x".into()]).unwrap();
        let of =
            |collections| listing(&names(collections), &names(&["a.x"]), &selection, &Renames::default());
        let error = of(&["a.x"]).or_nothing(&selection).unwrap_err().to_string();
        assert!(error.contains("neither") && error.contains("a.y, b.* without b.x"), "{error}");
        assert!(of(&["a.y"]).or_nothing(&selection).is_ok());
        assert!(of(&["a.x", "b.x"]).or_nothing(&selection).is_ok(), "its database is missing");
    }

    #[test]
    fn renamed_collections_find_their_copies_and_no_others() {
        let renames = [("a.x", "c.x_copy"), ("b.*", "d.*")];
        let listing =
            listed(&["a.x", "b.y"], &["c.x_copy", "c.own", "d.y", "d.z"], &["a.x", "b.*"], &renames);
        assert_eq!(pairs(&listing), ["a.x=c.x_copy", "b.y=d.y", "b.z=d.z"]);
        assert_eq!(listing.databases, ["database a is not at the target"]);
    }
}
