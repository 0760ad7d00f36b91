//! Whose a target's collections are: those that the log has made so far are there, and what it makes next takes
//! nobody else's place.

use futures::{TryStreamExt, stream};

use crate::change::{CollectionName, DefinitionChange};
use crate::error::{Error, Result};
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
    if target.exists(&name).await? {
        return Ok(());
    }
    Err(Error::operator(format!("the target lacks {name}, which is replayed by this task's position"))
        .advice("another target, an emptied one or another selection needs a task of another name"))
}

/// A collection that is about to be created for the first time takes nobody else's place.
pub async fn check_free(target: &dyn Target, changes: &[DefinitionChange]) -> Result<()> {
    for change in changes {
        if let DefinitionChange::CreateCollection(new) = change {
            target.check_free(new).await?;
        }
    }
    Ok(())
}
