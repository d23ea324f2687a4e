//! The terminal while something is drawn on it: a screen of its own and keys that come at once; and
//! as it was before, however the process goes on or ends.

use std::{
    io::{self, IsTerminal, Read, stdin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::{
    process::{Signal as Sent, getpid, kill_process},
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{Receiver, channel},
};

use super::keys::{Key, keys};
use crate::{CliError, draw, table::terminal_size};

// A screen of its own, without cursor and line wrap; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?7l\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?7h\x1b[?1049l";

/// The rows and columns of the screen.
pub(super) fn size() -> (usize, usize) {
    terminal_size().unwrap_or((24, 80))
}

/// The terminal, taken.
pub(super) struct Terminal {
    state: Arc<State>,
    typed: Option<Receiver<Vec<Key>>>,
    resized: Signal,
    suspended: Signal,
    quit: Signal,
}

// What it was like before, if it can be typed on; and whether it is taken.
struct State {
    before: Option<Termios>,
    taken: AtomicBool,
}

impl Terminal {
    /// Takes it. A panic gives it back before it is said.
    pub(super) fn take() -> Result<Terminal, CliError> {
        let before = stdin().is_terminal().then(|| tcgetattr(stdin()).ok()).flatten();
        let typed = before.is_some().then(read_keys);
        let terminal = Terminal {
            typed,
            resized: signal(SignalKind::window_change())?,
            suspended: signal(SignalKind::from_raw(Sent::TSTP.as_raw()))?,
            quit: signal(SignalKind::quit())?,
            state: Arc::new(State { before, taken: AtomicBool::new(false) }),
        };
        let (state, said) = (terminal.state.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            state.leave();
            said(panic);
        }));
        terminal.state.enter()?;
        Ok(terminal)
    }

    /// Whether somebody can press keys.
    pub(super) fn has_keys(&self) -> bool {
        self.typed.is_some()
    }

    /// Draws. Says whether anybody is there to see it.
    pub(super) fn draw(&self, text: &str) -> Result<bool, CliError> {
        draw(text)
    }

    /// Waits until keys were pressed, or the screen has to be drawn again.
    pub(super) async fn pressed(&mut self) -> Result<Vec<Key>, CliError> {
        let typed = async {
            match &mut self.typed {
                Some(typed) => typed.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            keys = typed => {
                if keys.is_none() {
                    // Nobody types any more.
                    self.typed = None;
                }
                Ok(keys.unwrap_or_default())
            }
            _ = self.resized.recv() => Ok(vec![]),
            _ = self.quit.recv() => Ok(vec![Key::Quit]),
            _ = self.suspended.recv() => {
                self.state.leave();
                // Goes on here, when somebody has it go on.
                let _ = kill_process(getpid(), Sent::STOP);
                self.state.enter()?;
                Ok(vec![])
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.state.leave();
    }
}

// By a thread of its own, which nobody waits for: a read cannot be given up.
fn read_keys() -> Receiver<Vec<Key>> {
    let (sender, typed) = channel(1);
    thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok(length @ 1..) = stdin().read(&mut bytes) {
            if sender.blocking_send(keys(&bytes[..length])).is_err() {
                break;
            }
        }
    });
    typed
}

impl State {
    fn enter(&self) -> Result<(), CliError> {
        self.taken.store(true, Ordering::Relaxed);
        if let Some(before) = &self.before {
            let mut settings = before.clone();
            // What is typed comes at once and is not shown; Ctrl-C still ends the process.
            settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            settings.special_codes[SpecialCodeIndex::VMIN] = 1;
            settings.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(stdin(), OptionalActions::Now, &settings).map_err(io::Error::from)?;
        }
        draw(ENTER).map(|_| ())
    }

    fn leave(&self) {
        if !self.taken.swap(false, Ordering::Relaxed) {
            return;
        }
        // A terminal that is gone needs nothing.
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Flush, before);
        }
        let _ = draw(LEAVE);
    }
}
