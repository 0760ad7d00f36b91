//! Rows counted by periods of time. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::{Entry, RowTotal, Span};
use crate::error::{Error, Result};
use crate::tick::Tso;

/// The periods that may still get rows, and the sum of all.
pub struct Periods {
    millis: u64,
    open: BTreeMap<u64, RowTotal>,
    /// Periods before this one have been told.
    told: u64,
    total: RowTotal,
}

impl Periods {
    /// Of one length each, from 1970 on; at least a millisecond.
    pub fn new(period: Duration) -> Result<Periods> {
        let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return Err(Error::usage("a period of no length").advice("give --period e.g. 1h"));
        }
        Ok(Periods { millis, open: BTreeMap::new(), told: 0, total: RowTotal::default() })
    }

    /// Counts rows. Those of a period that was told already go to the first that is open: no row is lost. The rows of a base
    /// are of no period, only of the sum.
    pub fn count(&mut self, tso: Tso, rows: RowTotal) {
        self.total.add(rows);
        if tso != Tso::BASE {
            let period = (tso.millis() / self.millis).max(self.told);
            self.open.entry(period).or_default().add(rows);
        }
    }

    /// The periods that end before an instant: nothing more comes to them.
    pub fn before(&mut self, instant: Tso) -> Vec<Entry> {
        let now = if instant == Tso::MAX { u64::MAX } else { instant.millis() / self.millis };
        self.told = self.told.max(now);
        let open = self.open.split_off(&self.told);
        let told = std::mem::replace(&mut self.open, open);
        told.into_iter().map(|(period, rows)| Entry::Rows { span: self.span(period), rows }).collect()
    }

    /// The sum of all that was counted.
    pub fn total(&self) -> RowTotal {
        self.total
    }

    fn span(&self, period: u64) -> Span {
        let from = period.saturating_mul(self.millis);
        let last = from.saturating_add(self.millis - 1).min(Tso::MAX.millis());
        Span::new(Tso::from_millis(from), Tso::end_of_millis(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_sums_of_the_periods_are_the_whole_and_each_is_told_once_in_order(
            rows in prop::collection::vec((0u64..10_000, 0u64..9, 0u64..9, any::<bool>()), 0..60),
            millis in 1u64..3000,
        ) {
            let mut periods = Periods::new(Duration::from_millis(millis)).unwrap();
            let (mut told, mut whole) = (Vec::new(), RowTotal::default());
            for (at, inserted, deleted, tell) in rows {
                let row = RowTotal { inserted, deleted };
                periods.count(Tso::from_millis(at), row);
                whole.add(row);
                if tell {
                    told.extend(periods.before(Tso::from_millis(at)));
                }
            }
            told.extend(periods.before(Tso::MAX));
            let (mut sum, mut last) = (RowTotal::default(), None);
            for entry in told {
                let Entry::Rows { span, rows } = entry else { panic!("{entry:?}") };
                prop_assert!(last < Some(span.from.tso), "{:?} before {}", last, span.from.tso);
                prop_assert_eq!(Tso(span.to.tso).millis() - Tso(span.from.tso).millis(), millis - 1);
                last = Some(span.to.tso);
                sum.add(rows);
            }
            prop_assert_eq!((sum, periods.total()), (whole, whole));
        }

        #[test]
        fn the_rows_of_a_base_are_of_no_period_and_in_the_sum(inserted in 0u64..9, millis in 1u64..3000) {
            let mut periods = Periods::new(Duration::from_millis(millis)).unwrap();
            let row = RowTotal { inserted, deleted: 0 };
            periods.count(Tso::BASE, row);
            prop_assert_eq!((periods.before(Tso::MAX).len(), periods.total()), (0, row));
        }

        #[test]
        fn rows_are_counted_in_the_period_of_their_time(at in 0u64..1 << 45, millis in 1u64..1 << 40) {
            let mut periods = Periods::new(Duration::from_millis(millis)).unwrap();
            periods.count(Tso::from_millis(at), RowTotal { inserted: 1, deleted: 0 });
            let told = periods.before(Tso::MAX);
            let [Entry::Rows { span, .. }] = &told[..] else { panic!("{told:?}") };
            prop_assert!((span.from.tso..=span.to.tso).contains(&Tso::from_millis(at).0));
        }
    }
}
