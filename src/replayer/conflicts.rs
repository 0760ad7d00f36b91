//! What a target has in the way of a replay, found before anything is applied.

use std::collections::HashSet;

use serde::Serialize;

use super::ownership::{self, Made};
use crate::catalog::CollectionId;
use crate::change::{CollectionName, DefinitionChange};
use crate::error::{Error, Result};
use crate::pb::log::Definition;
use crate::target::Target;

/// Something at the target that is in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// What is in the way.
    pub message: String,
    /// What a person can do.
    pub advice: Option<String>,
}

impl From<Error> for Conflict {
    fn from(error: Error) -> Conflict {
        Conflict { message: error.message, advice: error.advice }
    }
}

/// Names that a replay takes, and those that it cannot have. Later uses of a name find what the replay left there.
#[derive(Default)]
pub struct Conflicts {
    taken: HashSet<CollectionName>,
    found: Vec<Conflict>,
}

impl Conflicts {
    /// Takes the names that a definition gives; those that are new are looked up at the target, if one is given: what
    /// an earlier run may have made is in nobody's way.
    pub async fn take(
        &mut self,
        target: Option<&dyn Target>,
        definition: &Definition,
        changes: &[DefinitionChange],
    ) -> Result<()> {
        for change in changes {
            let Some(name) = ownership::given(change) else { continue };
            if !self.taken.insert(name) {
                continue;
            }
            let Some(target) = target else { continue };
            let free = ownership::check_new(target, ownership::created(definition), change).await;
            self.note(free)?;
        }
        Ok(())
    }

    /// Finds what a finished replay has brought and the target lacks.
    pub async fn check_there(
        &mut self,
        target: &dyn Target,
        collection: (CollectionId, CollectionName),
        made: &Made,
    ) -> Result<()> {
        let there = ownership::check_there(target, vec![collection], made).await;
        self.note(there)
    }

    fn note(&mut self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if !error.is_retry() => self.found.push(error.into()),
            other => return other,
        }
        Ok(())
    }

    /// All that were found.
    pub fn found(self) -> Vec<Conflict> {
        self.found
    }
}
