//! Of two generations of a processor never both live, however the first one ends.
//!
//! Whatever lives may write, and the next one gets the same sector; so what the first one has
//! started ends too.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper says what went wrong by failing the test"
)]

use std::path::{Path, PathBuf};

use damocles_worker::processor::processes::Process;
use e2e::{
    DEADLINE, binaries,
    children::{field, kill9, process, processor_pid, ready},
    state_watch::{is_in_c2, is_paused},
    testbed::{Testbed, sector},
    worker::{Worker, WorkerConfig},
};
use serde_json::{Value, json};
use shared_msgs::{
    command::{CommandRequest, Outcome, Verb},
    id::Id,
    snapshot::{PausedBy, ThreadSnapshot},
};
use tokio::time::{Instant, timeout};

/// Writes its number into a file again and again, like a stage into its sector, and does not end
/// when it is asked to. Not for ever: a failed test may leave it behind.
const WRITE: &str = "trap '' TERM; i=0; while [ $i -lt 2400 ]; do echo $$ >> \"$FILE\"; sleep 0.05; i=$((i+1)); done";

/// Who does the work, as seen from the worker: its child, a child of that, one that has left the
/// group, one that has an environment of its own.
const WAYS: [&str; 4] = [
    r#"eval "$WRITE""#,
    r#"sh -c "$WRITE" & wait"#,
    r#"setsid sh -c "$WRITE" & wait"#,
    r#"env -i FILE="$FILE" PATH="$PATH" sh -c "$WRITE" & wait"#,
];

const LEFT: &str = "a process that an earlier run of this worker has left is killed";

// What a processor writes into instead of a sector.
struct Sector(PathBuf);

impl Sector {
    fn new(bed: &Testbed) -> Sector {
        Sector(bed.scratch.path().join("sector"))
    }

    // A processor of PC1 that gets a task and writes.
    fn pc1(&self, way: &str) -> WorkerConfig {
        WorkerConfig::new("w1")
            .processor("pc1", &self.shell(&format!("echo 'pc1 processor ready'; read task; {way}")))
    }

    // A daemon that writes.
    fn daemon(&self, way: &str) -> WorkerConfig {
        WorkerConfig::new("w1").idle().processor("sealing_daemons", &self.shell(way))
    }

    fn shell(&self, script: &str) -> String {
        let envs = format!("envs = {{ WRITE = {}, FILE = {} }}", Value::from(WRITE), json!(self.0));
        format!("bin = 'sh'\nargs = ['-c', {}]\n{envs}", Value::from(script))
    }

