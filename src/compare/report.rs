//! What a comparison found.

use serde::Serialize;

use super::definition::Layout;
use super::merge::Side;
use super::pages::Tally;
use crate::rows::Key;
use crate::tick::Tso;

/// Of everything that was compared.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether nothing differs.
    pub equal: bool,
    /// Databases that only one of the two has, in words for a person.
    pub databases: Vec<String>,
    /// By the source's names.
    pub collections: Vec<CollectionReport>,
}

/// Of one collection.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionReport {
    /// `database.collection` at the source.
    pub source: String,
    /// And at the target.
    pub target: String,
    /// Whether nothing differs.
    pub equal: bool,
    /// What differs in the definition, in words for a person.
    pub definition: Vec<String>,
    /// What cannot be alike or was not compared, in words for a person.
    pub notes: Vec<String>,
    /// What its rows are; none where they were not compared.
    pub rows: Option<RowsReport>,
    /// At which TSOs it was compared; of keys that differed then some may have been looked at again later.
    pub at: At,
}

/// Of the rows of one collection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RowsReport {
    /// `count(*)` at the source: every row of a key counts.
    pub rows_source: u64,
    /// And at the target.
    pub rows_target: u64,
    /// Keys at the source, each once.
    pub keys_source: u64,
    /// And at the target.
    pub keys_target: u64,
    /// Keys that only the source has.
    pub only_in_source: u64,
    /// Keys that only the target has.
    pub only_in_target: u64,
    /// Keys that both have, with different rows.
    pub different: u64,
    /// Keys that differed at first, and agreed when they were compared again.
    pub settled: u64,
    /// The first keys that differ.
    pub first: Vec<KeyReport>,
    #[serde(skip)]
    pub(super) found: Vec<Differing>,
    /// Bytes of those.
    #[serde(skip)]
    kept: usize,
    /// Of what they are the rows.
    #[serde(skip)]
    layout: Option<Layout>,
}

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// Its partition, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// A number or a text.
    pub key: serde_json::Value,
    /// `only in source`, `only in target` or `different`.
    pub what: &'static str,
    /// The fields that differ, of a key that both have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// Every change up to these was seen, later ones may have been: Milvus 2.3 has no time travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct At {
    /// By the source's clock.
    #[serde(serialize_with = "tso")]
    pub source: Tso,
    /// By the target's.
    #[serde(serialize_with = "tso")]
    pub target: Tso,
}

fn tso<S: serde::Serializer>(tso: &Tso, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(tso.0)
}

/// A key that differs, as it is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Differing {
    pub partition: Option<String>,
    pub key: Key,
    pub state: State,
}

/// How a key is at both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Neither has it, or both have the same row.
    Equal {
        /// Whether both have it.
        there: bool,
    },
    Only(Side),
    /// In these fields; none: not looked yet.
    Different(Vec<String>),
}

impl State {
    fn what(&self) -> &'static str {
        match self {
            State::Equal { .. } => "equal",
            State::Only(Side::Source) => "only in source",
            State::Only(Side::Target) => "only in target",
            State::Different(_) => "different",
        }
    }

    /// Whether source and target have the key.
    fn present(&self) -> (bool, bool) {
        match self {
            State::Equal { there } => (*there, *there),
            State::Only(side) => (*side == Side::Source, *side == Side::Target),
            State::Different(_) => (true, true),
        }
    }
}

impl CollectionReport {
    /// Of a collection of which nothing is known yet.
    pub(super) fn new(source: String, target: String, at: At) -> CollectionReport {
        let (definition, notes) = (Vec::new(), Vec::new());
        CollectionReport { source, target, equal: false, definition, notes, rows: None, at }
    }

    /// The rows of an earlier report, where only the kept keys need another look: all others are as they were then.
    pub(super) fn go_on(&mut self, before: CollectionReport, layout: &Layout) -> Option<RowsReport> {
        let rows = before.rows.filter(|rows| rows.goes_on(layout))?;
        self.at = before.at;
        Some(rows)
    }

    /// `equal` or `DIFFERENT`, with what is said besides.
    pub fn verdict(&self) -> String {
        let verdict = if self.equal { "equal" } else { "DIFFERENT" };
        match self.notes.is_empty() {
            true => verdict.to_owned(),
            false => format!("{verdict} ({})", self.notes.join("; ")),
        }
    }

