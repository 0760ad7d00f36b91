//! What may go. Pure.

use std::fmt;
use std::time::Duration;

use super::pins::Pin;
use crate::position::Seq;
use crate::tick::Tso;

/// What is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Every instant up to this long before the end of the log can be restored, as far as it can be now.
    pub window: Duration,
    /// At least so many bases.
    pub bases: usize,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keep-window {}, keep-bases {}", humantime::format_duration(self.window), self.bases)
    }
}

/// What of a log matters.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Watermark of the last commit.
    pub tail: Tso,
    /// A commit for which no base can stand.
    pub kept: Option<Seq>,
    /// Bases above the floor by their commits, with their watermarks; rising.
    pub bases: Vec<(Seq, Tso)>,
    /// Who needs what.
    pub pins: Vec<Pin>,
}

/// Where the floor goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To the base of a commit.
    Rises(Seq),
    /// Nowhere, because of this.
    Stays(Vec<String>),
    /// Nowhere: what is to be kept would allow it, but these pins do not.
    Held(Vec<String>),
}

/// The floor is the newest base that nothing is in the way of.
pub fn decide(keep: Keep, found: &Found) -> Decision {
    let Some(oldest) = found.bases.first() else {
        return Decision::Stays(vec!["there is no base above the floor: `tapedeck base` takes one".into()]);
    };
    let from = horizon(found.tail, keep.window);
    let kept = |at: usize| found.bases.len().saturating_sub(at);
    let free = |(at, (seq, watermark)): &(usize, &(Seq, Tso))| {
        *watermark <= from
            && kept(*at) >= keep.bases
            && found.kept != Some(*seq)
            && !found.pins.iter().any(|pin| pin.needs_below(*seq, *watermark))
    };
    if let Some((_, (seq, _))) = found.bases.iter().enumerate().rev().find(free) {
        return Decision::Rises(*seq);
    }
    // What is in the way of the oldest is in the way of all.
    let (seq, watermark) = *oldest;
    let mut in_the_way = Vec::new();
    if watermark > from {
        in_the_way.push(format!(
            "no base is older than the window: the oldest above the floor, of commit {seq}, is of {}, and the window begins at {}",
            watermark.time(),
            from.time()
        ));
    }
    if kept(0) < keep.bases {
        in_the_way.push(format!("of {} bases {} are to be kept", kept(0), keep.bases));
    }
    if found.kept == Some(seq) {
        in_the_way.push(format!(
            "the oldest base above the floor is of the last commit, {seq}: the recorder of an encrypted log opens no base, \
             and goes on after that commit"
        ));
    }
    let pinned_alone = in_the_way.is_empty();
    let pins = found.pins.iter().filter(|pin| pin.needs_below(seq, watermark));
    in_the_way.extend(pins.map(|pin| {
        format!("{pin}; the oldest base above the floor is of commit {seq}, {}", watermark.time())
    }));
    if pinned_alone { Decision::Held(in_the_way) } else { Decision::Stays(in_the_way) }
}

/// Where a window begins that ends with the log.
fn horizon(tail: Tso, window: Duration) -> Tso {
    let millis = u64::try_from(window.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Tso(tail.0.saturating_sub(Tso::from_millis(millis.min(Tso::MAX.millis())).0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pin() -> impl Strategy<Value = Pin> {
        prop_oneof![
            (0u64..60).prop_map(|seq| Pin::Reader { name: "r".into(), seq: Seq(seq) }),
            (0u64..600).prop_map(|at| Pin::Point { name: "p".into(), at: Tso::from_millis(at) }),
        ]
    }

    proptest! {
        #[test]
        fn the_floor_is_the_newest_base_below_which_nobody_needs_anything(
            bases in prop::collection::btree_map(1u64..60, 0u64..10, 0..8),
            pins in prop::collection::vec(pin(), 0..3),
            (tail, window, keep_bases) in (600u64..900, 0u64..900, 0usize..5),
            kept in prop::option::of(1u64..60),
        ) {
            // Watermarks rise with the commits.
            let bases = bases.into_iter().map(|(seq, more)| (Seq(seq), Tso::from_millis(seq * 10 + more)));
            let kept = kept.map(Seq);
            let found = Found { tail: Tso::from_millis(tail), kept, bases: bases.collect(), pins };
            let keep = Keep { window: Duration::from_millis(window), bases: keep_bases };
            let may_be = |(seq, watermark): (Seq, Tso)| {
                watermark.millis() + window <= tail
                    && Some(seq) != kept
                    && found.bases.iter().filter(|(kept, _)| *kept >= seq).count() >= keep_bases
                    && found.pins.iter().all(|pin| match pin {
                        Pin::Reader { seq: at, .. } => *at >= seq,
                        Pin::Point { at, .. } => *at >= watermark,
                    })
            };
            let right = found.bases.iter().copied().filter(|base| may_be(*base)).max();
            match decide(keep, &found) {
                Decision::Rises(seq) => prop_assert_eq!(Some(seq), right.map(|(seq, _)| seq)),
                Decision::Stays(why) => {
                    prop_assert_eq!(right, None);
                    prop_assert!(!why.is_empty());
                }
                Decision::Held(why) => {
                    prop_assert_eq!(right, None);
                    prop_assert!(!why.is_empty());
                    let unpinned = decide(keep, &Found { pins: vec![], ..found });
                    prop_assert!(matches!(unpinned, Decision::Rises(_)));
                }
            }
        }
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let at = Tso::from_millis;
        let keep = |seconds, bases| Keep { window: Duration::from_secs(seconds), bases };
        let reader = Pin::Reader { name: "dr-east".into(), seq: Seq(4) };
        let point = Pin::Point { name: "before_migration".into(), at: at(400) };
        let found = |bases: &[(Seq, Tso)], pins: &[&Pin]| Found {
            tail: at(10_000),
            kept: Some(Seq(9)),
            bases: bases.to_vec(),
            pins: pins.iter().copied().cloned().collect(),
        };
        let base = [(Seq(5), at(5_000))];
        for (keep, found, held, says) in [
            (keep(1, 1), found(&[], &[]), false, "there is no base"),
            (keep(1, 1), found(&[(Seq(9), at(8_000))], &[]), false, "is of the last commit, 9"),
            (keep(6, 1), found(&base, &[]), false, "no base is older than the window"),
            (keep(1, 2), found(&base, &[]), false, "of 1 bases 2 are to be kept"),
            (keep(1, 1), found(&base, &[&reader]), true, "reader dr-east"),
            (keep(1, 1), found(&base, &[&point]), true, "restore point before_migration"),
        ] {
            match (decide(keep, &found), held) {
                (Decision::Stays(why), false) | (Decision::Held(why), true) => {
                    assert!(why.len() == 1 && why[0].contains(says), "{why:?} instead of {says}")
                }
                (other, _) => panic!("{other:?} instead of {says}"),
            }
        }
        let both = decide(keep(6, 1), &found(&base, &[&reader]));
        assert!(matches!(both, Decision::Stays(why) if why.len() == 2));
        let enough = Keep { window: Duration::MAX, bases: 0 };
        assert!(matches!(decide(enough, &found(&base, &[])), Decision::Stays(_)));
        assert_eq!(decide(keep(5, 1), &found(&base, &[])), Decision::Rises(Seq(5)));
    }
}
