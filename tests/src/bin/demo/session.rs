//! What a user types, and what they see.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

use e2e::{
    binaries,
    bus::Bus,
    cli,
    nats_server::DEFAULT_PORT,
    repository,
    state_watch::{StateWatch, is_stuck},
};

use crate::system::CONFIG;

/// The name that a worker finds itself when NATS is on the same machine.
const WORKER: &str = "127.0.0.1";
/// The thread that the commands are for.
const INDEX: usize = 0;

/// Shows the session; then, unless it is for `once`, how to go on, and never returns. A command
/// that fails ends it.
pub(crate) async fn run(url: &str, once: bool) -> Result<(), String> {
    let bus = Bus::connect(url).await;
    let mut states = StateWatch::start(&bus).await;
    say(
        "The worker seals three sectors of 2 KiB. There are no proof parameters here, so each stops where C2 needs them …\n",
    );
    let stuck = states.until_stuck(WORKER).await;
    let before = &stuck.threads[INDEX];

    say(&format!("$ {}\n", export(url)));
    let list = format!("damocles-worker worker -c {CONFIG} list");
    enter(url, &list).await?;
    enter(url, "damocles-manager util worker list").await?;
    enter(url, &format!("damocles-manager util worker info {WORKER}")).await?;

    say(
        "# The thread is paused already, by its error. The pause becomes the operator's: now it would outlive a restart.",
    );
    enter(url, &format!("damocles-worker worker -c {CONFIG} pause --index {INDEX}")).await?;

    say("# Goes on with C2, which fails again.");
    enter(url, &format!("damocles-worker worker -c {CONFIG} resume --index {INDEX}")).await?;
    let retried = |thread: &_| is_stuck(thread) && thread.revision > before.revision;
    states.until_thread(WORKER, INDEX, "paused again after C2 was retried", retried).await;

    say("# Gives the sector up; the thread takes the next one, and gets as far with it.");
    enter(url, &format!("damocles-manager util worker resume {WORKER} {INDEX} Aborted -f")).await?;
    let replaced = |thread: &_| is_stuck(thread) && thread.sector_id != before.sector_id;
    states.until_thread(WORKER, INDEX, "paused with another sector", replaced).await;
    enter(url, &list).await?;

    if !once {
        stay_up(url);
        std::future::pending::<()>().await;
    }
    Ok(())
}

// What a shell has to know: where the programs are, and NATS where that is not where it is looked
// for.
fn export(url: &str) -> String {
    let is_expected = url == format!("nats://127.0.0.1:{DEFAULT_PORT}");
    let server = if is_expected { String::new() } else { format!(" NATS_URL={url}") };
    format!("export PATH=\"{}:$PWD/.tools/bin:$PATH\"{server}", binaries::directory().display())
}

// Runs a command line, as a shell with our programs on its PATH would.
async fn enter(url: &str, line: &str) -> Result<(), String> {
    say(&format!("$ {line}"));
    let mut words = line.split(' ');
    let mut command = Command::new(binaries::directory().join(words.next().unwrap_or_default()));
    command.args(words).current_dir(repository()).env("NATS_URL", url);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = cli::finish(command, b"").await;
    say(&format!("{}{}", output.stdout, output.stderr));
    match output.code {
        Some(0) => Ok(()),
        Some(code) => Err(format!("`{line}` failed with exit code {code}")),
        None => Err(format!("`{line}` was killed")),
    }
}

fn stay_up(url: &str) {
    say(&format!(
        "Everything stays up until Ctrl-C; logs are in mock-tmp/demo. In another terminal, at the top of the repository:

{}
damocles-manager util worker list -o wide
damocles-manager util worker resume {WORKER} 1 TreeDBuilt
damocles-worker worker -c {CONFIG} list -o table

With the nats client, which deploy/nats/install.sh --cli builds:

nats sub 'damocles.v1.state.>' --translate 'damocles-manager util decode'
nats req damocles.v1.cmd.127=2E0=2E0=2E1.list ''
nats req damocles.v1.cmd.127=2E0=2E0=2E1.resume '{{\"index\":2}}'
nats kv ls DAMOCLES_STATE",
        export(url)
    ));
}

fn say(text: &str) {
    // Whoever closes the transcript's end has seen enough of it.
    let _ = writeln!(io::stdout(), "{text}");
}
