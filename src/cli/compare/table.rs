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
    let verdict = match report.equal {
        true => "all equal".to_owned(),
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