    /// Everything that differs, one line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.definition.clone();
        let Some(rows) = &self.rows else { return lines };
        if rows.doubles_differ() {
            let [ours, theirs] = rows.doubles();
            lines.push(format!(
                "rows of keys that have several: {ours} at the source, {theirs} at the target"
            ));
        }
        for (what, count) in [
            ("only in the source", rows.only_in_source),
            ("only in the target", rows.only_in_target),
            ("with different rows", rows.different),
        ] {
            if count > 0 {
                lines.push(format!("{count} keys {what}"));
            }
        }
        lines.extend(rows.first.iter().map(|key| {
            let place = key.partition.as_ref().map(|name| format!("partition {name}, ")).unwrap_or_default();
            let fields = match key.fields.is_empty() {
                true => String::new(),
                false => format!(" in {}", key.fields.join(", ")),
            };
            format!("  {place}key {}: {}{fields}", key.key, key.what)
        }));
        let more = rows.differing().saturating_sub(rows.first.len() as u64);
        if more > 0 && !rows.first.is_empty() {
            lines.push(format!("  and {more} more"));
        }
        lines
    }

    pub(super) fn conclude(&mut self) {
        self.equal = self.definition.is_empty() && self.rows.as_ref().is_none_or(RowsReport::is_equal);
    }
}

impl RowsReport {
    /// Of rows that are yet to be read.
    pub(super) fn of(layout: Layout) -> RowsReport {
        RowsReport { layout: Some(layout), ..RowsReport::default() }
    }

    /// Whether only the kept keys need another look: the rows are those of the same two, and nothing else differs.
    pub(super) fn goes_on(&self, layout: &Layout) -> bool {
        self.layout.as_ref() == Some(layout) && self.keeps_all() && !self.doubles_differ()
    }

    /// Whether no key differs, nor the number of rows beyond one a key.
    pub fn is_equal(&self) -> bool {
        self.differing() == 0 && !self.doubles_differ()
    }

    /// How many keys differ.
    pub fn differing(&self) -> u64 {
        self.only_in_source.saturating_add(self.only_in_target).saturating_add(self.different)
    }

    fn doubles_differ(&self) -> bool {
        let [ours, theirs] = self.doubles();
        ours != theirs
    }

    /// Rows beyond one a key.
    fn doubles(&self) -> [u64; 2] {
        [(self.rows_source, self.keys_source), (self.rows_target, self.keys_target)]
            .map(|(rows, keys)| rows.saturating_sub(keys))
    }

    pub(super) fn add(&mut self, source: Tally, target: Tally) {
        for (total, more) in [
            (&mut self.rows_source, source.rows),
            (&mut self.keys_source, source.keys),
            (&mut self.rows_target, target.rows),
            (&mut self.keys_target, target.keys),
        ] {
            *total = total.saturating_add(more);
        }
    }

    fn counter(&mut self, state: &State) -> Option<&mut u64> {
        match state {
            State::Equal { .. } => None,
            State::Only(Side::Source) => Some(&mut self.only_in_source),
            State::Only(Side::Target) => Some(&mut self.only_in_target),
            State::Different(_) => Some(&mut self.different),
        }
    }

    /// Counts a key that differs, and keeps it while those that are kept have fewer bytes than `most`.
    pub(super) fn note(&mut self, found: Differing, most: usize) {
        if let Some(count) = self.counter(&found.state) {
            *count = count.saturating_add(1);
        }
        let text = if let Key::Text(text) = &found.key { text.len() } else { 0 };
        self.kept = self.kept.saturating_add(size_of::<Differing>() + text);
        if self.kept <= most {
            self.found.push(found);
        }
    }

    /// Whether every key that differs is kept.
    pub(super) fn keeps_all(&self) -> bool {
        self.found.len() as u64 == self.differing()
    }

    /// Puts what a kept key is now in the place of what it was; true where it differs no more.
    pub(super) fn settle(&mut self, number: usize, now: State) -> bool {
        let Some(found) = self.found.get_mut(number) else { return false };
        let before = std::mem::replace(&mut found.state, now.clone());
        if let Some(count) = self.counter(&before) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.counter(&now) {
            *count = count.saturating_add(1);
        }
        let (was, is) = (before.present(), now.present());
        moved(was.0, is.0, [&mut self.rows_source, &mut self.keys_source]);
        moved(was.1, is.1, [&mut self.rows_target, &mut self.keys_target]);
        matches!(now, State::Equal { .. })
    }

    /// Forgets the kept keys that agree, and shows the first of the others.
    pub(super) fn show(&mut self, most: usize) {
        self.found.retain(|found| !matches!(found.state, State::Equal { .. }));
        self.first = self.found.iter().take(most).map(KeyReport::from).collect();
    }
}

