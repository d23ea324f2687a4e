//! Being told to end: the signals that a tool or a daemon of ours heeds.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, somebody who asks the process to end, or a terminal that has gone. SIGQUIT stays what it
/// is: it ends the process at once, with a core.
pub struct Stop {
    interrupted: Signal,
    terminated: Signal,
    /// `None` where the process was started to survive its terminal (`nohup`).
    hung_up: Option<Signal>,
}

impl Stop {
    /// Takes the signals from now on: they no longer end the process.
    pub fn listen() -> io::Result<Stop> {
        let hung_up = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Stop {
            interrupted: signal(SignalKind::interrupt())?,
            terminated: signal(SignalKind::terminate())?,
            hung_up,
        })
    }

    /// Waits for any of them, and says which one came.
    pub async fn asked(&mut self) -> &'static str {
        let hung_up = async {
            match &mut self.hung_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupted.recv() => "SIGINT",
            _ = self.terminated.recv() => "SIGTERM",
            _ = hung_up => "SIGHUP",
        }
    }
}

// Whether whoever started this process has it ignore SIGHUP. Where that cannot be read nobody has.
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| ignored(&status, SignalKind::hangup()))
}

fn ignored(status: &str, signal: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw_value() - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_started_to_survive_its_terminal_is_known() {
        let status = |mask| {
            format!(
                "Name:\tdamocles-worker\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n"
            )
        };
        assert!(ignored(&status("0000000000001001"), SignalKind::hangup()));
        assert!(!ignored(&status("0000000000001000"), SignalKind::hangup()));
        assert!(!ignored("", SignalKind::hangup()));
    }
}
