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
    io::{self, IsTerminal, Write},
    panic::PanicHookInfo,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::tasks::panicked;

/// How many lines wait at most.
const BACKLOG: usize = 4096;
/// How long a process that ends waits for the lines before.
const FLUSH: Duration = Duration::from_secs(1);

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
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
        let writer = log.clone();
        let lines =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
        lines.with_ansi(io::stderr().is_terminal()).log_internal_errors(false).init();
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
        error!("{backtrace}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex, mpsc::channel};

    use super::*;

    /// Fails on every write.
    struct Dead;

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
