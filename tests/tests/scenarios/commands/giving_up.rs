//! Sectors are given up only by somebody who has seen which, or says that without being asked.

use std::process::{Command, Stdio};

use e2e::{
    binaries,
    cli::{self, CliOutput},
    state_watch::is_stuck,
    testbed::Testbed,
    worker::WorkerConfig,
};
use shared_msgs::snapshot::ThreadSnapshot;

async fn on_terminal(bed: &Testbed, args: &[&str], typed: &str) -> CliOutput {
    let args = [&["util", "worker"], args].concat();
    cli::run_on_terminal(binaries::manager(), &args, &bed.nats.url(), typed).await
}

#[tokio::test]
async fn a_script_gives_sectors_up_by_force_only_whatever_its_input_is() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1"));
    let before = bed.states.until_stuck("w1").await.threads;
    for state in ["Aborted", "Empty"] {
        for args in [
            &["resume", "w1", "0", state][..],
            &["resume", "w1", "0", "--state", state],
            &["resume", "--all", "--to", state],
        ] {
            let piped = bed.util_worker(args).await;
            let mut command = Command::new(binaries::manager());
            command.args(["util", "worker"]).args(args).env("NATS_URL", bed.nats.url());
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            for output in [piped, cli::finish(command, b"").await] {
                let output = output.expect(2);
                assert!(output.stderr.contains("-f does it"), "{}", output.stderr);
            }
            let would = bed.util_worker(&[args, &["--dry-run"]].concat()).await.expect(0);
            assert!(would.stdout.contains("would resume C1Done -> Aborted"), "{}", would.stdout);
        }
        worker.cli(&["resume", "--index", "0", "--to", state]).await.expect(2);
    }
    assert_eq!(bed.bus.list("w1").await.threads[0].revision, before[0].revision);

    bed.util_worker(&["resume", "--all", "--to", "Aborted", "-f"]).await.expect(0);
    let next = |thread: &ThreadSnapshot| thread.sector_id.as_deref() == Some("s-t010000-2");
    bed.states.until_thread("w1", 0, "the next sector", next).await;
}

#[tokio::test]
async fn at_a_terminal_the_sectors_that_are_lost_are_named_and_their_number_is_typed() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let _worker = bed.worker(&WorkerConfig::new("w1").threads(2));
    let before = bed.states.until_stuck("w1").await.threads;
    let sectors: Vec<_> = before.iter().filter_map(|thread| thread.sector_id.as_deref()).collect();
    let (one, all) =
        (&["resume", "w1", "0", "Aborted"][..], &["resume", "--all", "--to", "Empty"][..]);
    let lost = |output: &CliOutput, names: &[&str]| {
        let shown = &output.stdout;
        assert!(shown.contains("files are removed."), "{shown}");
        assert!(shown.contains("Type the number of sectors to go on: "), "{shown}");
        assert!(names.iter().all(|name| shown.contains(name)), "{shown}");
    };
    for (args, typed, names) in
        [(one, "y\n", &sectors[..1]), (all, "y\n", &sectors[..]), (all, "1\n", &sectors[..])]
    {
        let output = on_terminal(&bed, args, typed).await.expect(1);
        assert!(output.stdout.contains("not confirmed: nothing was done"), "{}", output.stdout);
        lost(&output, names);
    }
    let now = bed.bus.list("w1").await.threads;
    assert_eq!([now[0].revision, now[1].revision], [before[0].revision, before[1].revision]);

    lost(&on_terminal(&bed, one, "1\n").await.expect(0), &sectors[..1]);
    let gone = |thread: &ThreadSnapshot| {
        thread.sector_id.as_deref().is_some_and(|sector| !sectors.contains(&sector))
    };
    bed.states.until_thread("w1", 0, "another sector", gone).await;
    let both = bed.states.until_stuck("w1").await.threads;
    let sectors: Vec<_> = both.iter().filter_map(|thread| thread.sector_id.as_deref()).collect();
    lost(&on_terminal(&bed, all, "2\n").await.expect(0), &sectors);
    let later = async |bed: &mut Testbed, gone: &[&str]| {
        for index in 0..2 {
            let next = |thread: &ThreadSnapshot| {
                is_stuck(thread)
                    && thread.sector_id.as_deref().is_some_and(|sector| !gone.contains(&sector))
            };
            bed.states.until_thread("w1", index, "another sector", next).await;
        }
        bed.bus.list("w1").await.threads
    };
    let third = later(&mut bed, &sectors).await;
    let sectors: Vec<_> = third.iter().filter_map(|thread| thread.sector_id.as_deref()).collect();
    let own = ["worker", "--name", "w1", "resume", "--index", "0-1", "--to", "Aborted"];
    let output = cli::run_on_terminal(binaries::worker(), &own, &bed.nats.url(), "2\n").await;
    lost(&output.expect(0), &sectors);
    later(&mut bed, &sectors).await;
}
