//! The keys that matter, below `{root}/{meta}/`, and the spans of keys in which they lie.

use crate::catalog::{CollectionId, DatabaseId, PartitionId};
use crate::error::{Error, Result};
use crate::tick::Tso;

/// What is read: `[from, to)`, everything of root-coord without its credentials, indexes and load states.
pub(super) const SPANS: [(&str, &str); 6] = [
    ("snapshots/root-coord/", "snapshots/root-coord0"),
    ("root-coord/", "root-coord/credential/"),
    ("root-coord/credential0", "root-coord0"),
    ("field-index/", "field-index0"),
    ("querycoord-collection-loadinfo/", "querycoord-collection-loadinfo0"),
    ("querycoord-partition-loadinfo/", "querycoord-partition-loadinfo0"),
];

/// Where a Milvus always has a key: its databases.
pub(super) const DATABASES: &str = "root-coord/database/db-info/";

/// In the place of a database id: keys of Milvus 2.2, which had no databases.
pub(super) const NO_DATABASE: DatabaseId = 0;

/// A key. Ordered so that what belongs to one collection stands together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Database(DatabaseId),
    Collection {
        id: CollectionId,
        database_id: DatabaseId,
    },
    Field {
        collection_id: CollectionId,
        id: i64,
    },
    Function {
        collection_id: CollectionId,
        id: i64,
    },
    Partition {
        collection_id: CollectionId,
        id: PartitionId,
    },
    Alias {
        database_id: DatabaseId,
        name: String,
    },
    /// The layout before 2.2: the value is a CollectionInfo.
    OldAlias(String),
    Index {
        collection_id: CollectionId,
        id: i64,
    },
    CollectionLoad(CollectionId),
    PartitionLoad {
        collection_id: CollectionId,
        id: PartitionId,
    },
    /// Not of interest here.
    Other,
}

/// Reads a key, given without `{root}/{meta}/`. A snapshot's key is that of its object and the TSO of the change.
pub(super) fn parse(key: &str) -> Result<(Key, Option<Tso>)> {
    let Some(snapshot) = key.strip_prefix("snapshots/") else {
        return Ok((plain(key)?, None));
    };
    let (object, tso) = snapshot.rsplit_once("_ts").ok_or_else(|| odd(key))?;
    Ok((plain(object)?, Some(Tso(tso.parse().map_err(|_| odd(key))?))))
}

fn plain(key: &str) -> Result<Key> {
    let id = |text: &str| text.parse::<i64>().map_err(|_| odd(key));
    let parts = key.split('/').collect::<Vec<_>>();
    Ok(match parts.as_slice() {
        ["root-coord", "database", "db-info", database] => Key::Database(id(database)?),
        ["root-coord", "database", "collection-info", database, collection] => {
            Key::Collection { id: id(collection)?, database_id: id(database)? }
        }
        ["root-coord", "collection", collection] => {
            Key::Collection { id: id(collection)?, database_id: NO_DATABASE }
        }
        ["root-coord", "fields", collection, field] => {
            Key::Field { collection_id: id(collection)?, id: id(field)? }
        }
        ["root-coord", "functions", collection, function] => {
            Key::Function { collection_id: id(collection)?, id: id(function)? }
        }
        ["root-coord", "partitions", collection, partition] => {
            Key::Partition { collection_id: id(collection)?, id: id(partition)? }
        }
        ["root-coord", "database", "aliases", database, name] => {
            Key::Alias { database_id: id(database)?, name: (*name).into() }
        }
        ["root-coord", "aliases", name] => Key::Alias { database_id: NO_DATABASE, name: (*name).into() },
        ["root-coord", "collection-alias", name] => Key::OldAlias((*name).into()),
        ["field-index", collection, index] => Key::Index { collection_id: id(collection)?, id: id(index)? },
        ["querycoord-collection-loadinfo", collection] => Key::CollectionLoad(id(collection)?),
        ["querycoord-partition-loadinfo", collection, partition] => {
            Key::PartitionLoad { collection_id: id(collection)?, id: id(partition)? }
        }
        _ => Key::Other,
    })
}

pub(super) fn odd(key: &str) -> Error {
    Error::refused(format!("the key {key} in etcd is not one that Milvus 2.3-2.5 writes"))
        .advice("compare the source's version with those that are supported")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_real_server_and_of_older_layouts() {
        let parsed = |key: &str| parse(key).unwrap();
        assert_eq!(parsed("root-coord/database/db-info/1"), (Key::Database(1), None));
        assert_eq!(
            parsed("snapshots/root-coord/database/collection-info/1/470656438118908424_ts470656438118908427"),
            (Key::Collection { id: 470656438118908424, database_id: 1 }, Some(Tso(470656438118908427)))
        );
        let alias = Key::Alias { database_id: 1, name: "a_ts5".into() };
        assert_eq!(parsed("snapshots/root-coord/database/aliases/1/a_ts5_ts7"), (alias, Some(Tso(7))));
        assert_eq!(parsed("root-coord/collection/9").0, Key::Collection { id: 9, database_id: NO_DATABASE });
        assert_eq!(parsed("root-coord/collection-alias/a").0, Key::OldAlias("a".into()));
        assert_eq!(parsed("root-coord/something/new").0, Key::Other);
        for odd in
            ["root-coord/fields/1/x", "snapshots/root-coord/fields/1/2", "field-index/1/99999999999999999999"]
        {
            assert!(parse(odd).unwrap_err().message.contains(odd), "{odd}");
        }
    }

    #[test]
    fn the_spans_hold_every_key_but_those_of_users() {
        let holds = |key: &str| SPANS.iter().any(|(from, to)| (*from..*to).contains(&key));
        for key in [
            "root-coord/aliases/a",
            "root-coord/collection/1",
            "root-coord/database/db-info/1",
            "root-coord/partitions/1/2",
            "snapshots/root-coord/partitions/1/2_ts3",
            "field-index/1/2",
            "querycoord-collection-loadinfo/1",
            "querycoord-partition-loadinfo/1/2",
        ] {
            assert!(holds(key), "{key}");
        }
        for key in ["root-coord/credential/users/root", "segment-index/1/2/3/4", "session/rootcoord"] {
            assert!(!holds(key), "{key}");
        }
    }
}
