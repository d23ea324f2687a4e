//! A `damocles-worker`: its configuration, its directories, its process, its command-line tool.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use shared_msgs::sector_manager::SectorId;

use crate::{
    binaries,
    cli::{self, CliOutput},
    gate::Gate,
    log::Log,
    process::Process,
};

/// What goes into a worker's configuration file. By default: short waits, and no external
/// processor, so that C2 fails for want of parameters.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    name: Option<String>,
    threads: usize,
    plan: &'static str,
    nats: BTreeMap<&'static str, String>,
    worker: BTreeMap<&'static str, String>,
    sealing: BTreeMap<&'static str, String>,
    c2: Option<Vec<String>>,
    parameters: Option<PathBuf>,
    more: String,
}

impl WorkerConfig {
    /// A worker of that name with one sealing thread.
    pub fn new(name: &str) -> WorkerConfig {
        WorkerConfig { name: Some(name.to_owned()), ..WorkerConfig::unnamed() }
    }

    /// A worker that has to find its name itself.
    pub fn unnamed() -> WorkerConfig {
        let short = [
            ("seal_interval", "'50ms'"),
            ("recover_interval", "'50ms'"),
            ("rpc_polling_interval", "'50ms'"),
        ];
        let sealing = short.map(|(key, value)| (key, value.to_owned())).into();
        WorkerConfig {
            name: None,
            threads: 1,
            plan: "sealer",
            // The timeout is for requests to the sector manager that get lost when a test kills
            // somebody.
            nats: [("timeout", "'1s'".to_owned())].into(),
            worker: [("ping_interval", "'1s'".to_owned())].into(),
            sealing,
            c2: None,
            parameters: None,
            more: String::new(),
        }
    }

    /// So many sealing threads.
    pub fn threads(self, threads: usize) -> WorkerConfig {
        WorkerConfig { threads, ..self }
    }

    /// A key of `[sealing]`, with its value in TOML.
    pub fn sealing(mut self, key: &'static str, value: &str) -> WorkerConfig {
        self.sealing.insert(key, value.to_owned());
        self
    }

    /// A key of `[nats]`, with its value in TOML.
    pub fn nats(mut self, key: &'static str, value: &str) -> WorkerConfig {
        self.nats.insert(key, value.to_owned());
        self
    }

    /// A key of `[worker]`, with its value in TOML.
    pub fn worker(mut self, key: &'static str, value: &str) -> WorkerConfig {
        self.worker.insert(key, value.to_owned());
        self
    }

    /// The plan of every thread.
    pub fn plan(self, plan: &'static str) -> WorkerConfig {
        WorkerConfig { plan, ..self }
    }

    /// C2 is done by the fixture processor with these arguments, so that sectors reach `Finished`.
    pub fn fixture_c2(self, args: &[&str]) -> WorkerConfig {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        WorkerConfig { c2: Some(args), ..self }.sealing("ignore_proof_check", "true")
    }

    /// One more external processor for a stage, with its keys in TOML; the worker's own program if
    /// they name none.
    pub fn processor(self, stage: &str, toml: &str) -> WorkerConfig {
        self.raw(&format!("[[processors.{stage}]]\n{toml}"))
    }

    /// One more fixture processor for a stage, with its arguments and other keys in TOML.
    pub fn fixture(self, stage: &str, args: &[&str], toml: &str) -> WorkerConfig {
        let args: Vec<_> = [stage].iter().chain(args).map(|arg| quoted(arg)).collect();
        let (program, args) = (quoted_path(binaries::fixture_processor()), args.join(", "));
        self.processor(stage, &format!("bin = {program}\nargs = [{args}]\n{toml}"))
            .sealing("ignore_proof_check", "true")
    }

    /// More lines for the end of the file; they begin with a section.
    pub fn raw(mut self, toml: &str) -> WorkerConfig {
        self.more += toml;
        self.more.push('\n');
        self
    }

    /// C2 is done by the fixture processor as soon as the gate is open.
    pub fn held_c2(self, gate: &Gate) -> WorkerConfig {
        self.fixture_c2(&["--hold", gate.path().to_str().unwrap()])
    }

    /// Proofs are real: their parameters are in that directory.
    pub fn parameters(self, directory: PathBuf) -> WorkerConfig {
        WorkerConfig { parameters: Some(directory), ..self }
    }

