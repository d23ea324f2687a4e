//! On a terminal tables fit, watched screens scroll and sort, and it is left as it was.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::process::Command;

use e2e::{binaries, terminal::Terminal, testbed::Testbed, worker::WorkerConfig};
use rustix::process::Signal;
use serde_json::json;
use shared_msgs::{id::Id, snapshot::WorkerSnapshot};

const ERROR: &str = "permanent: No cached parameters found for stacked-proof-of-replication";

fn snapshot(errors: u32) -> WorkerSnapshot {
    let thread = |index: u32| {
        let location = format!("/mnt/nvme{index}/damocles/worker/store{index}");
        let error = (index < errors).then_some(ERROR);
        json!({"index": 2 - index, "location": location, "state": "Empty", "status": {"kind": "idle"}, "last_err": error})
    };
    let threads: Vec<_> = (0..3).map(thread).rev().collect();
    let summary = json!({"threads": 3, "errors": errors});
    let snapshot = json!({
        "instance_id": Id::NIL, "seq": 1, "ping_interval_ms": 3_600_000, "dest": "damocles.v1.cmd.w",
        "summary": summary, "threads": threads,
    });
    serde_json::from_value(snapshot).unwrap()
}

// A tool at work on a terminal, in colours.
fn on_terminal(bed: &Testbed, rows: u16, columns: u16, args: &[&str]) -> Terminal {
    let mut command = Command::new(binaries::manager());
    command.args(["util", "worker"]).args(args);
    command.env("NATS_URL", bed.nats.url()).env("NO_COLOR", "");
    Terminal::start("tool", command, rows, columns, &bed.scratch.path().join("tool.log"))
}

fn widest(lines: &[String]) -> usize {
    lines.iter().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[tokio::test]
async fn on_a_terminal_a_table_fits_and_what_fails_is_first_and_red() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.bus.report("w1", &snapshot(0)).await;
    bed.bus.report("w2", &snapshot(1)).await;
    bed.bus.listed("both", |workers| workers.len() == 2).await;

    let has =
        |text: &'static str| move |lines: &[String]| lines.iter().any(|line| line.contains(text));
    let mut list = on_terminal(&bed, 10, 80, &["list"]);
    let lines = list.shows("the list", has("w1")).await;
    assert!(list.process.ended().await.success());
    assert!(lines[0].starts_with("Name  Threads") && lines[1].starts_with("w2"), "{lines:?}");
    assert!(list.is_red("w2") && !list.is_red("w1"));
    let mut full = on_terminal(&bed, 10, 120, &["list", "--full", "--color", "never"]);
    let lines = full.shows("the list", has("w1")).await;
    assert!(lines[0].starts_with("Name  Dest") && !full.is_red("w2"), "{lines:?}");

    // Nobody answers for it: its last report is shown.
    let mut info = on_terminal(&bed, 12, 100, &["info", "w2"]);
    let lines = info.shows("the threads", has("error: worker w2")).await;
    let table = &lines[..4];
    assert!(widest(table) <= 100 && table[1].starts_with('2'), "{lines:?}");
    assert!(table[1].contains("/mnt") && table[1].contains("store0"), "{lines:?}");
    assert!(table[1].contains("permanent") && table[1].ends_with("replication"), "{lines:?}");

    // What is no terminal gets the whole table, as ever.
    let piped = bed.util_worker(&["list"]).await.expect(0);
    assert_eq!(piped.header()[..2], ["Name", "Dest"]);
    assert_eq!(piped.rows().iter().map(|row| row[0]).collect::<Vec<_>>(), ["w1", "w2"]);
    assert!(!piped.stdout.contains('\u{1b}'));
}

#[tokio::test]
async fn a_configuration_fits_a_terminal_and_is_whole_in_a_pipe() {
    let bed = Testbed::start().await;
    let worker = bed.prepare_worker("worker", &WorkerConfig::new("w1"));
    let location = format!("/mnt/{}/store1", "nvme".repeat(20));
    worker.write_config(&format!("[[sealing_thread]]\nlocation = '{location}'\n"));
    let file = worker.config_file();
    let show = |options: &[&str], columns: u16| {
        let mut command = Command::new(binaries::worker());
        command.args(["config", "show"]).args(options).arg("-c").arg(&file);
        let log = bed.scratch.path().join("show.log");
        Terminal::start("show", command, 120, columns, &log)
    };
    let shown = |lines: &[String]| lines.iter().any(|line| line.starts_with("nats.timeout"));
    let is_location = |line: &&String| line.starts_with("sealing_thread[0].location");
    let mut fits = show(&[], 100);
    let lines = fits.shows("the values", shown).await;
    assert!(fits.process.ended().await.success() && widest(&lines) <= 100, "{lines:?}");
    let line = lines.iter().find(is_location).unwrap();
    assert!(line.contains("\"/mnt/") && line.contains("store1\""), "{line}");
    assert!(line.contains('…') && line.ends_with("toml:2"), "{line}");
    let mut full = show(&["--full"], 400);
    let lines = full.shows("the values", shown).await;
    assert!(lines.iter().find(is_location).unwrap().contains(&location), "{lines:?}");
    let piped =
        bed.worker_cli(&["config", "show", "-c", &file.display().to_string()]).await.expect(0);
    assert!(piped.stdout.contains(&location), "{}", piped.stdout);
}

