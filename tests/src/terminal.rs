//! A program on a terminal of its own, and what is on its screen.
//!
//! ```text
//!  program <--stdin, stdout, stderr--> the terminal's end --> what was written --> vt100: the screen
//!                                      ^ keys
//! ```

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    process::Signal,
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize},
};
use tokio::{sync::watch, time::timeout};

use crate::{DEADLINE, process::Process};

/// A running program and its terminal.
pub struct Terminal {
    /// The program.
    pub process: Process,
    ours: File,
    // Kept open, so that its settings can be looked at when the program has ended.
    theirs: OwnedFd,
    before: Termios,
    screen: Arc<Mutex<vt100::Parser>>,
    written: watch::Receiver<()>,
}

impl Terminal {
    /// Starts a program on a terminal of that size.
    pub fn start(
        name: &str,
        command: Command,
        rows: u16,
        columns: u16,
        log_file: &Path,
    ) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
        tcsetwinsize(&ours, size(rows, columns)).unwrap();
        let before = tcgetattr(&theirs).unwrap();
        let process = Process::spawn_on(name, command, theirs.try_clone().unwrap(), log_file);
        let ours = File::from(ours);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (says, written) = watch::channel(());
        let (mut reader, shared) = (ours.try_clone().unwrap(), screen.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It ends with an error when nobody has the other end any more.
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                shared.lock().unwrap().process(&bytes[..length]);
                says.send_replace(());
            }
        });
        Terminal { process, ours, theirs, before, screen, written }
    }

    /// Waits until the screen is so, and returns its lines.
    pub async fn shows(&mut self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let waiting = async {
            loop {
                let lines = self.lines();
                if is_so(&lines) {
                    return lines;
                }
                if self.written.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let shown = timeout(DEADLINE, waiting).await;
        shown.unwrap_or_else(|_| panic!("{what} is not shown:\n{}", self.lines().join("\n")))
    }

    /// The screen as it is now, without what is blank at the end.
    pub fn lines(&self) -> Vec<String> {
        let screen = self.screen.lock().unwrap();
        let contents = screen.screen().contents();
        contents.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Whether a text on the screen is red.
    pub fn is_red(&self, text: &str) -> bool {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let (_, columns) = screen.size();
        let rows: Vec<_> = screen.rows(0, columns).collect();
        let row = rows.iter().position(|row| row.contains(text)).unwrap();
        let cell = screen.cell(row as u16, 0).unwrap();
        cell.fgcolor() == vt100::Color::Idx(1)
    }

    /// Whether a screen of its own is shown, on which keys come at once and are not seen.
    pub fn is_taken(&self) -> bool {
        let modes = tcgetattr(&self.theirs).unwrap().local_modes;
        let parser = self.screen.lock().unwrap();
        parser.screen().alternate_screen()
            && !modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Waits until the terminal is as it was before the program.
    pub async fn is_as_before(&mut self) {
        let (before, theirs) = (self.before.clone(), self.theirs.try_clone().unwrap());
        let screen = self.screen.clone();
        let is_so = move || {
            let now = tcgetattr(&theirs).unwrap();
            let parser = screen.lock().unwrap();
            let screen = parser.screen();
            now.local_modes == before.local_modes
                && now.input_modes == before.input_modes
                && !screen.alternate_screen()
                && !screen.hide_cursor()
        };
        self.shows("the terminal as it was", move |_| is_so()).await;
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Gives the terminal another size, as a window does.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows, columns);
        tcsetwinsize(&self.ours, size(rows, columns)).unwrap();
        // The terminal controls no session here, so nobody else tells the program.
        self.process.signal(Signal::WINCH);
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
