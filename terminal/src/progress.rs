//! What people see while a command waits: one line that changes, on a terminal only.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use shared_msgs::text::printable;

const TICK: Duration = Duration::from_millis(100);

/// A spinner on stderr; nothing where that is no terminal.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shows the spinner, without words so far.
    pub fn start() -> Progress {
        Progress(io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            // One line, however much there is to say.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        }))
    }

    /// Whether somebody sees it.
    pub fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Says how it stands.
    pub fn say(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(printable(text));
        }
    }

    /// Says something on stderr that stays.
    pub fn note(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| crate::note(text)),
            None => crate::note(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
