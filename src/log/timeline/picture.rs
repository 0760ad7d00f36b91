//! A timeline as an SVG picture that needs nothing else: windows and holes, rows per period, marks of definitions and
//! deletes. Whatever the length of the log, it stays small.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::entry::{At, Entry, RowTotal, Span};
use crate::tick::Tso;

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 20.0;
/// Height above and below the middle line of the bars.
const BAR: f64 = 70.0;
const MIDDLE: f64 = 165.0;
/// With more the periods are put together in twos.
const MOST_BARS: usize = 480;
const MOST_MARKS: usize = 1000;

/// What is drawn, taken from entries one after another.
#[derive(Debug, Default)]
pub struct Picture {
    title: String,
    windows: Vec<Span>,
    holes: Vec<(Span, String)>,
    marks: Vec<(At, &'static str, String)>,
    left_out: u64,
    /// Milliseconds of a bar.
    bar: u64,
    bars: BTreeMap<u64, RowTotal>,
}

impl Picture {
    /// Takes in the next entry.
    pub fn see(&mut self, entry: &Entry) {
        match entry {
            Entry::Log { log_id, queue, .. } => self.title = format!("log {log_id} of {queue}"),
            Entry::Definition { place, at, change, of, .. } => {
                self.mark(at, "definition", format!("{place} {change} {of}"))
            }
            Entry::Delete { seq, of, rows, first, .. } => {
                self.mark(first, "delete", format!("commit {seq} deletes {rows} rows of {of}"))
            }
            Entry::Hole { after, to, channel, start, end, reason, .. } => {
                let text = format!("hole [{start}, {end}) on {channel}: {reason}");
                let span = Span { from: after.as_ref().unwrap_or(to).clone(), to: to.clone() };
                self.holes.push((span, text));
            }
            Entry::Window(span) => self.windows.push(span.clone()),
            Entry::Rows { span, rows } => self.rows(span, *rows),
            Entry::Point { .. } | Entry::Total(_) => {}
        }
    }

    fn mark(&mut self, at: &At, class: &'static str, text: String) {
        if self.marks.len() < MOST_MARKS {
            self.marks.push((at.clone(), class, format!("{} {text}", at.time)));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    fn rows(&mut self, span: &Span, rows: RowTotal) {
        let [from, to] = [&span.from, &span.to].map(|at| Tso(at.tso).millis());
        self.bar = self.bar.max(to.saturating_sub(from).saturating_add(1));
        self.bars.entry(from / self.bar).or_default().add(rows);
        while self.bars.len() > MOST_BARS {
            self.bar = self.bar.saturating_mul(2);
            for (number, rows) in std::mem::take(&mut self.bars) {
                self.bars.entry(number / 2).or_default().add(rows);
            }
        }
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let (from, to) = self.bounds();
        let x = |millis: u64| {
            let way = to.saturating_sub(from).max(1) as f64;
            MARGIN + (WIDTH - 2.0 * MARGIN) * millis.saturating_sub(from) as f64 / way
        };
        let at = |at: &At| x(Tso(at.tso).millis());
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} 290\" font-family=\"sans-serif\" \
             font-size=\"11\"><style>.window{{fill:#4a9}}.hole{{fill:#d33}}.in{{fill:#47b}}.out{{fill:#e83}}\
             .definition{{stroke:#639}}.delete{{stroke:#d33}}</style>\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"{MARGIN}\" y=\"20\">{}</text>\n",
            escape(&self.title)
        );
        for span in &self.windows {
            let text = format!("can be restored: {} to {}", span.from.time, span.to.time);
            bar(&mut svg, "window", (at(&span.from), at(&span.to)), (40.0, 14.0), &text);
        }
        for (span, text) in &self.holes {
            bar(&mut svg, "hole", (at(&span.from), at(&span.to)), (40.0, 14.0), text);
        }
        for (place, class, text) in &self.marks {
            let x = at(place);
            line(&mut svg, class, (x, if *class == "delete" { 72.0 } else { 60.0 }), 12.0, text);
        }
        let most = self.bars.values().map(|rows| rows.inserted.max(rows.deleted)).max().unwrap_or_default();
        for (number, rows) in &self.bars {
            let begin = number.saturating_mul(self.bar);
            let across = (x(begin), x(begin.saturating_add(self.bar).min(to)));
            let height = |rows: u64| BAR * rows as f64 / most.max(1) as f64;
            let time = Tso::from_millis(begin).time();
            let (up, down) = (height(rows.inserted), height(rows.deleted));
            bar(&mut svg, "in", across, (MIDDLE - up, up), &format!("{time} {} inserted", rows.inserted));
            bar(&mut svg, "out", across, (MIDDLE, down), &format!("{time} {} deleted", rows.deleted));
        }
        let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
            // Writing to a string cannot fail.
            let _ =
                writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
        };
        text(MARGIN, 255.0, "start", &Tso::from_millis(from).time());
        text(WIDTH - MARGIN, 255.0, "end", &Tso::from_millis(to).time());
        let mut legend = format!(
            "green: can be restored; red: hole; purple: definition; red mark: delete; blue: inserted, orange: deleted, \
             at most {most} rows in {}",
            humantime::format_duration(std::time::Duration::from_millis(self.bar))
        );
        if self.left_out > 0 {
            legend.push_str(&format!("; {} marks are left out", self.left_out));
        }
        text(MARGIN, 275.0, "start", &legend);
        svg.push_str("</svg>\n");
        svg
    }

