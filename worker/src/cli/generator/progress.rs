//! What people see of long work, and how they stop it: a spinner on a terminal, else lines.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use damocles_terminal::{CliError, Exit, Stop, printable, say};
use indicatif::{ProgressBar, ProgressStyle};
use shared_msgs::duration::human_secs;
use tokio::time::{Instant, MissedTickBehavior, interval};

// How often somebody who reads a log hears that it goes on.
const REMINDER: Duration = Duration::from_secs(60);

pub(super) fn line(text: &str) {
    say(&format!("{}\n", printable(text)));
}

pub(super) struct Progress {
    name: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins; `name` is what it is about.
    pub(super) fn start(name: &str) -> Progress {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_prefix(printable(name));
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix}: {msg} {elapsed_precise}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Progress { name: name.to_owned(), bar }
    }

    /// Says what is being done now.
    pub(super) fn say(&self, what: &'static str) {
        match &self.bar {
            Some(bar) => bar.set_message(what),
            None => line(&format!("{}: {what}", self.name)),
        }
    }

    /// Waits for work, unless it is to stop.
    pub(super) async fn wait<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = T>,
        stop: &mut Stop,
    ) -> Result<T, CliError> {
        self.say(what);
        let started = Instant::now();
        let mut reminder = interval(REMINDER);
        reminder.set_missed_tick_behavior(MissedTickBehavior::Skip);
        reminder.reset();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                _ = stop.asked() => {
                    self.end();
                    return Err(interrupted());
                }
                output = &mut work => return Ok(output),
                _ = reminder.tick(), if self.bar.is_none() => {
                    line(&format!("{}: {what}, {} so far", self.name, human_secs(started.elapsed())));
                }
            }
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn interrupted() -> CliError {
    CliError::new(Exit::Failed, "interrupted")
        .hint("nothing half-made is left; what was finished is kept, and skipped next time")
}
