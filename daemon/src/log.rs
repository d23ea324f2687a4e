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

use shared_msgs::text::printable;
use tracing::{Level, Metadata, error, field::Field};
use tracing_subscriber::{
    EnvFilter,
    filter::filter_fn,
    fmt::format::{Writer, debug_fn},
    prelude::*,
};

use crate::tasks::panicked;

/// How many lines wait at most.
const BACKLOG: usize = 4096;
/// How long a process that ends waits for the lines before.
const FLUSH: Duration = Duration::from_secs(1);

const ITALIC: (&str, &str) = ("\x1b[3m", "\x1b[0m");

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
    pub fn start(default: &str) -> io::Result<Log> {
        let log = Log::to(io::stderr())?;
        // An empty variable counts as unset.
        let wanted = env::var(EnvFilter::DEFAULT_ENV).ok().filter(|wanted| !wanted.is_empty());
        let filter = wanted.and_then(|wanted| EnvFilter::try_new(wanted).ok());
        let filter = filter.unwrap_or_else(|| EnvFilter::new(default));
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().fmt_fields(debug_fn(write_field));
        let lines = lines.with_env_filter(filter).with_writer(move || writer.clone());
        let lines = lines.with_ansi(io::stderr().is_terminal()).log_internal_errors(false);
        lines.finish().with(filter_fn(|line| !shows_secrets(line))).init();
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
