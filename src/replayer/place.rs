//! The name of one change in a log: what people write, and what `tapedeck log timeline` shows.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::position::Seq;
use crate::tick::Tso;

/// The name of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `commit:number`: a definition; the number counts those of its commit from 1.
    Definition(Seq, u64),
    /// `tso:TSO`: all deletes of one request.
    Deletes(Tso),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Definition(seq, number) => write!(f, "{seq}:{number}"),
            Place::Deletes(tso) => write!(f, "tso:{tso}"),
        }
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Place> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        let place = match text.split_once(':') {
            Some(("tso", tso)) => number(tso).map(|tso| Place::Deletes(Tso(tso))),
            Some((seq, nth)) => {
                number(seq).zip(number(nth)).map(|(seq, nth)| Place::Definition(Seq(seq), nth))
            }
            None => None,
        };
        place.ok_or_else(|| {
            Error::usage(format!("\"{}\" is no place of a change", text.escape_debug())).advice(
                "write commit:number of a definition, such as 12:3, or tso:TSO of a delete; `tapedeck log timeline` shows them",
            )
        })
    }
}