    /// Finds no sector to seal, and waits for an hour before it asks again.
    pub fn idle(self) -> WorkerConfig {
        self.sealing("allowed_miners", "[4242]").rarely_asking()
    }

    /// Waits for an hour between two questions for work, and before a retry.
    pub fn rarely_asking(self) -> WorkerConfig {
        self.sealing("seal_interval", "'1h'").sealing("recover_interval", "'1h'")
    }

    fn to_toml(&self, directory: &Path) -> String {
        let mut text = String::from("[nats]\n");
        for (key, value) in &self.nats {
            let _ = writeln!(text, "{key} = {value}");
        }
        text += "[worker]\n";
        if let Some(name) = &self.name {
            let _ = writeln!(text, "name = {}", quoted(name));
        }
        for (key, value) in &self.worker {
            let _ = writeln!(text, "{key} = {value}");
        }
        text += "[sealing]\n";
        for (key, value) in &self.sealing {
            let _ = writeln!(text, "{key} = {value}");
        }
        for index in 0..self.threads {
            let _ = writeln!(
                text,
                "[[sealing_thread]]\nlocation = {}\nplan = '{}'",
                quoted_path(&location(directory, index)),
                self.plan
            );
        }
        let _ = writeln!(
            text,
            "[[attached]]\nname = 'remote'\nlocation = {}",
            quoted_path(&directory.join("remote"))
        );
        if let Some(args) = &self.c2 {
            let args: Vec<_> =
                ["c2"].into_iter().chain(args.iter().map(String::as_str)).map(quoted).collect();
            let (program, args) = (quoted_path(binaries::fixture_processor()), args.join(", "));
            let _ = writeln!(text, "[[processors.c2]]\nbin = {program}\nargs = [{args}]");
        }
        text + &self.more
    }
}

// A JSON string is a TOML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn quoted_path(path: &Path) -> String {
    quoted(path.to_str().unwrap())
}

fn location(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("store{}", index + 1))
}

/// A worker on this machine; its process may run or not.
#[derive(Debug)]
pub struct Worker {
    directory: PathBuf,
    nats_url: String,
    parameters: PathBuf,
    process: Option<Process>,
}

impl Worker {
    /// Writes the configuration into `directory`; starts nothing.
    pub fn prepare(directory: PathBuf, nats_url: String, config: &WorkerConfig) -> Worker {
        let parameters =
            config.parameters.clone().unwrap_or_else(|| directory.join("no-parameters"));
        let worker = Worker { directory, nats_url, parameters, process: None };
        worker.configure(config);
        worker
    }

    /// Writes another configuration, for the next start.
    pub fn configure(&self, config: &WorkerConfig) {
        self.write_config(&config.to_toml(&self.directory));
    }

    /// Writes a configuration file as it stands. Relative paths in it start from the worker's
    /// directory.
    pub fn write_config(&self, toml: &str) {
        std::fs::create_dir_all(&self.directory).unwrap();
        std::fs::write(self.config_file(), toml).unwrap();
    }

    /// Where its configuration is written to, `worker.toml` in its directory.
    pub fn config_file(&self) -> PathBuf {
        self.directory.join("worker.toml")
    }

    /// A sealing thread's location.
    pub fn location(&self, index: usize) -> PathBuf {
        location(&self.directory, index)
    }

    /// The attached store's location.
    pub fn attached(&self) -> PathBuf {
        self.directory.join("remote")
    }

    /// What there is of a sector's files, in the thread's location and in the attached store.
    pub fn files_of(&self, index: usize, sector: &str) -> Vec<PathBuf> {
        let (location, attached) = (self.location(index).join("data"), self.attached());
        let kinds = ["unsealed", "tree-d", "sealed", "cache"].map(|kind| location.join(kind));
        let directories =
            kinds.into_iter().chain(["sealed", "cache"].map(|kind| attached.join(kind)));
        directories.map(|directory| directory.join(sector)).filter(|path| path.exists()).collect()
    }

    /// The sectors whose replicas are in the attached store, by number.
    pub fn persisted(&self) -> BTreeSet<u64> {
        let replicas = std::fs::read_dir(self.attached().join("sealed")).unwrap();
        let names = replicas.map(|replica| replica.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| Some(name.parse::<SectorId>().ok()?.number)).collect()
    }

