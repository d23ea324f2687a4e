//! What the programs log: lines on stderr, written by a thread of its own.
//!
//! ```text
//!  any task --> a line --> backlog, bounded --> the log's thread --> stderr
//!                 `-- full: dropped               `-- a dead pipe, a full disk: dropped
//! ```
//! A log that cannot be written, or that nobody reads on (a reader that has ended, a terminal
//! stopped by Ctrl-S), holds nobody up.
//!
//! Decision 039 in `docs/decisions`.

use std::{
    env,
    fmt::{self, Write as _},
    io::{self, IsTerminal, Write},
    panic::PanicHookInfo,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use shared_msgs::text::{printable, printable_json};
use tracing::{Level, Metadata, error, field::Field, warn};
use tracing_subscriber::{
    EnvFilter,
    filter::filter_fn,
    fmt::{
        format::{Writer, debug_fn},
        time::{FormatTime, SystemTime},
    },
    prelude::*,
};

use crate::tasks::panicked;

/// How many lines wait at most.
const BACKLOG: usize = 4096;
/// How long a process that ends waits for the lines before.
const FLUSH: Duration = Duration::from_secs(1);

const ITALIC: (&str, &str) = ("\x1b[3m", "\x1b[0m");

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The way to the log's thread. Writing to it never waits and never fails; flushing waits a moment
/// at most.
#[derive(Clone, Debug)]
pub struct Log(SyncSender<Item>);

#[derive(Debug)]
enum Item {
    Text(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Log {
    /// Sets the process's log up: what `RUST_LOG` says is logged, else what `default` says; and
    /// panics are.
    pub fn start(default: &str, format: Format) -> io::Result<Log> {
        let log = Log::to(io::stderr())?;
        let (filter, misread) = filter(env::var(EnvFilter::DEFAULT_ENV).ok(), default);
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
        let shown = filter_fn(|line| !shows_secrets(line));
        match format {
            Format::Text => {
                let lines = lines.fmt_fields(debug_fn(write_field));
                let lines = lines.with_ansi(io::stderr().is_terminal());
                lines.with_writer(move || writer.clone()).finish().with(shown).init();
            }
            Format::Json => {
                let lines = lines.json().with_writer(move || JsonLines(writer.clone()));
                lines.finish().with(shown).init();
            }
        }
        if let Some(misread) = misread {
            warn!("{misread}");
        }
        let at_panic = log.clone();
        std::panic::set_hook(Box::new(move |panic| {
            log_panic(panic);
            // It may be the process's last word.
            at_panic.clone().flush().ok();
        }));
        Ok(log)
    }

    fn to(output: impl Write + Send + 'static) -> io::Result<Log> {
        let (sender, items) = sync_channel(BACKLOG);
        thread::Builder::new().name("log".into()).spawn(move || write_all(&items, output))?;
        Ok(Log(sender))
    }
}

// What is logged, and why it is not what `RUST_LOG` says.
fn filter(said: Option<String>, default: &str) -> (EnvFilter, Option<String>) {
    // An empty variable counts as unset.
    let Some(said) = said.filter(|said| !said.trim().is_empty()) else {
        return (EnvFilter::new(default), None);
    };
    match EnvFilter::try_new(&said) {
        Ok(filter) => (filter, None),
        Err(error) => {
            let way_out = "write it like `info` or `warn,damocles_worker=debug`";
            let misread = format!("RUST_LOG {said:?} is not understood ({error}): {way_out}");
            (EnvFilter::new(default), Some(misread))
        }
    }
}

/// An error as the log would write it as JSON, whatever is logged: a program's last word.
pub fn json_line(message: &str, hint: Option<&str>, target: &str) -> String {
    let mut timestamp = String::new();
    // A text can always be written to.
    SystemTime.format_time(&mut Writer::new(&mut timestamp)).unwrap_or_default();
    let mut fields = serde_json::json!({ "message": message });
    if let Some(hint) = hint {
        fields["hint"] = hint.into();
    }
    let line = serde_json::json!({
        "timestamp": timestamp, "level": "ERROR", "fields": fields, "target": target,
    });
    printable_json(&line.to_string()) + "\n"
}

// The subscriber writes each line at once.
struct JsonLines(Log);

impl Write for JsonLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(printable_json(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // One that finds no room is dropped.
        self.0.try_send(Item::Text(text.to_vec())).ok();
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let (written, all_written) = sync_channel(1);
        if self.0.try_send(Item::Flush(written)).is_ok() {
            all_written.recv_timeout(FLUSH).ok();
        }
        Ok(())
    }
}

// What is logged may hold texts of others: the line keeps its colours, and they get none.
fn write_field(line: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => {}
        // Where in its source another crate logs.
        name if name.starts_with("log.") => return Ok(()),
        name => {
            let (italic, plain) = if line.has_ansi_escapes() { ITALIC } else { ("", "") };
            write!(line, " {italic}{name}{plain}=")?;
        }
    }
    write!(Escaping(line), "{value:?}")
}

struct Escaping<'a, 'b>(&'a mut Writer<'b>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&printable(text))
    }
}

