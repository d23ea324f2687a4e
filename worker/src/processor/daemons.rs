//! Programs that a worker keeps running beside it: `[[processors.sealing_daemons]]`. They speak no
//! protocol, and need say nothing; damocles's say that they are ready.

use std::{path::Path, sync::Arc, time::Duration};

use damocles_daemon::tasks::Tasks;
use tokio::{
    io::AsyncRead,
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{
    child::{self, Ending, Program},
    external::{RESTART, stopped},
    groups::Groups,
    settings::Settings,
};
use crate::{failpoint, failure::lacks_resources};

/// Starts them. They end when `stop` says so; until then each holds its receiver.
pub(crate) fn start(
    tasks: &Tasks,
    daemons: &[Settings],
    groups: &Arc<Groups>,
    stop: &watch::Receiver<bool>,
) {
    for (number, settings) in daemons.iter().enumerate() {
        let program = Program::new(
            settings,
            &format!("sealing_daemons-{number}"),
            Default::default(),
            groups,
        );
        let name = Path::new(program.bin())
            .file_name()
            .map_or_else(|| program.bin().to_owned(), |name| name.to_string_lossy().into());
        let daemon = Daemon {
            name,
            program,
            stable_wait: settings.stable_wait,
            auto_restart: settings.auto_restart,
        };
        tasks.spawn(
            format!("keeps daemon {} running", daemon.name),
            daemon.keep_running(stop.clone()),
        );
    }
}

struct Daemon {
    name: String,
    program: Program,
    stable_wait: Duration,
    auto_restart: bool,
}

impl Daemon {
    async fn keep_running(self, mut stop: watch::Receiver<bool>) {
        let mut backoff = RESTART;
        tokio::select! {
            () = self.program.may_start() => {}
            () = stopped(&mut stop) => return,
        }
        loop {
            failpoint::reach("task", "daemon");
            let began = Instant::now();
            let ran = self.run(&mut stop).await;
            if *stop.borrow() {
                return;
            }
            if !self.auto_restart && ran {
                warn!(daemon = self.name, "daemon is not restarted (auto_restart = false)");
                return stopped(&mut stop).await;
            }
            if began.elapsed() > self.stable_wait.max(backoff.length()) {
                backoff.reset();
            }
            tokio::select! {
                () = sleep(backoff.pause()) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    // Runs it to its end, or until the worker stops. Returns false if the machine had nothing to
    // run it with.
    async fn run(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let started = self.program.start().and_then(|mut group| Ok((group.take_pipes()?, group)));
        let ((input, output, errors), group) = match started {
            Ok(started) => started,
            Err(error) => {
                warn!(daemon = self.name, bin = self.program.bin(), %error, "daemon does not start");
                return !lacks_resources(&error.to_string());
            }
        };
        let pid = group.pid();
        info!(daemon = self.name, pid, "daemon runs");
        self.log(pid, output);
        self.log(pid, errors);
        let ending = tokio::select! {
            () = group.leader_ended() => Ending::Killed,
            () = stopped(stop) => Ending::ByItself,
        };
        // It gets no input; a daemon that looks there can see that the worker is gone.
        drop(input);
        let status = group.end(ending).await.words();
        warn!(daemon = self.name, pid, status, "daemon has ended");
        true
    }

    fn log(&self, pid: u32, output: impl AsyncRead + Unpin + Send + 'static) {
        tokio::spawn(child::log_lines(self.name.clone(), pid, output));
    }
}
