//! What of a stretch of a log no replayer can apply. Pure.

use crate::tick::Tso;

/// Messages of types that no target can be told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incomplete {
    /// When the first one came.
    pub since: Tso,
    /// Their types by name, each once; none: all can be applied.
    pub what: Vec<String>,
}

impl Incomplete {
    /// Takes one in.
    pub fn add(&mut self, tso: Tso, what: &str) {
        self.since = if self.what.is_empty() { tso } else { self.since.min(tso) };
        if !self.what.iter().any(|known| known == what) {
            self.what.push(what.to_owned());
        }
    }

    /// Takes in those of a later stretch.
    pub fn join(&mut self, later: &Incomplete) {
        for what in &later.what {
            self.add(later.since, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_once_and_the_first_instant_counts() {
        let mut all = Incomplete::default();
        all.join(&Incomplete::default());
        assert_eq!(all, Incomplete::default());
        for (tso, what) in [(7, "Import"), (5, "CreateRole"), (9, "Import")] {
            all.join(&Incomplete { since: Tso(tso), what: vec![what.into()] });
        }
        assert_eq!(all, Incomplete { since: Tso(5), what: vec!["Import".into(), "CreateRole".into()] });
    }
}