/// A key that came or went since it was counted.
fn moved(was: bool, is: bool, counts: [&mut u64; 2]) {
    for count in counts {
        *count = count.saturating_add(u64::from(is)).saturating_sub(u64::from(was));
    }
}

impl From<&Differing> for KeyReport {
    fn from(found: &Differing) -> KeyReport {
        let key = match &found.key {
            Key::Int(key) => (*key).into(),
            Key::Text(key) => key.as_str().into(),
        };
        let fields = match &found.state {
            State::Different(fields) => fields.clone(),
            _ => Vec::new(),
        };
        KeyReport { partition: found.partition.clone(), key, what: found.state.what(), fields }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: i64, state: State) -> Differing {
        Differing { partition: None, key: Key::Int(key), state }
    }

    fn report() -> CollectionReport {
        let mut rows = RowsReport::default();
        rows.add(Tally { rows: 10, keys: 10 }, Tally { rows: 9, keys: 9 });
        rows.note(found(1, State::Only(Side::Source)), 999);
        rows.note(found(2, State::Different(vec!["text".into()])), 999);
        let at = At { source: Tso(1), target: Tso(2) };
        let mut report = CollectionReport::new("default.a".into(), "default.b".into(), at);
        report.rows = Some(rows);
        report
    }

    #[test]
    fn the_verdict_names_keys_and_fields() {
        let mut report = report();
        report.rows.as_mut().unwrap().show(1);
        report.conclude();
        assert_eq!(report.verdict(), "DIFFERENT");
        let lines = [
            "1 keys only in the source",
            "1 keys with different rows",
            "  key 1: only in source",
            "  and 1 more",
        ];
        assert_eq!(report.lines(), lines);
        report.rows.as_mut().unwrap().show(2);
        assert_eq!(report.lines().last().unwrap(), "  key 2: different in text");
    }

    #[test]
    fn more_keys_than_can_be_kept_are_counted() {
        let mut rows = RowsReport::default();
        for key in 0..1000 {
            rows.note(found(key, State::Only(Side::Target)), 10 * size_of::<Differing>());
        }
        assert_eq!((rows.found.len(), rows.only_in_target, rows.keeps_all()), (10, 1000, false));
        let mut rows = RowsReport::default();
        let text = Differing { key: Key::Text("k".repeat(999)), ..found(0, State::Only(Side::Target)) };
        rows.note(text, 999);
        assert_eq!((rows.found.len(), rows.keeps_all()), (0, false));
    }

    #[test]
    fn a_key_that_came_to_agree_is_counted_anew() {
        let mut report = report();
        let rows = report.rows.as_mut().unwrap();
        assert!(rows.settle(0, State::Equal { there: true }));
        assert!(rows.settle(1, State::Equal { there: false }));
        rows.show(5);
        assert!(rows.is_equal() && rows.first.is_empty());
        assert_eq!((rows.rows_source, rows.rows_target, rows.keys_source), (9, 9, 9));
        report.conclude();
        assert_eq!(report.verdict(), "equal");
    }

    #[test]
    fn more_rows_of_a_key_at_one_side_are_a_difference() {
        let mut report = report();
        let mut rows = RowsReport::default();
        rows.add(Tally { rows: 11, keys: 10 }, Tally { rows: 10, keys: 10 });
        report.rows = Some(rows);
        report.conclude();
        assert!(!report.equal);
        assert_eq!(report.lines(), ["rows of keys that have several: 1 at the source, 0 at the target"]);
    }

    #[test]
    fn rows_that_are_not_read_again_keep_the_instant_of_their_reading() {
        let (layout, mut before) = (Layout::default(), report());
        before.rows = Some(RowsReport::of(layout.clone()));
        let later = At { source: Tso(7), target: Tso(8) };
        let mut again = CollectionReport::new("default.a".into(), "default.b".into(), later);
        assert!(again.go_on(report(), &layout).is_none(), "the rows of another collection");
        assert_eq!(again.at, later);
        assert!(again.go_on(before, &layout).is_some());
        assert_eq!(again.at, report().at);
    }

    #[test]
    fn a_difference_does_not_hide_what_is_said_besides() {
        let mut report = report();
        report.notes = vec!["1 of 3 partitions are not loaded".to_owned()];
        assert_eq!(report.verdict(), "DIFFERENT (1 of 3 partitions are not loaded)");
    }

    #[test]
    fn the_document_has_keys_as_they_are() {
        let mut report = report();
        report.rows.as_mut().unwrap().show(1);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rows"]["first"], serde_json::json!([{"key": 1, "what": "only in source"}]));
        assert_eq!(json["at"], serde_json::json!({"source": 1, "target": 2}));
    }
}