    /// Where the proofs library looks for parameters, and finds none unless the first configuration
    /// named a directory.
    pub fn parameters(&self) -> &Path {
        &self.parameters
    }

    /// Where the proofs library looks for parameters from the next start on.
    pub fn use_parameters(&mut self, directory: PathBuf) {
        self.parameters = directory;
    }

    /// Starts the daemon on its configuration, and does not wait for it.
    pub fn start(&mut self) {
        self.start_with(Command::new(binaries::worker()), &[]);
    }

    /// Starts the daemon with more variables.
    pub fn start_with_environment(&mut self, environment: &[(&str, &str)]) {
        self.start_with(Command::new(binaries::worker()), environment);
    }

    /// Starts the daemon with these limits of open files.
    pub fn start_with_open_files(&mut self, soft: u64, hard: u64) {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "ulimit -Sn $1 && ulimit -Hn $2 && shift 2 && exec \"$@\"", "sh"])
            .args([soft, hard].map(|limit| limit.to_string()));
        shell.arg(binaries::worker());
        self.start_with(shell, &[]);
    }

    /// Starts the daemon; it kills itself with SIGKILL at that failpoint, e.g.
    /// `before-commit:PC1Done`.
    pub fn start_to_die_at(&mut self, failpoint: &str) {
        self.start_with(
            Command::new(binaries::worker()),
            &[("FAILPOINTS", &format!("{failpoint}=return"))],
        );
    }

    /// Starts the daemon; one of its tasks panics at that failpoint, e.g. `task:snapshots`, every
    /// time or as often as `panic` says, e.g. `1*panic`.
    pub fn start_to_panic_at(&mut self, failpoint: &str, panic: &str) {
        self.start_with(
            Command::new(binaries::worker()),
            &[("FAILPOINTS", &format!("{failpoint}={panic}"))],
        );
    }

    /// Starts the daemon with its log going into that; what it prints is not kept.
    pub fn start_logging_into(&mut self, output: OwnedFd) {
        let command = self.command(Command::new(binaries::worker()), &[]);
        self.process =
            Some(Process::spawn_into("damocles-worker", command, output, &self.log_file()));
    }

    fn start_with(&mut self, command: Command, environment: &[(&str, &str)]) {
        let command = self.command(command, environment);
        self.process = Some(Process::spawn("damocles-worker", command, &self.log_file()));
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("worker.log")
    }

    fn command(&self, mut command: Command, environment: &[(&str, &str)]) -> Command {
        command.args(["daemon", "-c"]).arg(self.config_file()).current_dir(&self.directory);
        command.env("NATS_URL", &self.nats_url).envs(environment.iter().copied());
        // All of it would be shared with everything else on this machine.
        command.env("FIL_PROOFS_PARAMETER_CACHE", self.parameters());
        command.env("FIL_PROOFS_PARENT_CACHE", self.directory.join("parents"));
        command.env("DAMOCLES_WORKER_STATE_DIR", self.directory.join("state"));
        command
    }

    /// The running daemon; fails the test if there is none.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap_or_else(|| panic!("this worker was not started"))
    }

    /// The running daemon's process id.
    pub fn pid(&mut self) -> u32 {
        self.process().pid().as_raw_nonzero().get().unsigned_abs()
    }

    /// What the daemon prints.
    pub fn log(&mut self) -> &Log {
        self.process().log()
    }

    /// Waits until the daemon has killed itself at its failpoint.
    pub async fn died_at_failpoint(&mut self) {
        let status = self.process().ended().await;
        let log = self.log().path().display();
        assert_eq!(
            status.signal(),
            Some(9),
            "the worker was to die at its failpoint but ended with {status}, see {log}"
        );
    }

    /// Kills the daemon as a crash would.
    pub async fn kill9(&mut self) {
        self.process().kill9().await;
    }

    /// Asks the daemon to end, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process().terminate().await
    }

    /// `damocles-worker worker -c FILE …`.
    pub async fn cli(&self, args: &[&str]) -> CliOutput {
        let config = self.config_file();
        let args: Vec<&str> = ["worker", "-c", config.to_str().unwrap()]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        cli::run(binaries::worker(), &args, &self.nats_url, b"").await
    }
}
