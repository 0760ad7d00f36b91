//! The table that a run prints.

use std::fmt;

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Goal {
    /// It is there to compare with.
    None,
    AtLeast(f64),
    AtMost(f64),
}

struct Row {
    what: String,
    figure: f64,
    unit: &'static str,
    goal: Goal,
}

/// Figures with their goals, and what they were measured on.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    /// Adds a figure, and shows it already.
    pub fn add(&mut self, what: impl Into<String>, figure: f64, unit: &'static str, goal: Goal) {
        let row = Row { what: what.into(), figure, unit, goal };
        eprintln!("{}: {} {unit}", row.what, number(figure));
        self.rows.push(row);
    }

    /// Adds a line below the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
        writeln!(f, "{:width$}  {:>9}  {:6}  {:>8}", "what", "figure", "unit", "goal")?;
        for Row { what, figure, unit, goal } in &self.rows {
            let (bound, met) = match *goal {
                Goal::None => (String::new(), ""),
                Goal::AtLeast(bound) => (format!(">= {bound}"), met(*figure >= bound)),
                Goal::AtMost(bound) => (format!("<= {bound}"), met(*figure <= bound)),
            };
            writeln!(f, "{what:width$}  {:>9}  {unit:6}  {bound:>8}  {met}", number(*figure))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn number(figure: f64) -> String {
    if figure >= 100.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}

/// The mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The value below which this part of the values lies (nearest rank).
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
