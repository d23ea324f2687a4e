//! Where a command that watches shows what it sees: on a terminal the same place again and again,
//! anywhere else one document after another, each only when it differs from the one before.

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use console::Term;
use tokio::time::{Instant, sleep_until};

use crate::{CliError, Output, draw, note, print_more, printable};

/// Ages on a terminal move so often; and silence is noticed so soon.
pub const TICK: Duration = Duration::from_secs(1);
/// It is never shown more often than this.
const PERIOD: Duration = Duration::from_millis(200);

// A screen of its own, without cursor and line wrap; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?7l\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?7h\x1b[?1049l";

/// One view of what is watched.
#[derive(Default)]
pub struct Frame {
    /// What is shown.
    pub text: String,
    /// The same without what moves by itself, such as ages: two frames that agree in it show the
    /// same.
    pub content: String,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Where frames go, and how one takes the place of another.
pub enum Screen {
    /// A terminal, which is left as it was found.
    Terminal,
    /// A pipe or a file.
    Documents(Documents),
}

/// What was written last.
pub struct Documents {
    separator: &'static str,
    content: Option<String>,
    notes: Vec<String>,
}

impl Screen {
    /// Standard output: as a terminal if it is one, and is to show a table.
    pub fn stdout(output: Output) -> Result<Screen, CliError> {
        let is_table = matches!(output, Output::Plain | Output::Table | Output::Wide);
        if is_table && stdout().is_terminal() {
            draw(ENTER)?;
            return Ok(Screen::Terminal);
        }
        Ok(Screen::Documents(Documents::new(if is_table { "\n" } else { "" })))
    }

    /// Whether ages should move.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Screen::Terminal)
    }

    /// Shows a frame, if there is news in it. Says whether anybody is there to see the next one.
    pub fn show(&mut self, frame: &Frame) -> Result<bool, CliError> {
        match self {
            Screen::Terminal => {
                // Of a terminal that does not say its size, the upper part is shown.
                let rows = Term::stdout().size_checked().map_or(24, |(rows, _)| usize::from(rows));
                draw(&drawn(frame, rows))
            }
            Screen::Documents(documents) => {
                for text in documents.news(&frame.notes) {
                    note(&text);
                }
                documents.next(frame).map_or(Ok(true), |text| print_more(&text))
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_terminal() {
            // A terminal that is gone needs nothing.
            let _ = draw(LEAVE);
        }
    }
}

impl Documents {
    fn new(separator: &'static str) -> Documents {
        Documents { separator, content: None, notes: Vec::new() }
    }

    fn next(&mut self, frame: &Frame) -> Option<String> {
        let nothing_yet = self.content.is_none() && frame.content.is_empty();
        if nothing_yet || self.content.as_ref() == Some(&frame.content) {
            return None;
        }
        let separator = if self.content.is_some() { self.separator } else { "" };
        self.content = Some(frame.content.clone());
        Some(format!("{separator}{}", frame.text))
    }

    // Those that did not stand there before.
    fn news(&mut self, notes: &[String]) -> Vec<String> {
        let before = std::mem::replace(&mut self.notes, notes.to_vec());
        notes.iter().filter(|text| !before.contains(text)).cloned().collect()
    }
}

// From the upper left corner, each line and the rest of the screen cleared after it. Notes are
// shown in any case.
fn drawn(frame: &Frame, rows: usize) -> String {
    let notes: Vec<String> =
        frame.notes.iter().map(|text| format!("note: {}", printable(text))).collect();
    // The cursor stands on the last row.
    let room = rows.saturating_sub(1 + notes.len());
    let all = frame.text.lines().count();
    let (shown, rest) = if all <= room {
        (all, None)
    } else {
        (room.saturating_sub(1), Some(all - room.saturating_sub(1)))
    };
    let rest = rest.map(|rest| format!("… {rest} more lines"));
    let lines = frame.text.lines().take(shown).map(str::to_owned).chain(rest).chain(notes);
    let mut text = String::from("\x1b[H");
    lines.for_each(|line| text += &(line + "\x1b[K\n"));
    text + "\x1b[J"
}

/// Waits until the next frame may be made: not sooner than [`PERIOD`] after this one was begun, and
/// so that making them, which `took` so long, is not most of what happens.
pub async fn pace(began: Instant, took: Duration) {
    sleep_until(began + PERIOD.max(took.saturating_mul(4))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str, notes: &[&str]) -> Frame {
        Frame {
            text: text.into(),
            content: text.into(),
            notes: notes.iter().map(|text| text.to_string()).collect(),
        }
    }

    #[test]
    fn a_document_follows_another_only_when_its_content_has_changed() {
        let mut documents = Documents::new("\n");
        assert_eq!(documents.next(&Frame::default()), None, "nothing is known yet");
        assert_eq!(documents.next(&frame("a\n", &[])), Some("a\n".into()));
        let older = Frame { text: "a, older\n".into(), ..frame("a\n", &[]) };
        assert_eq!(documents.next(&older), None);
        assert_eq!(documents.next(&frame("b\n", &[])), Some("\nb\n".into()));
    }

    #[test]
    fn a_note_is_said_again_only_after_it_was_gone() {
        let mut documents = Documents::new("");
        let mut said = |notes: &[&str]| documents.news(&frame("", notes).notes);
        assert_eq!(said(&["x"]), ["x"]);
        assert_eq!(said(&["x", "y"]), ["y"]);
        assert_eq!(said(&[]), Vec::<String>::new());
        assert_eq!(said(&["x"]), ["x"]);
    }

    #[test]
    fn a_drawn_frame_fits_and_clears_what_was_there() {
        assert_eq!(
            drawn(&frame("a\nb\n", &["n\u{1b}"]), 24),
            "\x1b[Ha\x1b[K\nb\x1b[K\nnote: n\\u{1b}\x1b[K\n\x1b[J"
        );
        assert_eq!(
            drawn(&frame("a\nb\nc\nd\n", &["n"]), 4),
            "\x1b[Ha\x1b[K\n… 3 more lines\x1b[K\nnote: n\x1b[K\n\x1b[J"
        );
        assert_eq!(drawn(&frame("a\nb\n", &[]), 3), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
