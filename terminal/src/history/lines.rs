//! How events are printed.

use clap::ValueEnum;
use damocles_client::history::Recorded;
use unicode_width::UnicodeWidthStr;

use super::words;
use crate::{CliError, jsonl, print, print_more, printable};

/// How events are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HistoryOutput {
    /// A line each, in words
    #[default]
    Plain,
    /// One JSON array
    Json,
    /// One JSON object a line
    Jsonl,
}

/// Prints one event after another.
pub(super) struct Lines {
    output: HistoryOutput,
    first: bool,
    widths: [usize; 3],
}

impl Lines {
    pub(super) fn new(output: HistoryOutput) -> Lines {
        Lines { output, first: true, widths: [0; 3] }
    }

    pub(super) fn begin(&self) -> Result<(), CliError> {
        if self.output == HistoryOutput::Json { print("[") } else { Ok(()) }
    }

    /// Prints one. Says whether there is a reader still.
    pub(super) fn print(&mut self, recorded: &Recorded) -> Result<bool, CliError> {
        print_more(&self.next(recorded)?)
    }

    pub(super) fn end(&self) -> Result<(), CliError> {
        match (self.output, self.first) {
            (HistoryOutput::Json, true) => print("]\n"),
            (HistoryOutput::Json, false) => print("\n]\n"),
            _ => Ok(()),
        }
    }

    fn next(&mut self, recorded: &Recorded) -> Result<String, CliError> {
        let first = std::mem::replace(&mut self.first, false);
        Ok(match self.output {
            HistoryOutput::Plain => self.plain(recorded),
            HistoryOutput::Jsonl => jsonl(std::slice::from_ref(recorded))?,
            HistoryOutput::Json => {
                let object = jsonl(std::slice::from_ref(recorded))?;
                format!("{}{}", if first { "\n  " } else { ",\n  " }, object.trim_end())
            }
        })
    }

    // Nobody knows the widths of what is still to come: columns grow when they have to.
    fn plain(&mut self, Recorded { worker, kind, event, .. }: &Recorded) -> String {
        let dash = || "-".to_owned();
        let cells = [
            printable(worker),
            event.index.map_or_else(dash, |index| format!("#{index}")),
            event.sector_id.as_deref().map_or_else(dash, printable),
        ];
        let mut line = words::time(event.at);
        for (cell, width) in cells.iter().zip(&mut self.widths) {
            *width = (*width).max(cell.width());
            line += &format!("  {cell}{}", " ".repeat(*width - cell.width()));
        }
        line + "  " + &printable(&words::what(event, kind)) + "\n"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared_msgs::{
        event::{Event, EventKind},
        id::Id,
    };

    use super::*;

    fn recorded(worker: &str, event: Event) -> Recorded {
        Recorded {
            worker: worker.into(),
            stored_at: 1_700_000_000_500,
            seq: 9,
            kind: String::new(),
            event,
        }
    }

    fn moved() -> Event {
        Event {
            index: Some(0),
            sector_id: Some("s-t010000-2".into()),
            from: Some("C1Done".into()),
            to: Some("TreeDBuilt".into()),
            ..Event::new(EventKind::Transition, 1_700_000_000_123)
        }
    }

    #[test]
    fn an_event_is_an_aligned_line() {
        let mut lines = Lines::new(HistoryOutput::Plain);
        let started = Event::new(EventKind::WorkerStarted, 1_700_000_000_000);
        let printed: String = [
            recorded("w1", started.clone()),
            recorded("矿机 1", moved()),
            recorded("w\n1", started),
        ]
        .iter()
        .map(|recorded| lines.next(recorded).unwrap())
        .collect();
        let expected = "\
2023-11-14T22:13:20.000Z  w1  -  -  worker started
2023-11-14T22:13:20.123Z  矿机 1  #0  s-t010000-2  C1Done -> TreeDBuilt
2023-11-14T22:13:20.000Z  w\\n1    -   -            worker started
";
        assert_eq!(printed, expected);
    }

    #[test]
    fn a_json_line_is_the_event_with_where_it_stands_in_the_stream() {
        let line: Value = serde_json::from_str(
            &Lines::new(HistoryOutput::Jsonl).next(&recorded("w1", moved())).unwrap(),
        )
        .unwrap();
        let expected = json!({
            "worker": "w1", "stored_at": 1_700_000_000_500u64, "seq": 9,
            "id": {"store": Id::NIL, "n": 0}, "at": 1_700_000_000_123u64, "kind": "transition", "instance_id": Id::NIL,
            "index": 0, "sector_id": "s-t010000-2", "from": "C1Done", "to": "TreeDBuilt",
        });
        assert_eq!(line, expected);
    }
}
