//! The three programs of the demo: NATS, a mock manager and a worker.

use std::process::{Command, ExitStatus};

use e2e::{binaries, manager::Manager, nats_server::NatsServer, process::Process, repository};

use crate::place::Place;

/// The worker's configuration, from the top of the repository.
pub(crate) const CONFIG: &str = "assets/damocles-worker.mock.toml";

/// NATS, a mock manager and a worker. They never outlive it.
pub(crate) struct System {
    // Dropped in this order.
    worker: Process,
    manager: Manager,
    nats: NatsServer,
}

impl System {
    /// Starts them, NATS on its usual port if that is free.
    pub(crate) async fn start(place: &Place) -> System {
        let nats = NatsServer::start_where_expected(place.own()).await;
        let manager = Manager::start_mock(nats.url(), place.own().join("manager.log"), &[]);
        let mut worker = Command::new(binaries::worker());
        worker.args(["daemon", "-c", CONFIG]).current_dir(repository()).env("NATS_URL", nats.url());
        // An empty directory, or a machine that has parameters would go on past C1Done.
        worker.env("FIL_PROOFS_PARAMETER_CACHE", place.own().join("no-parameters"));
        worker.env("FIL_PROOFS_PARENT_CACHE", place.own().join("parents"));
        // The stores are made anew for each demo.
        worker.env("DAMOCLES_WORKER_STATE_DIR", place.own().join("state"));
        let worker = Process::spawn("damocles-worker", worker, &place.own().join("worker.log"));
        System { worker, manager, nats }
    }

    pub(crate) fn nats_url(&self) -> String {
        self.nats.url()
    }

    /// Waits until one of them ends by itself, and says which.
    pub(crate) async fn one_ended(&mut self) -> String {
        let System { worker, manager, nats } = self;
        let (name, status, log) = tokio::select! {
            status = worker.wait() => ("damocles-worker", status, worker.log()),
            status = manager.process().wait() => ("damocles-manager", status, manager.process().log()),
            status = nats.process().wait() => ("nats-server", status, nats.process().log()),
        };
        format!("{name} has ended ({status}); see {}", log.path().display())
    }

    /// Stops what still runs, the worker first so that its last report is kept.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        let processes = [&mut self.worker, self.manager.process(), self.nats.process()];
        let mut failed = Vec::new();
        for process in processes {
            if process.is_running() {
                let status = process.terminate().await;
                failed.extend(complaint(process.name(), status));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }
}

fn complaint(name: &str, status: ExitStatus) -> Option<String> {
    (!status.success()).then(|| format!("{name} did not stop properly ({status})"))
}
