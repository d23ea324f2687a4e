//! The parents cache is made once on a machine, whole, before any PC1.
//!
//! One that is not whole makes no sector fail.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use e2e::{
    DEADLINE, binaries, cli,
    scratch::Scratch,
    state_watch::is_paused,
    testbed::{Testbed, sector},
    tmpfs::Tmpfs,
    worker::{Worker, WorkerConfig},
};
use shared_msgs::snapshot::PausedBy;

fn parents(worker: &Worker) -> PathBuf {
    worker.config_file().with_file_name("parents")
}

// The files in a directory by the ends of their names.
fn files(directory: &Path) -> Vec<(String, PathBuf)> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        paths.map(|path| (path.extension().unwrap().to_str().unwrap().to_owned(), path)).collect();
    files.sort();
    files
}

// The only cache; there is its note beside it and nothing else.
fn cache(directory: &Path) -> PathBuf {
    let files = files(directory);
    assert_eq!(
        files.iter().map(|(end, _)| end.as_str()).collect::<Vec<_>>(),
        ["cache", "whole"],
        "{files:?}"
    );
    files[0].1.clone()
}

// By this run of it.
fn times_said(worker: &mut Worker, words: &str) -> usize {
    worker.log().lines().iter().filter(|line| line.contains(words)).count()
}

#[tokio::test]
async fn several_processors_at_once_make_it_once_and_the_library_takes_it() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let config = WorkerConfig::new("w1").fixture_c2(&[]).threads(3);
    let mut worker = bed.worker(
        &["concurrent = 1"; 3].iter().fold(config, |config, toml| config.processor("pc1", toml)),
    );
    bed.requests.until_first_finalized(3).await;
    // The library would have written another one beside it.
    let path = cache(&parents(&worker));
    let inode = fs::metadata(&path).unwrap().ino();
    assert!(worker.terminate().await.success());
    assert_eq!(times_said(&mut worker, "is made, once for all sectors"), 1);
    worker.start();
    let next = bed.allocated().await + 1;
    bed.requests.until_finalized(sector(next)).await;
    assert_eq!(fs::metadata(cache(&parents(&worker))).unwrap().ino(), inode);
}

#[tokio::test]
async fn a_half_made_one_is_made_again_before_a_sector_needs_it() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.worker(&WorkerConfig::new("w1").fixture_c2(&[]));
    bed.requests.until_finalized(sector(1)).await;
    let path = cache(&parents(&worker));
    let whole = fs::read(&path).unwrap();
    let half = whole.len() / 2;
    let zero_tail = [&whole[..half], &vec![0; half][..]].concat();
    // As the library leaves one when it is killed: with its full length, or, by another file
    // system's leave, without.
    for (wrong, noted) in [(&whole[..half], false), (&zero_tail, false), (&zero_tail, true)] {
        assert!(worker.terminate().await.success());
        fs::write(&path, wrong).unwrap();
        if !noted {
            fs::remove_file(path.with_extension("cache.whole")).unwrap();
        }
        fs::write(path.with_extension("cache.partial"), "left by somebody who was killed").unwrap();
        let next = bed.allocated().await + 1;
        worker.start();
        bed.requests.until_finalized(sector(next)).await;
        assert!(fs::read(cache(&parents(&worker))).unwrap() == whole);
        assert_eq!(times_said(&mut worker, "it was half-made, and is made again"), 1);
    }
}

#[tokio::test]
async fn a_full_disk_holds_pc1_up_before_it_begins_and_is_said() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let mut worker = bed.prepare_worker(
        "worker",
        &WorkerConfig::new("w1").fixture_c2(&[]).sealing("max_retries", "0"),
    );
    let directory = parents(&worker);
    let Some(tmpfs) = Tmpfs::mount(&directory, 64) else { return };
    tmpfs.fill();
    worker.start();
    let thread = bed
        .states
        .until_thread("w1", 0, "paused by an error", |thread| is_paused(thread, PausedBy::Error))
        .await;
    let error = thread.last_err.unwrap();
    assert_eq!(thread.state, "TicketAssigned");
    assert!(
        error.contains("No space left on device") && error.contains(directory.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "but for the ballast");
    tmpfs.free();
    bed.bus.resume("w1", 0, None).await.unwrap();
    bed.requests.until_finalized(sector(1)).await;
    assert!(worker.terminate().await.success());
}

#[tokio::test]
async fn an_operator_makes_it_beforehand() {
    let scratch = Scratch::new();
    let directory = scratch.path().join("parents");
    let run = async |size: &str| {
        let mut command = Command::new(binaries::worker());
        command
            .args(["generator", "parents-cache", "--sector-size", size, "--path"])
            .arg(&directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        cli::finish_within(DEADLINE, command, b"").await
    };
    let made = run("2KiB").await.expect(0);
    let path = cache(&directory);
    let last = |stderr: &str| stderr.lines().last().unwrap().to_owned();
    assert_eq!(
        (made.stdout.as_str(), last(&made.stderr)),
        ("", format!("2KiB parents cache: made in 0s: {}", path.display()))
    );
    assert!(
        last(&run("2KiB").await.expect(0).stderr).contains("already there, and noted to be whole")
    );
    File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    assert!(last(&run("2KiB").await.expect(0).stderr).contains("was not whole, made again"));
    assert!(fs::metadata(&path).unwrap().len() > 1000);
}
