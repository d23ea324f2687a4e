//! `generator groth-params` makes development parameters whole or not at all, and keeps them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use e2e::{
    binaries, cli,
    log::Log,
    parameters::{command, copy_of_window_post, make},
    process::Process,
    scratch::Scratch,
    testbed::{Testbed, sector},
    worker::WorkerConfig,
};

const WINDOW_POST: &[&str] = &["--sector-size", "2KiB", "--for", "window-post"];

fn files(directory: &Path) -> BTreeMap<String, PathBuf> {
    let paths = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    paths
        .map(|path| (path.extension().unwrap_or_default().to_string_lossy().into_owned(), path))
        .collect()
}

#[tokio::test]
async fn what_is_there_is_kept_and_said_to_be() {
    let scratch = Scratch::new();
    let directory = copy_of_window_post(&scratch).await;
    let names: Vec<_> = files(&directory).into_keys().collect();
    assert_eq!(names, ["meta", "params", "vk"]);
    let before = fs::read(&files(&directory)["params"]).unwrap();

    let output = make(WINDOW_POST, &directory).await.expect(0);
    assert_eq!(output.stdout, "");
    let shown = directory.display();
    let warning = "note: these are development parameters: never use them on mainnet, whose parameters are downloaded";
    assert_eq!(output.stderr, format!("{warning}\n2KiB window-post: already in {shown}\n"));
    assert!(fs::read(&files(&directory)["params"]).unwrap() == before);
}

#[tokio::test]
async fn half_a_file_is_replaced_with_progress_on_stderr() {
    let scratch = Scratch::new();
    let directory = copy_of_window_post(&scratch).await;
    let before = files(&directory);
    let (half, key) = (
        File::options().write(true).open(&before["params"]).unwrap(),
        fs::read(&before["vk"]).unwrap(),
    );
    half.set_len(half.metadata().unwrap().len() / 2).unwrap();

    let output = make(WINDOW_POST, &directory).await.expect(0);
    assert_eq!(output.stdout, "");
    let lines: Vec<_> =
        output.stderr.lines().skip(1).filter(|line| !line.ends_with(" so far")).collect();
    let shown = before["params"].display();
    assert_eq!(lines[0], format!("note: {shown} is no whole file, it is replaced"));
    assert_eq!(lines[1..3], ["2KiB window-post: making parameters", "2KiB window-post: writing"]);
    assert!(lines[3].starts_with("2KiB window-post: made in "), "{lines:?}");
    assert_eq!((lines.len(), files(&directory)), (4, before.clone()));
    let new_key = fs::read(&before["vk"]).unwrap();
    assert!(new_key != key && fs::read(&before["params"]).unwrap().starts_with(&new_key));
}

#[tokio::test]
async fn half_a_verifying_key_is_derived_from_the_parameters_again() {
    let scratch = Scratch::new();
    let directory = copy_of_window_post(&scratch).await;
    let path = &files(&directory)["vk"];
    let key = fs::read(path).unwrap();
    fs::write(path, &key[..key.len() / 2]).unwrap();
    let output = make(WINDOW_POST, &directory).await.expect(0);
    assert!(output.stderr.contains("the verifying key was written anew"), "{}", output.stderr);
    assert_eq!(fs::read(path).unwrap(), key);
}

#[tokio::test]
async fn sizes_without_development_parameters_are_refused_with_the_way_out() {
    let scratch = Scratch::new();
    for size in ["32GiB", "64gib"] {
        let output = make(&["--sector-size", size], scratch.path()).await.expect(2);
        assert!(output.stderr.contains("hint: download them"), "{}", output.stderr);
    }
    let output = make(&["--sector-size", "3KiB"], scratch.path()).await.expect(2);
    assert!(
        output.stderr.contains("[possible values: 2KiB, 8MiB, 512MiB, 32GiB, 64GiB]"),
        "{}",
        output.stderr
    );
    assert_eq!(files(scratch.path()), BTreeMap::new());
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let scratch = Scratch::new();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let output = make(WINDOW_POST, &file).await.expect(1);
    assert!(output.stderr.contains(&format!("error: {}: ", file.display())), "{}", output.stderr);
}

