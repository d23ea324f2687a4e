//! Where a command that watches shows what it sees: on a terminal the same place again and again,
//! which is scrolled and sorted by keys; anywhere else one document after another, each only when it
//! differs from the one before.
//!
//! ```text
//!  the watching side --frames--> view --drawn--> terminal     keys, its size --> view
//!                        `----> documents --news--> pipe
//! ```

mod keys;
mod terminal;
mod view;

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::{Instant, sleep_until},
};

use crate::{
    CliError, Output, Stop, note,
    table::{Look, LookArgs, Shown, put},
};
use terminal::Terminal;
use view::View;

/// Ages on a terminal move so often; and silence is noticed so soon.
pub const TICK: Duration = Duration::from_secs(1);
/// It is never shown more often than this.
const PERIOD: Duration = Duration::from_millis(200);

/// One view of what is watched.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// What is shown.
    pub shown: Shown,
    /// The same without what moves by itself, such as ages: two frames that agree in it show the
    /// same.
    pub content: String,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Takes the frames of a command that watches.
#[derive(Clone, Debug)]
pub struct Frames {
    sender: Sender<Frame>,
    /// Whether they are drawn on a terminal: then ages move, and losses of NATS are for its notes.
    pub on_terminal: bool,
}

impl Frames {
    /// Shows a frame, once the one before is shown.
    pub async fn show(&self, frame: Frame) {
        // Where nobody looks any more, the command is ending.
        let _ = self.sender.send(frame).await;
    }
}

/// Shows the frames that `watch` makes, until it ends, somebody ends it, or nobody looks any more.
pub async fn watched<W: Future<Output = Result<(), CliError>>>(
    output: Output,
    look: LookArgs,
    watch: impl FnOnce(Frames) -> W,
) -> Result<(), CliError> {
    let mut stop = Stop::listen()?;
    let is_table = matches!(output, Output::Plain | Output::Table | Output::Wide);
    let on_terminal = is_table && stdout().is_terminal();
    let (sender, frames) = mpsc::channel(1);
    let watching = watch(Frames { sender, on_terminal });
    let showing = async {
        match on_terminal {
            true => draw_all(look, frames).await,
            false => {
                write_all(Documents::new(look, if is_table { "\n" } else { "" }), frames).await
            }
        }
    };
    tokio::select! {
        // Why it ends is known before that no frame comes any more.
        biased;
        ended = watching => ended,
        ended = showing => ended,
        _ = stop.asked() => Ok(()),
    }
}

async fn draw_all(look: LookArgs, mut frames: Receiver<Frame>) -> Result<(), CliError> {
    let Some(first) = frames.recv().await else { return Ok(()) };
    let mut terminal = Terminal::take()?;
    let mut view = View::new(first, terminal.has_keys());
    loop {
        // Of a terminal that does not say its size, the upper part is shown.
        let (rows, _) = terminal::size();
        if !terminal.draw(&view.drawn(rows, &Look::stdout(look)))? {
            return Ok(());
        }
        tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => view.frame = frame,
                None => return Ok(()),
            },
            pressed = terminal.pressed() => {
                if pressed?.into_iter().any(|key| view.press(key).is_break()) {
                    return Ok(());
                }
            }
        }
    }
}

async fn write_all(mut documents: Documents, mut frames: Receiver<Frame>) -> Result<(), CliError> {
    while let Some(frame) = frames.recv().await {
        for text in documents.news(&frame.notes) {
            note(&text);
        }
        if let Some(text) = documents.next(&frame)
            && !put(&text, &documents.look)?
        {
            break;
        }
    }
    Ok(())
}

// What was written last.
struct Documents {
    look: Look,
    separator: &'static str,
    content: Option<String>,
    notes: Vec<String>,
}

impl Documents {
    fn new(look: LookArgs, separator: &'static str) -> Documents {
        Documents { look: Look::stdout(look), separator, content: None, notes: Vec::new() }
    }

    fn next(&mut self, frame: &Frame) -> Option<String> {
        let nothing_yet = self.content.is_none() && frame.content.is_empty();
        if nothing_yet || self.content.as_ref() == Some(&frame.content) {
            return None;
        }
        let separator = if self.content.is_some() { self.separator } else { "" };
        self.content = Some(frame.content.clone());
        Some(format!("{separator}{}", frame.shown.text(&self.look)))
    }

    // Those that did not stand there before.
    fn news(&mut self, notes: &[String]) -> Vec<String> {
        let before = std::mem::replace(&mut self.notes, notes.to_vec());
        notes.iter().filter(|text| !before.contains(text)).cloned().collect()
    }
}

/// Waits until the next frame may be made: not sooner than 200 ms after this one was begun, and so
/// that making them, which `took` so long, is not most of what happens.
pub async fn pace(began: Instant, took: Duration) {
    sleep_until(began + PERIOD.max(took.saturating_mul(4))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str, notes: &[&str]) -> Frame {
        Frame {
            shown: Shown::Text(text.into()),
            content: text.into(),
            notes: notes.iter().map(|text| text.to_string()).collect(),
        }
    }

    #[test]
    fn a_document_follows_another_only_when_its_content_has_changed() {
        let mut documents = Documents::new(LookArgs::default(), "\n");
        assert_eq!(documents.next(&Frame::default()), None, "nothing is known yet");
        assert_eq!(documents.next(&frame("a\n", &[])), Some("a\n".into()));
        let older = Frame { shown: Shown::Text("a, older\n".into()), ..frame("a\n", &[]) };
        assert_eq!(documents.next(&older), None);
        assert_eq!(documents.next(&frame("b\n", &[])), Some("\nb\n".into()));
    }

    #[test]
    fn a_note_is_said_again_only_after_it_was_gone() {
        let mut documents = Documents::new(LookArgs::default(), "");
        let mut said = |notes: &[&str]| documents.news(&frame("", notes).notes);
        assert_eq!(said(&["x"]), ["x"]);
        assert_eq!(said(&["x", "y"]), ["y"]);
        assert_eq!(said(&[]), Vec::<String>::new());
        assert_eq!(said(&["x"]), ["x"]);
    }
}
