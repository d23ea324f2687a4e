//! Programs that a worker keeps running beside it: `[[processors.sealing_daemons]]`. They speak no protocol.

use std::{path::Path, time::Duration};

use shared_msgs::tasks::Tasks;
use tokio::{
    io::AsyncRead,
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::{
    child::{self, Program},
    external::stopped,
    settings::Settings,
};
use crate::failpoint;

const FIRST_RESTART_DELAY: Duration = Duration::from_millis(200);
const LAST_RESTART_DELAY: Duration = Duration::from_secs(30);

/// Starts them. They end when `stop` says so; until then each holds its receiver.
pub fn start(tasks: &Tasks, daemons: &[Settings], stop: &watch::Receiver<bool>) {
    for (number, settings) in daemons.iter().enumerate() {
        let program = Program::new(settings, &format!("sealing_daemons-{number}"), Default::default());
        let name = Path::new(program.bin()).file_name().map_or_else(|| program.bin().to_owned(), |name| name.to_string_lossy().into());
        let daemon = Daemon { name, program, stable_wait: settings.stable_wait, auto_restart: settings.auto_restart };
        tasks.spawn(format!("keeps daemon {} running", daemon.name), daemon.keep_running(stop.clone()));
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
        let mut delay = FIRST_RESTART_DELAY;
        loop {
            failpoint::reach("task", "daemon");
            let began = Instant::now();
            self.run(&mut stop).await;
            if *stop.borrow() {
                return;
            }
            if !self.auto_restart {
                warn!(daemon = self.name, "daemon is not restarted (auto_restart = false)");
                return stopped(&mut stop).await;
            }
            if began.elapsed() > self.stable_wait.max(delay) {
                delay = FIRST_RESTART_DELAY;
            }
            tokio::select! {
                () = sleep(delay) => {}
                () = stopped(&mut stop) => return,
            }
            delay = (delay * 2).min(LAST_RESTART_DELAY);
        }
    }

    // Runs it to its end, or until the worker stops.
    async fn run(&self, stop: &mut watch::Receiver<bool>) {
        let mut child = match self.program.start() {
            Ok(child) => child,
            Err(error) => return warn!(daemon = self.name, bin = self.program.bin(), %error, "daemon does not start"),
        };
        let pid = child.id().unwrap_or_default();
        info!(daemon = self.name, pid, "daemon runs");
        self.log(pid, child.stdout.take());
        self.log(pid, child.stderr.take());
        // It has no input; a daemon that looks there can see that the worker is gone.
        let input = child.stdin.take();
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = stopped(stop) => {
                drop(input);
                child::end(&mut child).await
            }
        };
        let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        warn!(daemon = self.name, pid, status, "daemon has ended");
    }

    fn log(&self, pid: u32, output: Option<impl AsyncRead + Unpin + Send + 'static>) {
        output.map(|output| tokio::spawn(child::log_lines(self.name.clone(), pid, output)));
    }
}