    /// The first and the last millisecond of what is drawn.
    fn bounds(&self) -> (u64, u64) {
        let spans = self.windows.iter().chain(self.holes.iter().map(|(span, _)| span));
        let spans = spans.flat_map(|span| [&span.from, &span.to]).chain(self.marks.iter().map(|(at, ..)| at));
        let instants = spans.map(|at| Tso(at.tso).millis()).filter(|millis| *millis > 0);
        let bars = self.bars.keys().map(|number| number.saturating_mul(self.bar));
        let bars = bars.flat_map(|begin| [begin, begin.saturating_add(self.bar)]);
        let all = instants.chain(bars).collect::<Vec<_>>();
        let bound = |found: Option<&u64>| found.copied().unwrap_or_default();
        (bound(all.iter().min()), bound(all.iter().max()))
    }
}

/// A box at least as wide as can be seen.
fn bar(svg: &mut String, class: &str, (left, right): (f64, f64), (top, height): (f64, f64), text: &str) {
    let width = (right - left).max(1.0);
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
        escape(text)
    );
}

fn line(svg: &mut String, class: &str, (x, y): (f64, f64), height: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<path class=\"{class}\" d=\"M{x:.1} {y:.1}v{height}\"><title>{}</title></path>",
        escape(text)
    );
}

/// Names are the source's: none may become a part of the picture. What XML cannot hold at all is left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in
        text.chars().filter(|letter| !letter.is_control() && !matches!(letter, '\u{fffe}' | '\u{ffff}'))
    {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(second: u64) -> Entry {
        let (from, to) = (Tso::from_millis(second * 1000), Tso::end_of_millis(second * 1000 + 999));
        Entry::Rows { span: Span::new(from, to), rows: RowTotal { inserted: 2, deleted: 1 } }
    }

    #[test]
    fn a_picture_of_a_long_log_stays_small_and_counts_every_row() {
        let mut picture = Picture::default();
        for second in 0..100_000 {
            picture.see(&rows(1_795_411_930 + second));
        }
        let sum = picture.bars.values().fold(0, |sum, rows| sum + rows.inserted);
        assert_eq!((sum, picture.bars.len() <= MOST_BARS), (200_000, true));
        assert!(picture.svg().len() < 250_000);
    }

    #[test]
    fn marks_beyond_what_is_drawn_are_counted() {
        let mut picture = Picture::default();
        for n in 0..MOST_MARKS as u64 + 3 {
            let (at, details) = (Tso::from_millis(n + 1).into(), serde_json::Value::Null);
            let (place, of) = (format!("1:{n}"), "default.docs".to_owned());
            picture.see(&Entry::Definition { place, at, exact: true, change: "flush", of, details });
        }
        assert!(picture.svg().contains("; 3 marks are left out"));
    }

    #[test]
    fn a_name_of_the_source_is_text_and_nothing_else() {
        assert_eq!(escape("a<script>\"&\u{1}b"), "a&lt;script&gt;&quot;&amp;b");
    }

    #[test]
    fn an_empty_timeline_has_a_picture_too() {
        let svg = Picture::default().svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
