//! `damocles-worker generator groth-params`: development parameters are made whole or not at all, and what is there is
//! kept.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{
    binaries,
    cli::{self, CliOutput},
    log::Log,
    parameters::{self, PATIENCE},
    process::Process,
    scratch::Scratch,
};

fn generator(args: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(binaries::worker());
    command.args(["generator", "groth-params"]).args(args).arg("--path").arg(directory);
    command
}

async fn groth_params(args: &[&str], directory: &Path) -> CliOutput {
    cli::finish_within(PATIENCE, generator(args, directory), b"").await
}

const WINDOW_POST: &[&str] = &["--sector-size", "2KiB", "--for", "window-post"];

fn files(directory: &Path) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.extension().unwrap_or_default().to_str().unwrap().to_owned(), path)).collect()
}

// A test's own copy of the window-PoSt parameters.
async fn copy(scratch: &Scratch) -> PathBuf {
    let (shared, copy) = (parameters::window_post().await, scratch.directory("parameters"));
    for path in files(&shared).values() {
        fs::copy(path, copy.join(path.file_name().unwrap())).unwrap();
    }
    copy
}

#[tokio::test]
async fn what_is_there_is_kept_and_said_to_be() {
    let scratch = Scratch::new();
    let directory = copy(&scratch).await;
    let names: Vec<_> = files(&directory).into_keys().collect();
    assert_eq!(names, ["meta", "params", "vk"]);
    let before = fs::read(&files(&directory)["params"]).unwrap();

    let output = groth_params(WINDOW_POST, &directory).await.expect(0);
    assert_eq!(output.stdout, "");
    let shown = directory.display();
    let warning = "note: these are development parameters: never use them on mainnet, whose parameters are downloaded";
    assert_eq!(output.stderr, format!("{warning}\n2KiB window-post: already in {shown}\n"));
    assert!(fs::read(&files(&directory)["params"]).unwrap() == before);
}

#[tokio::test]
async fn half_a_file_is_replaced_with_progress_on_stderr() {
    let scratch = Scratch::new();
    let directory = copy(&scratch).await;
    let before = files(&directory);
    let (half, key) = (File::options().write(true).open(&before["params"]).unwrap(), fs::read(&before["vk"]).unwrap());
    half.set_len(half.metadata().unwrap().len() / 2).unwrap();

    let output = groth_params(WINDOW_POST, &directory).await.expect(0);
    assert_eq!(output.stdout, "");
    let lines: Vec<_> = output.stderr.lines().skip(1).filter(|line| !line.ends_with(" so far")).collect();
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
    let directory = copy(&scratch).await;
    let path = &files(&directory)["vk"];
    let key = fs::read(path).unwrap();
    fs::write(path, &key[..key.len() / 2]).unwrap();
    let output = groth_params(WINDOW_POST, &directory).await.expect(0);
    assert!(output.stderr.contains("the verifying key was written anew"), "{}", output.stderr);
    assert_eq!(fs::read(path).unwrap(), key);
}

#[tokio::test]
async fn sizes_without_development_parameters_are_refused_with_the_way_out() {
    let scratch = Scratch::new();
    for size in ["32GiB", "64gib"] {
        let output = groth_params(&["--sector-size", size], scratch.path()).await.expect(2);
        assert!(output.stderr.contains("hint: download them"), "{}", output.stderr);
    }
    let output = groth_params(&["--sector-size", "3KiB"], scratch.path()).await.expect(2);
    assert!(output.stderr.contains("[possible values: 2KiB, 8MiB, 512MiB]"), "{}", output.stderr);
    assert_eq!(files(scratch.path()), BTreeMap::new());
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let scratch = Scratch::new();
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let output = groth_params(WINDOW_POST, &file).await.expect(1);
    assert!(output.stderr.contains(&format!("error: {}: ", file.display())), "{}", output.stderr);
}

#[tokio::test]
async fn a_second_generator_waits_for_the_first_and_finds_what_it_made() {
    let scratch = Scratch::new();
    let directory = copy(&scratch).await;
    let first = File::open(&directory).unwrap();
    first.lock().unwrap();
    let mut second = Process::spawn("generator", generator(WINDOW_POST, &directory), &scratch.path().join("log"));
    let log: Log = second.log().clone();
    log.line_with(&["waiting for another generator"]).await;
    drop(first);
    assert_eq!(second.ended().await.code(), Some(0));
    assert!(log.to_end().await.ends_with(&format!("2KiB window-post: already in {}", directory.display())));
}

#[tokio::test]
async fn an_interrupted_generator_leaves_nothing_half_made() {
    let scratch = Scratch::new();
    let directory = scratch.directory("parameters");
    // What a killed one left.
    fs::write(directory.join(".v28-other.params.partial"), "half").unwrap();
    let command = generator(&["--sector-size", "2KiB", "--for", "porep"], &directory);
    let mut generator = Process::spawn("generator", command, &scratch.path().join("log"));
    let log: Log = generator.log().clone();
    log.line_with(&["2KiB porep: making parameters"]).await;
    assert_eq!(generator.terminate().await.code(), Some(1));
    assert!(log.to_end().await.contains("error: interrupted\nhint: nothing half-made is left"));
    // What took only a moment is whole, and needs not be made again.
    assert_eq!(files(&directory).into_keys().collect::<Vec<_>>(), ["srs"]);
}
