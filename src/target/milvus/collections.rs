//! Collections, their partitions and aliases.

use crate::change::{CollectionName, NewCollection};
use crate::error::{Error, Result};
use crate::pb::milvus::proto::common::KeyValuePair;
use crate::pb::milvus::proto::milvus as pb;
use crate::target::milvus::MilvusTarget;
use crate::target::milvus::connection::call;
use crate::target::milvus::failure::{ALIAS_EXISTS, ALIAS_NOT_FOUND, PARTITION_NOT_FOUND};
use crate::target::{Shortfall, name_is_alias, request};

/// What stands behind a name.
pub(super) enum Behind {
    Nothing,
    Collection(Box<pb::DescribeCollectionResponse>),
    /// The name is an alias of this collection.
    Alias(String),
}

impl MilvusTarget {
    /// What stands behind a name. The answer to an alias repeats the alias; its schema has the collection's own name.
    pub(super) async fn behind(&self, name: &CollectionName) -> Result<Behind> {
        let request = pb::DescribeCollectionRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            ..Default::default()
        };
        let found = match call!(self.connection, describe_collection, request) {
            Ok(found) => found,
            Err(failure) if failure.is_missing() => return Ok(Behind::Nothing),
            Err(failure) => return Err(failure.into()),
        };
        Ok(match found.schema.as_ref().map(|schema| &schema.name) {
            Some(own) if *own != name.collection => Behind::Alias(own.clone()),
            _ => Behind::Collection(Box::new(found)),
        })
    }

    pub(super) async fn create_collection(&self, new: &NewCollection) -> Result<()> {
        let found = match self.behind(&new.name).await? {
            Behind::Collection(found) => found,
            Behind::Alias(of) => return Err(name_is_alias(&new.name, &of)),
            Behind::Nothing => {
                call!(self.connection, create_collection, request::create_collection(new))?;
                match self.behind(&new.name).await? {
                    Behind::Collection(found) => found,
                    _ => return Err(Error::retry("the collection was created but is not there")),
                }
            }
        };
        // also after the creation: a version that does not know a property of a field drops it without a word
        check_same(new, &found)?;
        if request::has_partition_key(&new.schema) {
            return Ok(());
        }
        let there = self.partitions(&new.name).await?;
        for partition in new.partitions.iter().filter(|partition| !there.contains(partition)) {
            self.create_partition(&new.name, partition).await?;
        }
        Ok(())
    }

    pub(super) async fn drop_collection(&self, name: &CollectionName) -> Result<()> {
        let Behind::Collection(found) = self.behind(name).await? else { return Ok(()) };
        // an alias outlives its collection for hours and keeps its own name and the collection's from being used
        for alias in &found.aliases {
            self.drop_alias_of_any(&name.database, alias).await?;
        }
        let request = pb::CollectionRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            ..Default::default()
        };
        call!(self.connection, drop_collection, request)?;
        Ok(())
    }

    pub(super) async fn rename_collection(&self, from: &CollectionName, to: &CollectionName) -> Result<()> {
        match (self.behind(from).await?, self.behind(to).await?) {
            (Behind::Collection(_), Behind::Nothing) => {}
            (_, Behind::Alias(of)) => return Err(name_is_alias(to, &of)),
            (Behind::Collection(_), Behind::Collection(_)) => {
                let advice = format!("drop or rename the target's {to}");
                return Err(Error::operator("both names are taken in the target").advice(advice));
            }
            (_, Behind::Collection(_)) => return Ok(()),
            (_, Behind::Nothing) => return Err(Error::operator("the target has neither of the two")),
        }
        let request = pb::RenameCollectionRequest {
            db_name: from.database.clone(),
            old_name: from.collection.clone(),
            new_name: to.collection.clone(),
            new_db_name: to.database.clone(),
        };
        call!(self.connection, rename_collection, request)?;
        Ok(())
    }

    pub(super) async fn alter_collection(
        &self,
        name: &CollectionName,
        properties: &[KeyValuePair],
        removed: &[String],
    ) -> Result<Option<Shortfall>> {
        let request = pb::AlterCollectionRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            ..Default::default()
        };
        let there = match properties.iter().any(request::is_of_released) {
            true => self.properties_of(name).await?,
            false => Vec::new(),
        };
        let properties = request::altered(properties, &there);
        if !properties.is_empty() {
            let request = pb::AlterCollectionRequest { properties, ..request.clone() };
            call!(self.connection, alter_collection, request)?;
        }
        let delete_keys = self.properties_there(name, removed).await?;
        if delete_keys.is_empty() {
            return Ok(None);
        }
        // alone: Milvus refuses to set some properties and to remove others in one request
        match call!(self.connection, alter_collection, pb::AlterCollectionRequest { delete_keys, ..request })
        {
            // a version that does not know the field finds nothing in the request
            Err(failure) if failure.says("properties is empty") => {}
            altered => drop(altered?),
        }
        let kept = self.properties_there(name, removed).await?.join(", ");
        let what = || format!("properties that the target cannot remove: {kept} of {name}");
        Ok((!kept.is_empty()).then(|| Shortfall::Lacks(what())))
    }

    /// Which of these properties, as far as they are replayed, a collection has.
    async fn properties_there(&self, name: &CollectionName, keys: &[String]) -> Result<Vec<String>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let there = request::properties(&self.properties_of(name).await?).into_iter();
        Ok(there.map(|property| property.key).filter(|key| keys.contains(key)).collect())
    }

    async fn properties_of(&self, name: &CollectionName) -> Result<Vec<KeyValuePair>> {
        match self.behind(name).await? {
            Behind::Collection(found) => Ok(found.properties),
            Behind::Alias(_) | Behind::Nothing => Ok(Vec::new()),
        }
    }

    /// Names of a collection's partitions.
    pub(super) async fn partitions(&self, name: &CollectionName) -> Result<Vec<String>> {
        let request = pb::ShowPartitionsRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
        };
        Ok(call!(self.connection, show_partitions, request)?.partition_names)
    }

    pub(super) async fn create_partition(&self, name: &CollectionName, partition: &str) -> Result<()> {
        call!(self.connection, create_partition, partition_request(name, partition))?;
        Ok(())
    }

    pub(super) async fn drop_partition(&self, name: &CollectionName, partition: &str) -> Result<()> {
        let request = pb::ReleasePartitionsRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            partition_names: vec![partition.to_owned()],
            ..Default::default()
        };
        match call!(self.connection, release_partitions, request) {
            Err(failure) if failure.is_missing() || failure.is(PARTITION_NOT_FOUND) => return Ok(()),
            released => released?,
        };
        call!(self.connection, drop_partition, partition_request(name, partition))?;
        Ok(())
    }

    pub(super) async fn create_alias(&self, name: &CollectionName, alias: &str) -> Result<()> {
        let refused = match call!(self.connection, create_alias, alias_request(name, alias)) {
            Err(failure) if failure.is(ALIAS_EXISTS) => failure,
            created => return created.map(drop).map_err(Error::from),
        };
        match self.behind(&CollectionName::new(&name.database, alias)).await? {
            // of a collection that was dropped
            Behind::Nothing => self.set_alias(name, alias).await,
            Behind::Alias(of) if of == name.collection => Ok(()),
            Behind::Alias(of) => Err(name_is_alias(&CollectionName::new(&name.database, alias), &of)),
            Behind::Collection(_) => Err(refused.into()),
        }
    }

    pub(super) async fn alter_alias(
        &self,
        from: &CollectionName,
        name: &CollectionName,
        alias: &str,
    ) -> Result<()> {
        let alias_name = CollectionName::new(&name.database, alias);
        match self.behind(&alias_name).await? {
            Behind::Alias(of) if of != from.collection && of != name.collection => {
                Err(name_is_alias(&alias_name, &of))
            }
            _ => self.set_alias(name, alias).await,
        }
    }

    async fn set_alias(&self, name: &CollectionName, alias: &str) -> Result<()> {
        match call!(self.connection, alter_alias, alias_request(name, alias)) {
            Err(failure) if failure.is(ALIAS_NOT_FOUND) => {
                call!(self.connection, create_alias, alias_request(name, alias))?;
                Ok(())
            }
            altered => altered.map(drop).map_err(Error::from),
        }
    }

    pub(super) async fn drop_alias(&self, name: &CollectionName, alias: &str) -> Result<()> {
        match self.behind(&CollectionName::new(&name.database, alias)).await? {
            Behind::Alias(of) if of != name.collection => Ok(()),
            _ => self.drop_alias_of_any(&name.database, alias).await,
        }
    }

    async fn drop_alias_of_any(&self, database: &str, alias: &str) -> Result<()> {
        let request = pb::DropAliasRequest { db_name: database.to_owned(), alias: alias.to_owned() };
        match call!(self.connection, drop_alias, request) {
            Err(failure) if failure.is_missing() || failure.is(ALIAS_NOT_FOUND) => Ok(()),
            dropped => dropped.map(drop).map_err(Error::from),
        }
    }
}

fn check_same(new: &NewCollection, found: &pb::DescribeCollectionResponse) -> Result<()> {
    let differences = request::differences(new, found);
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("the target's collection is another: {}", differences.join("; "));
    let advice = "drop or rename it in the target, or map the source's collection to another name; \
                  where it was just created, the target's version lacks what is named";
    Err(Error::operator(message).advice(advice))
}

fn partition_request(name: &CollectionName, partition: &str) -> pb::PartitionRequest {
    pb::PartitionRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        partition_name: partition.to_owned(),
    }
}

fn alias_request(name: &CollectionName, alias: &str) -> pb::AliasRequest {
    pb::AliasRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        alias: alias.to_owned(),
    }
}
