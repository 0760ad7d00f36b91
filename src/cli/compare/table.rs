//! A comparison for people.

use crate::compare::{CollectionReport, Report};
use crate::tick::Tso;

const HEAD: [&str; 7] =
    ["collection", "rows source", "rows target", "keys", "hashes", "definition", "verdict"];
/// Columns of numbers.
const RIGHT: std::ops::RangeInclusive<usize> = 1..=3;

/// The table, what differs, and the sum.
pub fn lines(report: &Report) -> Vec<String> {
    let mut table = vec![HEAD.map(str::to_owned)];
    table.extend(report.collections.iter().map(row));
    let widths = std::array::from_fn::<_, { HEAD.len() }, _>(|column| {
        table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    table.insert(1, widths.map(|width| "-".repeat(width)));
    let mut lines = table.iter().map(|row| aligned(row, &widths)).collect::<Vec<_>>();
    lines.extend(report.databases.iter().cloned());
    for collection in &report.collections {
        lines.extend(collection.lines().into_iter().map(|line| format!("{}: {line}", collection.source)));
    }
    lines.push(sum(report));
    // names are others': nothing in them may move the terminal's cursor
    lines.into_iter().map(|line| line.replace(char::is_control, "\u{fffd}")).collect()
}

fn row(collection: &CollectionReport) -> [String; HEAD.len()] {
    let name = match collection.source == collection.target {
        true => collection.source.clone(),
        false => format!("{} = {}", collection.source, collection.target),
    };
    let rows = collection.rows.as_ref();
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let same = |same: bool| if same { "same" } else { "differ" }.to_owned();
    [
        name,
        number(rows.map(|rows| rows.rows_source)),
        number(rows.map(|rows| rows.rows_target)),
        number(rows.map(|rows| rows.keys_source)),
        rows.map_or("-".to_owned(), |rows| same(rows.differing() == 0)),
        same(collection.definition.is_empty()),
        collection.verdict(),
    ]
}

fn aligned(row: &[String; HEAD.len()], widths: &[usize; HEAD.len()]) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        if RIGHT.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

fn sum(report: &Report) -> String {
    let rows = report.collections.iter().filter_map(|collection| collection.rows.as_ref());
    let rows = rows.fold(0u64, |sum, rows| sum.saturating_add(rows.rows_source));
    let differing = report.collections.iter().filter(|collection| !collection.equal).count();
    let read = report.collections.iter().any(|collection| collection.rows.is_some());
    let verdict = match report.equal {
        true if read => "all equal".to_owned(),
        true => "definitions equal, no rows were compared".to_owned(),
        false => format!("{} DIFFERENT", differing + report.databases.len()),
    };
    format!("{} collections, {rows} rows: {verdict}{}", report.collections.len(), instants(report))
}

/// At which TSOs the collections were compared; some again, and later than others.
fn instants(report: &Report) -> String {
    let instants = || report.collections.iter().map(|collection| collection.at);
    let first = instants().min_by_key(|at| at.source);
    let Some((first, last)) = first.zip(instants().max_by_key(|at| at.source)) else { return String::new() };
    let spans = |first: Tso, last: Tso| match first == last {
        true => format!("{} (TSO {first})", first.time()),
        false => format!("{} to {} (TSO {first} to {last})", first.time(), last.time()),
    };
    format!(
        "; the source at {}, the target at {}",
        spans(first.source, last.source),
        spans(first.target, last.target)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{At, KeyReport, RowsReport};

    fn collection(source: &str, rows: Option<RowsReport>) -> CollectionReport {
        let at = At { source: Tso(470656465160896520), target: Tso(470656465160896521) };
        let equal = rows.as_ref().is_none_or(RowsReport::is_equal);
        let (definition, notes) = (Vec::new(), vec!["a note".to_owned()]);
        let (source, target) = (source.to_owned(), "default.b".to_owned());
        CollectionReport { source, target, equal, definition, notes, rows, at }
    }

    #[test]
    fn the_table_says_what_differs_and_when_it_was_looked_and_moves_no_cursor() {
        let first = KeyReport {
            partition: None,
            key: "\u{1b}[2J\"".into(),
            what: "different",
            fields: vec!["text".into(), "\u{7}".into()],
        };
        let mut rows = RowsReport::default();
        (rows.rows_source, rows.rows_target) = (3, 3);
        (rows.keys_source, rows.keys_target) = (3, 3);
        (rows.different, rows.first) = (1, vec![first]);
        let report = Report {
            equal: false,
            databases: vec!["database d is not at the target".into()],
            collections: vec![collection("default.a", Some(rows)), collection("default.b", None)],
        };
        let expected = [
            "collection             rows source  rows target  keys  hashes  definition  verdict",
            "---------------------  -----------  -----------  ----  ------  ----------  ------------------",
            "default.a = default.b            3            3     3  differ  same        DIFFERENT (a note)",
            "default.b                        -            -     -  -       same        equal (a note)",
            "database d is not at the target",
            "default.a: 1 keys with different rows",
            "default.a:   key \"\\u001b[2J\\\"\": different in text, \u{fffd}",
            "2 collections, 3 rows: 2 DIFFERENT; the source at 2026-11-23T05:32:10.698Z (TSO 470656465160896520), \
             the target at 2026-11-23T05:32:10.698Z (TSO 470656465160896521)",
        ];
        assert_eq!(lines(&report), expected);
    }

    #[test]
    fn the_sum_says_where_no_row_was_compared() {
        let report = |collections| Report { equal: true, databases: Vec::new(), collections };
        let sum = sum(&report(vec![collection("default.a", None)]));
        assert!(sum.contains(": definitions equal, no rows were compared;"), "{sum}");
        let rows = [None, Some(RowsReport::default())].map(|rows| collection("default.a", rows));
        assert!(super::sum(&report(rows.into())).contains(": all equal;"));
    }
}