    // Who has written, in order.
    fn writers(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    // Waits until somebody new has written a few times; nobody of before may have written since its
    // first time.
    async fn next_writer(&self, earlier: &[i32]) -> i32 {
        let written = async {
            loop {
                let writers = self.writers();
                let first = writers.iter().position(|writer| !earlier.contains(writer));
                if let Some(since) =
                    first.map(|first| &writers[first..]).filter(|since| since.len() > 5)
                {
                    assert!(
                        since.iter().all(|writer| *writer == since[0]),
                        "{since:?} after {earlier:?}"
                    );
                    return since[0];
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, written).await.unwrap_or_else(|_| panic!("nobody writes but {earlier:?}"))
    }
}

fn lives(pid: i32) -> bool {
    Process::find(pid).is_some_and(|process| process.lives())
}

async fn pause_now(bed: &Testbed) -> Outcome {
    let request =
        CommandRequest { now: true, request_id: Some(Id::generate()), ..CommandRequest::to(0) };
    bed.bus.order("w1", Verb::Pause, &request).await.unwrap().outcome
}

async fn killed_and_started_again(worker: &mut Worker, writer: i32) {
    worker.kill9().await;
    assert!(lives(writer), "it does not notice");
    worker.start();
    let line = worker.log().line_with(&[LEFT, &format!("pid={writer} ")]).await;
    assert!(line.contains("program="), "{line}");
}

#[tokio::test]
async fn after_a_kill_of_the_worker_its_processors_are_ended_before_a_stage_runs() {
    for way in WAYS {
        let mut bed = Testbed::start().await;
        let _manager = bed.mock_manager().await;
        let sector = Sector::new(&bed);
        let mut worker = bed.worker(&sector.pc1(way));
        let first = sector.next_writer(&[]).await;
        killed_and_started_again(&mut worker, first).await;
        // The next one writes only when the first one has ended.
        let second = sector.next_writer(&[first]).await;
        assert!(!lives(first), "{way}");
        assert_eq!(pause_now(&bed).await, Outcome::Paused);
        assert!(!lives(second), "{way}");
        bed.states
            .until_thread("w1", 0, "paused", |thread| is_paused(thread, PausedBy::Operator))
            .await;
    }
}

#[tokio::test]
async fn after_a_kill_of_the_worker_its_daemons_are_ended_before_the_next_ones_start() {
    for way in WAYS {
        let bed = Testbed::start().await;
        bed.keep_states().await;
        let sector = Sector::new(&bed);
        let mut worker = bed.worker(&sector.daemon(way));
        let first = sector.next_writer(&[]).await;
        killed_and_started_again(&mut worker, first).await;
        let second = sector.next_writer(&[first]).await;
        assert!(!lives(first), "{way}");
        assert!(worker.terminate().await.success());
        assert!(!lives(second), "{way}");
    }
}

#[tokio::test]
async fn paused_means_that_nothing_of_the_processor_lives_and_resume_starts_the_only_one() {
    for way in WAYS {
        let mut bed = Testbed::start().await;
        let _manager = bed.mock_manager().await;
        let sector = Sector::new(&bed);
        let _worker = bed.worker(&sector.pc1(way));
        let mut writers = vec![];
        for _ in 0..2 {
            let writer = sector.next_writer(&writers).await;
            writers.push(writer);
            assert_eq!(pause_now(&bed).await, Outcome::Paused);
            assert!(!lives(writer), "{way}");
            let thread = bed
                .states
                .until_thread("w1", 0, "paused", |thread| is_paused(thread, PausedBy::Operator))
                .await;
            assert_eq!((thread.state.as_str(), thread.last_err), ("TicketAssigned", None));
            bed.bus.resume("w1", 0, None).await.unwrap();
            bed.states
                .until_thread("w1", 0, "resumed", |thread| !is_paused(thread, PausedBy::Operator))
                .await;
        }
        sector.next_writer(&writers).await;
        assert_eq!(pause_now(&bed).await, Outcome::Paused);
    }
}

#[tokio::test]
async fn stopped_means_that_nothing_of_any_processor_or_daemon_lives() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (stage, daemon) = (Sector::new(&bed), Sector(bed.scratch.path().join("daemon")));
    let mut worker =
        bed.worker(&stage.pc1(WAYS[1]).processor("sealing_daemons", &daemon.shell(WAYS[2])));
    let writers = [stage.next_writer(&[]).await, daemon.next_writer(&[]).await];
    assert!(worker.terminate().await.success());
    assert!(!writers.iter().any(|writer| lives(*writer)), "{writers:?}");
    let log = worker.log().to_end().await;
    assert!(log.contains(" stopped") && !log.contains("do not end"), "{log}");
}

// A shell that starts a helper, which holds all its pipes, and becomes the program.
fn with_helper(helper: &Path, program: &str) -> String {
    let script = format!("(trap '' TERM; exec sleep 120) & echo $! > \"$HELPER\"; exec {program}");
    format!(
        "bin = 'sh'\nargs = ['-c', {}]\nenvs = {{ HELPER = {} }}",
        Value::from(script),
        json!(helper)
    )
}

fn read_pid(file: &Path) -> i32 {
    std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_processor_has_ended_when_its_process_has_whoever_holds_its_output() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let (mut gate, helper) = (bed.gate("c2"), bed.scratch.path().join("helper"));
    let program = format!(
        "'{}' c2 --hold '{}'",
        binaries::fixture_processor().display(),
        gate.path().display()
    );
    let config = WorkerConfig::new("w1")
        .processor("c2", &with_helper(&helper, &program))
        .sealing("ignore_proof_check", "true");
    let mut worker = bed.worker(&config);
    let pid = processor_pid(&bed.states.until_thread("w1", 0, "in C2", is_in_c2).await);
    let held = read_pid(&helper);
    assert!(lives(held));

    let since = Instant::now();
    kill9(pid);
    let failed = |thread: &ThreadSnapshot| thread.last_err.is_some();
    let error =
        bed.states.until_thread("w1", 0, "its processor died", failed).await.last_err.unwrap();
    assert!(since.elapsed() < DEADLINE / 6, "{:?}", since.elapsed());
    assert_eq!(error, format!("temporary: processor c2 (pid {pid}) has ended (signal 9)"));
    // Reaped, and alone.
    assert!(!process(pid).exists() && !lives(held));
    worker
        .log()
        .line_with(&["processor died", &format!("pid={pid}"), "signal 9", "in_hand=1"])
        .await;
    gate.open();
    bed.requests.until_finalized(sector(1)).await;
    assert!(worker.terminate().await.success());
    assert!(!lives(read_pid(&helper)));
}

#[tokio::test]
async fn a_daemon_has_ended_when_its_process_has_and_the_next_one_starts_alone() {
    let bed = Testbed::start().await;
    bed.keep_states().await;
    let helper = bed.scratch.path().join("helper");
    let mut worker = bed.worker(
        &WorkerConfig::new("w1").idle().processor("sealing_daemons", &with_helper(&helper, "cat")),
    );
    let pid: u32 = field(&worker.log().line_with(&["daemon runs"]).await, "pid").parse().unwrap();
    let written = async {
        while !std::fs::read_to_string(&helper).is_ok_and(|text| text.ends_with('\n')) {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, written).await.unwrap();
    let held = read_pid(&helper);
    kill9(pid);
    worker.log().line_with(&["daemon has ended", &format!("pid={pid}"), "signal 9"]).await;
    assert!(!process(pid).exists() && !lives(held));
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn a_worker_leaves_the_processors_of_another_one_alone() {
    let bed = Testbed::start().await;
    bed.keep_states().await;
    let sector = Sector::new(&bed);
    let mut worker = bed.worker(&sector.daemon(WAYS[1]));
    let writer = sector.next_writer(&[]).await;
    let mut other =
        bed.prepare_worker("other", &WorkerConfig::new("w2").idle().processor("pc1", ""));
    // A copy of what the first one has written down, as on a cloned disk.
    std::fs::create_dir_all(other.location(0)).unwrap();
    std::fs::copy(
        worker.location(0).join("processors.json"),
        other.location(0).join("processors.json"),
    )
    .unwrap();
    other.start();
    // Processors start when nothing is left to be ended.
    ready(&mut other, "pc1").await;
    assert!(lives(writer));
    assert!(worker.terminate().await.success());
    assert!(other.terminate().await.success());
    assert!(!other.log().to_end().await.contains(LEFT));
}