// The NATS client shows what it logs in with.
fn shows_secrets(line: &Metadata<'_>) -> bool {
    *line.level() == Level::TRACE && line.target().starts_with("async_nats::connection")
}

fn write_all(items: &Receiver<Item>, mut output: impl Write) {
    for item in items {
        match item {
            // Nobody is left to tell what cannot be written.
            Item::Text(text) => {
                output.write_all(&text).and_then(|()| output.flush()).unwrap_or_default()
            }
            Item::Flush(written) => written.send(()).unwrap_or_default(),
        }
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    error!(place, thread = thread::current().name(), "{}", panicked(panic.payload()));
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        backtrace.to_string().lines().for_each(|line| error!("{line}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex, mpsc::channel};

    use super::*;

    /// Fails on every write.
    struct Dead;

    /// Keeps what is written.
    #[derive(Clone)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Write for Dead {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Nobody reads on until it is opened; then it passes on what it was given.
    struct Stopped {
        open: Arc<(Mutex<bool>, Condvar)>,
        read: std::sync::mpsc::Sender<Vec<u8>>,
    }

    impl Write for Stopped {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let (open, opened) = &*self.open;
            drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            self.read.send(text.to_vec()).unwrap();
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_logged_text_is_one_line_in_which_nothing_is_hidden() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Shared(lines.clone());
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(debug_fn(write_field))
            .with_writer(move || writer.clone())
            .without_time()
            .with_target(false)
            .with_ansi(true)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            error!(name = "w\u{202e}1", why = %"a\n\u{9b}31m", n = 7, "said: \x1b[31m\u{2028}矿机");
        });
        let line = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let said = "said: \\u{1b}[31m\\u{2028}矿机 \x1b[3mname\x1b[0m=\"w\\u{202e}1\" \x1b[3mwhy\x1b[0m=a\\n\\u{9b}31m \x1b[3mn\x1b[0m=7\n";
        assert!(line.ends_with(said), "{line:?}");
    }

    #[test]
    fn what_rust_log_says_wrongly_is_said_and_the_default_stays() {
        let (_, misread) = filter(Some("damocles=loud".into()), "info");
        assert!(misread.unwrap().contains("\"damocles=loud\" is not understood"));
        for understood in [None, Some("".into()), Some("warn,damocles_worker=debug".into())] {
            assert_eq!(filter(understood, "info").1, None);
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_takes_every_line() {
        let mut log = Log::to(Dead).unwrap();
        for _ in 0..3 {
            log.write_all(b"line\n").unwrap();
            log.flush().unwrap();
        }
    }

    #[test]
    fn a_log_that_nobody_reads_on_drops_what_finds_no_room_and_goes_on_later() {
        let open = Arc::new((Mutex::new(false), Condvar::new()));
        let (read, lines) = channel();
        let mut log = Log::to(Stopped { open: open.clone(), read }).unwrap();
        for _ in 0..2 * BACKLOG {
            log.write_all(b"early\n").unwrap();
        }
        *open.0.lock().unwrap() = true;
        open.1.notify_all();
        // The thread itself has one in hand beside.
        let early =
            std::iter::from_fn(|| lines.recv_timeout(Duration::from_millis(500)).ok()).count();
        assert!((BACKLOG..=BACKLOG + 1).contains(&early), "{early}");
        log.write_all(b"late\n").unwrap();
        log.flush().unwrap();
        assert_eq!(lines.try_recv().unwrap(), b"late\n");
    }
}
