//! `check`: what a daemon needs, looked at one by one. Nothing is changed by it.

mod nats;

use damocles_daemon::config::ConfigError;
use serde::Serialize;

use crate::{CliError, Exit, ReplyOutput, counted, json, jsonl, print, printable};

/// What was looked at, in order.
#[derive(Debug, Default)]
pub struct Checks(Vec<Check>);

#[derive(Debug, Serialize)]
struct Check {
    check: String,
    result: Outcome,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    way_out: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Fine,
    Warning,
    Failed,
}

impl Checks {
    /// It is as it has to be.
    pub fn fine(&mut self, check: impl Into<String>, says: impl ToString) {
        self.add(check.into(), Outcome::Fine, says, None);
    }

    /// The daemon works, but not as somebody may think.
    pub fn warn(&mut self, check: impl Into<String>, says: impl ToString) {
        self.add(check.into(), Outcome::Warning, says, None);
    }

    /// The daemon does not start like this, or does not do its work.
    pub fn failed(&mut self, check: impl Into<String>, why: impl ToString, way_out: Option<&str>) {
        self.add(check.into(), Outcome::Failed, why, way_out.map(Into::into));
    }

    /// Fine, or failed with a reason that names the way out itself.
    pub fn looked<T: ToString>(
        &mut self,
        check: impl Into<String>,
        found: Result<T, impl ToString>,
    ) {
        match found {
            Ok(says) => self.fine(check, says),
            Err(why) => self.failed(check, why, None),
        }
    }

    /// A configuration file cannot be used: a check for each mistake.
    pub fn mistakes(&mut self, check: &str, error: &ConfigError) {
        error.lines().into_iter().for_each(|line| self.failed(check, line, None));
    }

    fn add(
        &mut self,
        check: String,
        result: Outcome,
        says: impl ToString,
        way_out: Option<String>,
    ) {
        self.0.push(Check { check, result, says: says.to_string(), way_out });
    }

    /// Prints what was found; an error if anything has failed.
    pub fn finish(self, output: ReplyOutput) -> Result<(), CliError> {
        let failed = self.count(Outcome::Failed);
        print(&match output {
            ReplyOutput::Plain => self.to_text(),
            ReplyOutput::Json => json(&Report { ok: failed == 0, checks: &self.0 })?,
            ReplyOutput::Jsonl => jsonl(&self.0)?,
        })?;
        if failed == 0 {
            return Ok(());
        }
        let of = counted(self.0.len(), "check");
        Err(CliError::new(Exit::Failed, format!("{failed} of {of} failed")))
    }

    fn count(&self, result: Outcome) -> usize {
        self.0.iter().filter(|check| check.result == result).count()
    }

    // Warnings stand apart.
    fn to_text(&self) -> String {
        let (warnings, others): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|check| check.result == Outcome::Warning);
        let lines =
            |checks: &[&Check]| checks.iter().map(|check| check.to_text()).collect::<String>();
        let apart = if warnings.is_empty() { "" } else { "\nwarnings:\n" };
        format!("{}{apart}{}", lines(&others), lines(&warnings))
    }
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Check],
}

impl Check {
    fn to_text(&self) -> String {
        let mark = match self.result {
            Outcome::Fine => '✓',
            Outcome::Warning => '!',
            Outcome::Failed => '✗',
        };
        let way_out = self.way_out.iter().map(|way_out| format!("    → {}\n", printable(way_out)));
        let line = format!("{mark} {}: {}\n", printable(&self.check), printable(&self.says));
        std::iter::once(line).chain(way_out).collect()
    }
}