#[tokio::test]
async fn a_second_generator_waits_for_the_first_and_finds_what_it_made() {
    let scratch = Scratch::new();
    let directory = copy_of_window_post(&scratch).await;
    let first = File::open(&directory).unwrap();
    first.lock().unwrap();
    let mut second =
        Process::spawn("generator", command(WINDOW_POST, &directory), &scratch.path().join("log"));
    let log: Log = second.log().clone();
    log.line_with(&["waiting for another generator"]).await;
    drop(first);
    assert_eq!(second.ended().await.code(), Some(0));
    assert!(
        log.to_end()
            .await
            .ends_with(&format!("2KiB window-post: already in {}", directory.display()))
    );
}

#[tokio::test]
async fn an_interrupted_generator_leaves_nothing_half_made() {
    let scratch = Scratch::new();
    let directory = scratch.directory("parameters");
    // What a killed one left.
    fs::write(directory.join(".v28-other.params.partial"), "half").unwrap();
    let command = command(&["--sector-size", "2KiB", "--for", "porep"], &directory);
    let mut generator = Process::spawn("generator", command, &scratch.path().join("log"));
    let log: Log = generator.log().clone();
    log.line_with(&["2KiB porep: making parameters"]).await;
    assert_eq!(generator.terminate().await.code(), Some(1));
    assert!(log.to_end().await.contains("error: interrupted\nhint: nothing half-made is left"));
    // What took only a moment is whole, and needs not be made again.
    assert_eq!(files(&directory).into_keys().collect::<Vec<_>>(), ["srs"]);
}

#[tokio::test]
async fn tree_d_of_zeros_is_the_one_that_a_sector_without_deals_has_and_is_used_for_it() {
    let mut bed = Testbed::start().await;
    let directory = bed.scratch.path().join("tree-d");
    let path = directory.to_str().unwrap();
    let make = async || {
        let args = ["generator", "tree-d", "-s", "2kib", "-p", path];
        cli::run(binaries::worker(), &args, "", b"").await.expect(0)
    };
    let made = make().await;
    assert!(made.stdout.is_empty() && made.stderr.contains("2KiB tree-d: made in"), "{made:?}");
    let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["sc-02-data-tree-d.dat"]);
    let tree = directory.join("sc-02-data-tree-d.dat");
    let before = fs::metadata(&tree).unwrap();
    assert_eq!(before.len(), 2 * 2048 - 32, "all nodes of 64 leaves");
    assert!(make().await.stderr.contains("already there"));
    assert_eq!(fs::metadata(&tree).unwrap().modified().unwrap(), before.modified().unwrap());

    let _manager = bed.mock_manager().await;
    let config = WorkerConfig::new("w1").fixture_c2(&[]);
    let with_tree = format!("[processors.static_tree_d]\n'2 KiB' = {:?}", tree.to_str().unwrap());
    let _worker = bed.worker(&config.raw(&with_tree));
    bed.requests.until_finalized(sector(1)).await;
}

#[tokio::test]
async fn old_options_of_the_worker_s_tools_are_understood() {
    let mut bed = Testbed::start().await;
    let _manager = bed.mock_manager().await;
    let worker = bed.worker(&WorkerConfig::new("w1"));
    bed.states.until_stuck("w1").await;
    let config = worker.config_file().display().to_string();
    let run = async |args: &[&str]| {
        let args = [&["worker", "-c", &config], args].concat();
        cli::run(binaries::worker(), &args, &bed.nats.url(), b"").await
    };
    let listed = run(&["-H", "127.0.0.1:17890", "list"]).await.expect(0);
    assert!(listed.stdout.starts_with("#0: ") && listed.stderr.contains("reached over NATS"));
    // In resume it is the state.
    let refused = run(&["resume", "-s", "TreeDbuilt", "--index", "0"]).await;
    assert!(refused.stderr.contains("TreeDBuilt"), "{}", refused.stderr);
    run(&["resume", "-s", "TreeDBuilt", "--index", "0"]).await.expect(0);
    let made = bed.scratch.path().join("made").display().to_string();
    let args = ["store", "sealing-init", "--loc", &made];
    cli::run(binaries::worker(), &args, "", b"").await.expect(0);
    assert!(Path::new(&made).join("store.redb").is_file());
}
