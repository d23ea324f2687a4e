//! `check` finds what would keep a daemon from its work, and changes nothing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use e2e::{
    binaries,
    cli::{self, CliOutput},
    testbed::Testbed,
    worker::{Worker, WorkerConfig},
};
use serde_json::Value;

async fn check(bed: &Testbed, worker: &Worker, options: &[&str]) -> CliOutput {
    let mut command = Command::new(binaries::worker());
    command.args(["check", "-c"]).arg(worker.config_file()).args(options);
    let directory = worker.config_file().parent().expect("a directory").to_owned();
    command.env("DAMOCLES_WORKER_STATE_DIR", directory.join("state")).current_dir(directory);
    command.env("NATS_URL", bed.nats.url()).env("NATS_TIMEOUT", "2s");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    cli::finish(command, b"").await
}

// What JSON says of the check that begins like this.
fn found(output: &CliOutput, check: &str) -> (String, String) {
    let report = output.json();
    let checks = report["checks"].as_array().expect("checks").clone();
    let begins = |found: &&Value| found["check"].as_str().is_some_and(|it| it.starts_with(check));
    let found = checks.iter().find(begins).expect(check);
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("result"), text("says"))
}

fn everything_in(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

#[tokio::test]
async fn a_worker_that_can_start_passes_and_nothing_is_made_or_registered() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.prepare_worker("worker", &WorkerConfig::new("w1").threads(2));
    let directory = worker.config_file().parent().expect("a directory").to_owned();
    let before = everything_in(&directory);
    let output = check(&bed, &worker, &["-o", "json"]).await.expect(0);
    assert_eq!(output.json()["ok"], true);
    for (name, says) in [
        ("configuration", "2 sealing threads, 1 attached store"),
        ("state directory", "is made at the start"),
        ("sealing_thread #1", "its store is made at the start"),
        ("attached #0", "is made at the start"),
        ("worker.name", "w1"),
        ("NATS at", "connected to"),
        ("JetStream", "is there"),
        ("state bucket DAMOCLES_STATE", "messages"),
        ("stream of events DAMOCLES_EVENTS", "messages"),
        ("sector manager", "answers"),
    ] {
        let (result, said) = found(&output, name);
        assert!(result == "fine" && said.contains(says), "{name}: {result} {said}");
    }
    assert_eq!(everything_in(&directory), before);
    let jetstream = async_nats::jetstream::new(bed.bus.client.clone());
    let lease = jetstream.get_key_value(bed.bus.prefix.lease_bucket()).await;
    let nobody = match &lease {
        Ok(bucket) => bucket.get("w1").await.expect("readable").is_none(),
        Err(_) => true,
    };
    assert!(nobody, "the check took the lease");
}

#[tokio::test]
async fn all_that_is_wrong_is_named_with_the_way_out() {
    let bed = Testbed::start_without_jetstream().await;
    let worker = bed.prepare_worker("worker", &WorkerConfig::new("w1"));
    let directory = worker.config_file().parent().expect("a directory").to_owned();
    std::fs::create_dir_all(directory.join("b")).expect("made");
    std::fs::write(directory.join("a"), "a file").expect("written");
    std::fs::write(directory.join("b/config.toml"), "plan = 'snap'").expect("written");
    std::fs::write(directory.join("prover"), "no program").expect("written");
    worker.write_config(
        "[worker]\nname = 'w1'\nlocal_pieces_dirs = ['./nowhere']\n\
         [[sealing_thread]]\nlocation = './a'\n[[sealing_thread]]\nlocation = './b'\n\
         [[attached]]\nlocation = './mnt'\nreadonly = true\n\
         [[processors.c2]]\nbin = './prover'\n[[processors.pc1]]\nbin = 'no-such-program'\n\
         [[processors.pc2]]\nbin = 'sh'\nnuma_preferred = 4711\n",
    );
    let output = check(&bed, &worker, &["-o", "json"]).await.expect(1);
    assert_eq!(output.json()["ok"], false);
    for (name, says) in [
        ("sealing_thread #0", "is no directory"),
        ("sealing_thread #1 ./b, its config.toml", "line 1, column 8: `plan` is the text \"snap\""),
        ("attached stores", "no attached store can be written to"),
        ("attached #0", "is its disk mounted?"),
        ("local_pieces_dirs", "there is no such directory"),
        ("processors.c2 #0", "is not executable"),
        ("processors.pc1 #0", "is in no directory of PATH"),
        ("JetStream", "NATS has no JetStream"),
        ("sector manager", "answer"),
    ] {
        let (result, said) = found(&output, name);
        assert!(result == "failed" && said.contains(says), "{name}: {result} {said}");
    }
    // For people a warning stands apart, behind what has failed.
    let text = check(&bed, &worker, &[]).await.expect(1);
    let (checks, warnings) = text.stdout.split_once("\nwarnings:\n").expect("warnings");
    assert!(checks.contains("✗ JetStream: ") && checks.contains("✓ processors.pc2 #0: "));
    assert!(warnings.contains("! processors.pc2 #0: numa_preferred has no effect"), "{warnings}");
    assert!(text.stderr.contains(" checks failed"), "{}", text.stderr);
}

#[tokio::test]
async fn who_has_a_location_is_said_and_what_is_left_in_it_is_read() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until("w1", "a sector is in hand", |w| w.threads[0].sector_id.is_some()).await;
    let output = check(&bed, &worker, &["-o", "json"]).await.expect(1);
    let (result, said) = found(&output, "sealing_thread #0");
    let holder = format!("is in use by process {} (damocles-worker)", worker.pid());
    assert!(result == "failed" && said.contains(&holder), "{said}");
    let (result, said) = found(&output, "lease of w1");
    let holder = format!("is held by process {}", worker.pid());
    assert!(result == "warning" && said.contains(&holder), "{said}");
    worker.kill9().await;
    let output = check(&bed, &worker, &["-o", "json"]).await.expect(0);
    let (_, said) = found(&output, "sealing_thread #0");
    let read = "its store is repaired at the start, with s-t010000-1 in hand";
    assert!(said.contains(read), "{said}");
}

#[tokio::test]
async fn a_mistake_in_the_file_is_the_only_thing_that_is_said() {
    let bed = Testbed::start().await;
    let worker = bed.prepare_worker("worker", &WorkerConfig::new("w1"));
    worker.write_config("[sealing_thread]\nlocation = './a'\n");
    let output = check(&bed, &worker, &[]).await.expect(1);
    assert!(output.stdout.starts_with("✗ configuration "), "{}", output.stdout);
    assert!(output.stdout.contains("write `[[sealing_thread]]`"), "{}", output.stdout);
}

#[tokio::test]
async fn a_manager_is_checked_with_and_without_nats() {
    let mut bed = Testbed::start().await;
    let url = bed.nats.url();
    let run = async |options: &[&str]| {
        let arguments: Vec<_> = ["check", "-o", "json"].iter().chain(options).copied().collect();
        cli::run(binaries::manager(), &arguments, &url, b"").await
    };
    let output = run(&[]).await.expect(0);
    let (result, said) = found(&output, "state bucket");
    assert!(result == "fine" && said.contains("the first manager makes it"), "{said}");
    let _manager = bed.mock_manager().await;
    let (_, said) = found(&run(&[]).await.expect(0), "state bucket");
    assert!(said.contains("messages"), "{said}");
    bed.nats.kill9().await;
    let (result, said) = found(&run(&["--timeout", "1s"]).await.expect(1), "NATS at");
    assert!(result == "failed" && said.contains("cannot reach NATS"), "{said}");
}
