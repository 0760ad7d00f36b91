//! `tapedeck log timeline`.

use std::future::ready;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::log::{Place, compact};
use super::progress::ProgressLine;
use super::{instant, listed, print};
use crate::error::{Error, Result};
use crate::log::timeline::{Entry, Part, Picture, timeline};
use crate::tick::Tso;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Changes from this instant on: a TSO or RFC 3339
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    from: Option<Tso>,
    /// Changes up to this instant, included
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    to: Option<Tso>,
    /// The time over which rows are counted together
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    period: Duration,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Also draw it
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub async fn run(args: Args) -> Result<()> {
    let reader = args.place.reader().await?;
    // Made first: a log may be long to read.
    let file =
        args.svg.as_ref().map(|path| std::fs::File::create(path).map_err(|error| unwritten(path, error)));
    let mut drawing = file.transpose()?.map(|file| (file, Picture::default()));
    let part =
        Part { from: args.from.unwrap_or(Tso::ZERO), to: args.to.unwrap_or(Tso::MAX), period: args.period };
    let progress = ProgressLine::new();
    let mut show = |entry: Entry| {
        let text = if args.json { compact(&entry)? } else { line(&entry) };
        progress.print(|| match &mut drawing {
            None => listed(text),
            Some((_, picture)) => {
                picture.see(&entry);
                print(text)
            }
        })
    };
    let show = |entry| ready(show(entry));
    let told =
        timeline(&reader, part, show, |seq, last| progress.tell(format!("commit {seq} of {last}"))).await;
    progress.clear();
    told?;
    match drawing.zip(args.svg) {
        Some(((mut file, picture), path)) => {
            file.write_all(picture.svg().as_bytes()).map_err(|error| unwritten(&path, error))
        }
        None => Ok(()),
    }
}

fn unwritten(path: &std::path::Path, error: std::io::Error) -> Error {
    Error::operator(format!("the picture {} cannot be written: {error}", path.display()))
        .advice("give --svg a file in a folder that you may write to")
}

/// Names are the source's: nothing in them may move the terminal's cursor.
fn line(entry: &Entry) -> String {
    text(entry).replace(char::is_control, "\u{fffd}")
}

fn text(entry: &Entry) -> String {
    let row =
        |time: &str, tso: u64, place: &str, what: String| format!("{time}  {tso:>18}  {place:<10}  {what}");
    match entry {
        Entry::Log { log_id, created, queue, etcd, .. } => {
            format!("log {log_id}, begun {created}, of {queue} and etcd {etcd}")
        }
        Entry::Definition { place, at, exact, change, of, details } => {
            let name = details.get("name").and_then(|name| name.as_str());
            let name = name.filter(|name| !of.ends_with(name)).map(|name| format!(" \"{name}\""));
            let exact = if *exact { "" } else { " (at about this time)" };
            row(&at.time, at.tso, place, format!("{change} {of}{}{exact}", name.unwrap_or_default()))
        }
        Entry::Delete { seq, of, rows, first, last, .. } => {
            let what = format!("delete {rows} rows of {of}, the last at {} ({})", last.time, last.tso);
            row(&first.time, first.tso, &seq.to_string(), what)
        }
        Entry::Hole { seq, after, to, channel, start, end, reason } => {
            let after = after.as_ref().map(|after| format!(" after {}", after.time)).unwrap_or_default();
            let what = format!("HOLE [{start}, {end}) on {channel}{after}: {reason}");
            row(&to.time, to.tso, &seq.to_string(), what)
        }
        Entry::Rows { span, rows } => {
            let what =
                format!("{} rows inserted, {} deleted before {}", rows.inserted, rows.deleted, span.to.time);
            row(&span.from.time, span.from.tso, "", what)
        }
        Entry::Point { name, at } => row(&at.time, at.tso, "", format!("restore point {name}")),
        Entry::Window(span) => format!(
            "can be restored: from {} ({}) to {} ({})",
            span.from.time, span.from.tso, span.to.time, span.to.tso
        ),
        Entry::Total(total) => {
            let none = if total.windows == 0 { "; no instant can be restored" } else { "" };
            let more = match total.more_holes {
                0 => String::new(),
                more => format!("; {more} more holes are not shown"),
            };
            format!(
                "{} commits, {} segments of {} bytes; {} rows inserted, {} deleted{none}{more}",
                total.commits, total.segments, total.bytes, total.rows.inserted, total.rows.deleted
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::timeline::At;

    #[test]
    fn a_line_says_when_where_and_what_and_moves_no_cursor() {
        let at = At::from(Tso(470656465160896520));
        let definition = Entry::Definition {
            place: "12:3".into(),
            at: at.clone(),
            exact: false,
            change: "rename_collection",
            of: "default.do\u{1b}cs".into(),
            details: serde_json::json!({"name": "papers"}),
        };
        assert_eq!(
            line(&definition),
            "2026-11-23T05:32:10.698Z  470656465160896520  12:3        rename_collection default.do\u{fffd}cs \"papers\" \
             (at about this time)"
        );
        let (first, last) = (at.clone(), at.clone());
        let delete =
            Entry::Delete { seq: 9, of: "default.docs".into(), collection_id: 7, rows: 5, first, last };
        assert!(line(&delete).contains("delete 5 rows of default.docs"), "{}", line(&delete));
        let hole = Entry::Hole {
            seq: 4,
            after: None,
            to: at,
            channel: "dml_0".into(),
            start: "3".into(),
            end: "5".into(),
            reason: "retention".into(),
        };
        assert!(line(&hole).ends_with("HOLE [3, 5) on dml_0: retention"), "{}", line(&hole));
    }
}
