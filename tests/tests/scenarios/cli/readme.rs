//! What the READMEs tell their readers to type works.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use e2e::{
    binaries, cli, nats_client::NatsClient, played_worker::PlayedWorker, process::Process,
    repository, testbed::Testbed, worker::WorkerConfig,
};

// What a README's code blocks hold: each command once, without the prompt and the comment behind
// it.
fn commands(readme: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join(readme)).unwrap_or_default();
    let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
    let lines = blocks
        .map(|line| line.strip_prefix("$ ").unwrap_or(line))
        .map(|line| line.split("  #").next().unwrap_or_default().trim());
    let programs = ["damocles-", "nats ", "make ", "cargo ", "deploy/"];
    let mut seen = BTreeSet::new();
    let typed =
        lines.filter(|line| programs.iter().any(|program| line.starts_with(program))).map(|line| {
            // The comments of `make` lines stand behind one `#`.
            line.split(" #").next().unwrap_or_default().trim().to_owned()
        });
    typed.filter(|command| seen.insert(command.clone())).collect()
}

fn of(program: &str) -> Vec<String> {
    commands("README.md").into_iter().filter(|command| command.starts_with(program)).collect()
}

// How the READMEs have a shell find the programs.
fn export(readme: &str) -> String {
    let text = std::fs::read_to_string(repository().join(readme)).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("export PATH="));
    line.unwrap_or_default().to_owned()
}

// A shell as the README has it, at the top of the repository. NATS is on a port of the test's own.
fn shell(bed: &Testbed, command: &str) -> Command {
    let home = bed.scratch.directory("home");
    // Elsewhere only where somebody builds elsewhere.
    let programs = binaries::directory().display().to_string();
    let export = export("README.md").replace("$PWD/target/debug", &programs);
    let command = format!("{export}\n{command}");
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", &command]).current_dir(repository());
    shell.env("NATS_URL", bed.nats.url()).env("HOME", &home).env("XDG_CONFIG_HOME", &home);
    shell
}

async fn succeeds(bed: &Testbed, command: &str) {
    // A command may be for a paused thread, and the one before it may just have resumed it.
    let paused = async { while bed.bus.list("127.0.0.1").await.summary.paused < 3 {} };
    assert!(
        tokio::time::timeout(e2e::DEADLINE, paused).await.is_ok(),
        "not every thread is paused before `{command}`"
    );
    let mut shell = shell(bed, command);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = cli::finish(shell, b"").await.expect(0);
    assert!(!output.stdout.is_empty(), "`{command}` printed nothing:\n{}", output.stderr);
}

#[test]
fn both_readmes_have_the_same_commands() {
    assert_eq!(commands("README.md"), commands("README.zh.md"));
    assert!(commands("README.md").len() > 15);
    assert_eq!(export("README.md"), export("README.zh.md"));
    assert!(export("README.md").contains("$PWD/target/debug:$PWD/.tools/bin"));
}

#[test]
fn the_make_targets_of_the_readme_exist() {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).unwrap();
    for command in of("make ") {
        let target = command.split_whitespace().nth(1).unwrap();
        assert!(makefile.lines().any(|line| line.starts_with(&format!("{target}:"))), "{command}");
    }
}

#[tokio::test]
async fn the_tools_of_the_readme_do_what_it_says() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::unnamed().threads(3));
    bed.states.until_stuck("127.0.0.1").await;
    // The worker that runs here is another one than the demo's.
    let config = worker.config_file().display().to_string();
    // Those that need certain sectors have a test of their own.
    let needs_nothing = [" worker ", " sectors list"];
    for command in of("damocles-") {
        if !needs_nothing.iter().any(|part| command.contains(part)) {
            continue;
        }
        let command = command.replace("assets/damocles-worker.mock.toml", &config);
        if command.contains("--watch") {
            let watch = Process::spawn(
                "watch",
                shell(&bed, &command),
                &bed.scratch.path().join("watch.log"),
            );
            watch.log().line_with(&["127.0.0.1", "damocles.v1.cmd"]).await;
        } else {
            // Its threads have a sector in hand for as long as nobody gives them up.
            succeeds(&bed, &command.replace("--wait=8h", "--detach")).await;
        }
    }
}

#[tokio::test]
async fn the_sector_commands_of_the_readme_do_what_it_says() {
    let bed = Testbed::start().await;
    let pieces = bed.scratch.directory("deals");
    std::fs::write(pieces.join("client-data"), "a client's data").unwrap();
    let _manager = bed.mock_manager_with(&["--pieces", pieces.to_str().unwrap()]).await;
    let worker = PlayedWorker::new(&bed.bus, "w1");
    // One with a deal, one without, and one that is not finished.
    for number in 1..=3 {
        let sector = worker.allocate().await;
        assert_eq!(sector.id.number, number);
        if number == 1 {
            worker.deals(sector.id).await.unwrap();
        }
        if number < 3 {
            worker.seal(sector, [1; 32]).await;
        }
    }
    let commands: Vec<_> = of("damocles-manager util sealer");
    assert!(commands.len() >= 5);
    for command in commands {
        let mut shell = shell(&bed, &command);
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        assert!(!cli::finish(shell, b"").await.expect(0).stdout.is_empty(), "{command}");
    }
}

#[tokio::test]
async fn the_nats_commands_of_the_readme_do_what_it_says() {
    let mut bed = Testbed::start().await;
    if NatsClient::find(&bed).is_none() {
        return;
    }
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::unnamed().threads(3));
    bed.states.until_stuck("127.0.0.1").await;
    for command in of("nats ") {
        if command.starts_with("nats sub") {
            let sub = Process::spawn(
                "nats-sub",
                shell(&bed, &command),
                &bed.scratch.path().join("sub.log"),
            );
            sub.log().line_with(&["\"name\":\"127.0.0.1\""]).await;
        } else {
            succeeds(&bed, &command).await;
        }
    }
}

#[tokio::test]
async fn a_manager_of_the_readme_sees_the_workers_and_hands_out_no_sectors() {
    let mut bed = Testbed::start().await;
    let command = of("damocles-manager daemon").pop().unwrap();
    let command = command
        .replace("nats://nats1:4222", &bed.nats.url())
        .replace("nats://nats2:4222", &bed.nats.url());
    let _manager = Process::spawn(
        "damocles-manager",
        shell(&bed, &format!("exec {command}")),
        &bed.scratch.path().join("daemon.log"),
    );
    let _worker = bed.worker(&WorkerConfig::new("w1"));
    bed.bus.served(&bed.bus.prefix.api("list")).await;
    let waiting = bed
        .states
        .until_thread("w1", 0, "it waits for a sector manager", |thread| {
            thread.status.name() == "waiting"
        })
        .await;
    assert_eq!(waiting.sector_id, None);
    bed.bus.listed("the worker", |workers| workers.iter().any(|worker| worker.name == "w1")).await;
}
