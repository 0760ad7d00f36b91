//! Milvus' hybrid timestamp (TSO): 46 bits of milliseconds since the Unix epoch, 18 bits of counter.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::error::{Error, Result};

const LOGICAL_BITS: u32 = 18;

/// A point in a source's history. Ordered as the source ordered its changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tso(pub u64);

impl Tso {
    /// Before every change.
    pub const ZERO: Tso = Tso(0);
    /// Of all rows of a base: after what existed when the log began, before all that the source gave out. No time: what is
    /// known up to here alone is shown as nothing yet.
    pub const BASE: Tso = Tso(1);
    /// After every change.
    pub const MAX: Tso = Tso(u64::MAX);

    /// The first TSO of a millisecond.
    pub fn from_millis(millis: u64) -> Tso {
        Tso(millis << LOGICAL_BITS)
    }

    /// The last TSO of a millisecond: an instant given as wall-clock time includes its whole millisecond.
    pub fn end_of_millis(millis: u64) -> Tso {
        Tso((millis << LOGICAL_BITS) | ((1 << LOGICAL_BITS) - 1))
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// The smallest TSO after this one.
    pub fn next(self) -> Tso {
        Tso(self.0.saturating_add(1))
    }

    /// RFC 3339 in UTC; empty for a TSO that no clock shows, as that of a base.
    pub fn time(self) -> String {
        let millis = Some(self.millis()).filter(|_| self != Tso::BASE);
        millis
            .and_then(|millis| i64::try_from(millis).ok())
            .and_then(|millis| Timestamp::from_millisecond(millis).ok())
            .map(|time| format!("{time:.3}"))
            .unwrap_or_default()
    }
}

impl fmt::Display for Tso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An instant as people write it: a TSO (a number) or RFC 3339.
///
/// ```
/// use tapedeck::tick::Tso;
///
/// let instant: Tso = "2026-11-23T05:32:10.698Z".parse()?;
/// assert_eq!(instant.millis(), 1_795_411_930_698);
/// # Ok::<(), tapedeck::error::Error>(())
/// ```
impl FromStr for Tso {
    type Err = Error;

    fn from_str(text: &str) -> Result<Tso> {
        if let Ok(tso) = text.parse() {
            return Ok(Tso(tso));
        }
        let time: Timestamp = text.parse().map_err(|error| {
            Error::usage(format!("\"{text}\" is no instant: {error}"))
                .advice("write a TSO such as 470656465160896520, or a time such as 2026-11-23T08:00:00Z")
        })?;
        let millis = u64::try_from(time.as_millisecond())
            .map_err(|_| Error::usage(format!("\"{text}\" lies before 1970")))?;
        Ok(Tso::end_of_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_parts_of_a_tso_seen_on_a_real_server() {
        let tso = Tso(470656465160896520);
        assert_eq!((tso.millis(), tso.0 & 0x3ffff), (1795411930698, 8));
        assert_eq!(tso.time(), "2026-11-23T05:32:10.698Z");
    }

    #[test]
    fn an_instant_is_a_number_or_rfc_3339_and_nothing_else() {
        assert_eq!("470656465160896520".parse::<Tso>().unwrap(), Tso(470656465160896520));
        let whole_millisecond = "2026-11-23T05:32:10.698Z".parse::<Tso>().unwrap();
        assert!(whole_millisecond > Tso(470656465160896520));
        assert_eq!(whole_millisecond.millis(), 1795411930698);
        assert!("yesterday".parse::<Tso>().unwrap_err().to_string().contains("yesterday"));
    }

    proptest! {
        #[test]
        fn every_tso_lies_in_its_millisecond(raw in 0u64..u64::MAX) {
            let tso = Tso(raw);
            prop_assert!(Tso::from_millis(tso.millis()) <= tso && tso <= Tso::end_of_millis(tso.millis()));
            prop_assert!(tso.next() > tso);
        }
    }
}
