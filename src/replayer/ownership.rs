//! Whose a target's collections are: those that the log has made so far are there, and what it makes next takes
//! nobody else's place.

use futures::{TryStreamExt, stream};

use crate::change::{CollectionName, DefinitionChange};
use crate::error::{Error, Result};
use crate::pb::log::{Definition, definition::Change};
use crate::target::Target;

/// Questions at once.
const AT_ONCE: usize = 16;

/// Everything that was replayed into this target is still there. Another target under the same address, or one that
/// was emptied, would otherwise stay without it for good.
pub async fn check_there(target: &dyn Target, names: Vec<CollectionName>) -> Result<()> {
    let names = stream::iter(names.into_iter().map(Ok));
    names.try_for_each_concurrent(AT_ONCE, |name| check_one(target, name)).await
}

async fn check_one(target: &dyn Target, name: CollectionName) -> Result<()> {
    if target.id_of(&name).await?.is_some() {
        return Ok(());
    }
    Err(Error::operator(format!("the target lacks {name}, which is replayed by this task's position"))
        .advice("another target, an emptied one or another selection needs a task of another name"))
}

/// A name that a collection is about to be given by a rename is free.
pub async fn check_absent(target: &dyn Target, name: &CollectionName) -> Result<()> {
    if target.id_of(name).await?.is_none() {
        return Ok(());
    }
    Err(Error::operator(format!("the target has {name} already, to which a collection is renamed"))
        .advice("drop or rename it in the target, or map the source's collection to another name"))
}

/// A collection that is about to be created for the first time takes nobody else's place, and that of its own source
/// least of all: each row would come back as a new one, without end.
pub async fn check_free(
    target: &dyn Target,
    definition: &Definition,
    changes: &[DefinitionChange],
) -> Result<()> {
    let Some(Change::CreateCollection(source)) = &definition.change else { return Ok(()) };
    for change in changes {
        let DefinitionChange::CreateCollection(new) = change else { continue };
        if target.id_of(&new.name).await? == Some(source.id) {
            return Err(Error::operator(format!("{} of the target is the source's own", new.name)).advice(
                "write the address of another Milvus, or rename what is selected out of the selection",
            ));
        }
        target.check_free(new).await?;
    }
    Ok(())
}
