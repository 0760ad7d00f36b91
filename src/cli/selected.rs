//! Which collections a command is about, and what they are called at the target.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// What a task document has under `select` and `rename`.
#[derive(Debug, clap::Args)]
pub struct Selected {
    /// Only these collections: database.collection, * for any run of characters
    #[arg(long, value_name = "PATTERN")]
    select: Vec<String>,
    /// Not these collections
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Another name at the target: db.a=db.b, or db1.*=db2.*
    #[arg(long, value_name = "FROM=TO")]
    rename: Vec<String>,
}

impl Selected {
    /// Patterns; that of everything where none is given.
    pub fn include(&self) -> Vec<String> {
        if self.select.is_empty() { vec!["*.*".to_owned()] } else { self.select.clone() }
    }

    /// Names and what they become. Usage errors: one without a `=`, one that is given twice.
    pub fn renames(&self) -> Result<BTreeMap<String, String>> {
        let mut renames = BTreeMap::new();
        for text in &self.rename {
            let wrong = |why: &str| {
                Error::usage(format!("--rename \"{text}\" {why}"))
                    .advice("write FROM=TO, such as db.docs=db.docs_restored, once for each name")
            };
            let (from, to) = text.split_once('=').ok_or_else(|| wrong("has no ="))?;
            if renames.insert(from.to_owned(), to.to_owned()).is_some() {
                return Err(wrong("renames what another one renames"));
            }
        }
        Ok(renames)
    }
}