#[tokio::test]
async fn a_watched_screen_scrolls_sorts_and_ends_with_q() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    for number in 0..30 {
        bed.bus.report(&format!("w{number:02}"), &snapshot(u32::from(number == 7))).await;
    }
    bed.bus.listed("all", |workers| workers.len() == 30).await;
    let mut watch = on_terminal(&bed, 12, 100, &["list", "--watch"]);
    // The header, ten rows and a line that says how it goes on.
    let first = |name: &'static str| {
        move |lines: &[String]| {
            lines.len() == 12 && lines[0].starts_with("Name") && lines[1].starts_with(name)
        }
    };
    let at_first = first("w07");
    let whole = move |lines: &[String]| {
        at_first(lines) && lines[2].starts_with("w00") && lines[11].starts_with("1-10 of 30")
    };
    watch.shows("what fails, first", whole).await;
    assert!(watch.is_taken() && watch.is_red("w07"));
    for (keys, name) in [
        ("\u{1b}[B", "w00"),
        ("j", "w01"),
        ("k", "w00"),
        ("\u{1b}[A", "w07"),
        ("\u{1b}[6~", "w10"),
        ("\u{1b}[5~", "w07"),
        ("G", "w20"),
        ("s", "w20"),
        ("g", "w00"),
        ("r", "w29"),
    ] {
        watch.press(keys);
        watch.shows(&format!("{name} after {keys:?}"), first(name)).await;
    }
    let reversed =
        |lines: &[String]| lines.last().is_some_and(|line| line.contains("by Name, reversed"));
    watch.shows("how it is sorted", reversed).await;

    // A window that gets smaller is drawn anew; what is new is seen where one is.
    watch.resize(6, 60);
    watch
        .shows("a smaller screen", |lines| lines.len() == 6 && lines[5].starts_with("1-4 of 30"))
        .await;
    assert!(widest(&watch.lines()) <= 60);
    bed.bus.report("w30", &snapshot(0)).await;
    watch.shows("the new one", |lines| lines[1].starts_with("w30")).await;
    watch.press("q");
    assert!(watch.process.ended().await.success());
    watch.is_as_before().await;
}

#[tokio::test]
async fn a_worker_is_watched_by_both_tools_alike() {
    let mut bed = Testbed::start().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").idle());
    bed.states.until("w1", "it reports", |_| true).await;
    let list = ["worker", "--name", "w1", "list", "--watch", "-o", "table"];
    for (program, args) in [
        (binaries::manager(), &["util", "worker", "info", "w1", "--watch"][..]),
        (binaries::worker(), &list),
    ] {
        let mut command = Command::new(program);
        command.args(args).env("NATS_URL", bed.nats.url());
        let log = bed.scratch.path().join("watch.log");
        let mut watch = Terminal::start("watch", command, 10, 60, &log);
        let lines = watch
            .shows("the thread", |lines| lines.iter().any(|line| line.contains("Empty")))
            .await;
        assert!(lines[0].starts_with("Index  Loc") && widest(&lines) <= 60, "{lines:?}");
        watch.press("q");
        assert!(watch.process.ended().await.success());
        watch.is_as_before().await;
    }
}

#[tokio::test]
async fn a_terminal_is_as_it_was_after_every_end() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.bus.report("w1", &snapshot(0)).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let mut watch = on_terminal(&bed, 10, 80, &["list", "--watch"]);
        watch.shows("the worker", |lines| lines.iter().any(|line| line.starts_with("w1"))).await;
        assert!(watch.is_taken());
        watch.process.signal(signal);
        assert!(watch.process.ended().await.success(), "{signal:?}");
        watch.is_as_before().await;
    }
    for how in ["fail", "panic"] {
        let mut command = Command::new(binaries::fixture_screen());
        command.arg(how).env("RUST_BACKTRACE", "0");
        let log = bed.scratch.path().join("screen.log");
        let mut screen = Terminal::start("screen", command, 10, 80, &log);
        screen.shows("its table", |lines| lines.iter().any(|line| line == "w1")).await;
        assert!(screen.is_taken());
        screen.process.signal(Signal::USR1);
        assert!(!screen.process.ended().await.success());
        screen.is_as_before().await;
        // Why it ended stays to be read.
        screen
            .shows("why it ended", |lines| {
                lines.iter().any(|line| line.contains("as it was asked to"))
            })
            .await;
    }
}

#[tokio::test]
async fn a_suspended_screen_gives_the_terminal_back_until_it_goes_on() {
    let bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    bed.bus.report("w1", &snapshot(0)).await;
    bed.bus.listed("the worker", |workers| workers.len() == 1).await;
    let mut watch = on_terminal(&bed, 10, 80, &["list", "--watch"]);
    let seen = |lines: &[String]| lines.iter().any(|line| line.starts_with("w1"));
    watch.shows("the worker", seen).await;
    watch.process.signal(Signal::TSTP);
    watch.is_as_before().await;
    // It gives the terminal back first, and stops then: until then nothing would let it go on.
    watch.process.until_frozen().await;
    watch.process.thaw();
    watch.shows("the worker again", seen).await;
    assert!(watch.is_taken());
    watch.press("q");
    assert!(watch.process.ended().await.success());
}

#[tokio::test]
async fn a_question_hides_nothing() {
    let name = "w\n\u{9b}31m\u{202e}\u{2028}1";
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new(name).idle());
    bed.states.until_thread(name, 0, "it waits", |thread| thread.status.name() == "waiting").await;
    let mut pause = on_terminal(&bed, 10, 120, &["pause", "--all"]);
    let lines = pause
        .shows("the question", |lines| lines.last().is_some_and(|line| line.contains("[y/N]")))
        .await;
    let row = lines.iter().find(|line| line.starts_with("w\\n\\u{9b}31m\\u{202e}\\u{2028}1"));
    assert!(row.is_some(), "{lines:?}");
    pause.press("n\n");
    assert_eq!(pause.process.ended().await.code(), Some(1));
    assert_eq!(bed.bus.list(name).await.summary.paused, 0);
}
