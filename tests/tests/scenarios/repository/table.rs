//! Each scenario says in one line what it pins, and the table of tests/README.md says the same.
//!
//! `EXPECTORATE=overwrite` writes the table anew.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use e2e::repository;
use expectorate::assert_contents;

const HEAD: &str = "| what it pins | module |\n|---|---|\n";
const LONGEST: usize = 100;

fn scenarios() -> PathBuf {
    repository().join("tests/tests/scenarios")
}

// The paths of the modules below a folder's file, each behind its parent.
fn modules(file: &Path, folder: &Path, above: &str, found: &mut Vec<String>) {
    let text = fs::read_to_string(file).unwrap();
    let declared = text.lines().filter_map(|line| {
        let (visibility, name) = line.strip_suffix(';')?.split_once("mod ")?;
        (visibility.is_empty() || visibility.starts_with("pub")).then_some(name)
    });
    for name in declared {
        let path = format!("{above}{name}");
        found.push(path.clone());
        if folder.join(name).is_dir() {
            let file = folder.join(name).with_extension("rs");
            modules(&file, &folder.join(name), &format!("{path}::"), found);
        }
    }
}

fn all() -> Vec<String> {
    let mut found = vec![];
    modules(&scenarios().join("main.rs"), &scenarios(), "", &mut found);
    found
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

fn file_of(module: &str) -> PathBuf {
    scenarios().join(module.replace("::", "/")).with_extension("rs")
}

fn row(module: &str) -> String {
    let text = fs::read_to_string(file_of(module)).unwrap();
    let mut lines = text.lines();
    let says = lines.next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
    let ends = !lines.next().unwrap_or_default().starts_with("//! ");
    assert!(
        ends && says.ends_with('.') && says.len() <= LONGEST,
        "{module} does not say in one line what it pins: {says:?}"
    );
    if file_of(module).with_extension("").is_dir() {
        format!("| **{says}** | **`{module}`** |\n")
    } else {
        format!("| {says} | `{module}` |\n")
    }
}

#[test]
fn the_readme_has_every_scenario_with_what_it_pins() {
    let path = repository().join("tests/README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (above, _) = text.split_once(HEAD).unwrap();
    let rows: String = all().iter().map(|module| row(module)).collect();
    assert_contents(&path, &format!("{above}{HEAD}{rows}"));
}

#[test]
fn every_file_below_the_scenarios_is_one_of_them() {
    let mut files = vec![];
    files_below(&scenarios(), &mut files);
    let known: Vec<_> = all().iter().map(|module| file_of(module)).collect();
    files.retain(|file| !known.contains(file) && !file.ends_with("main.rs"));
    assert!(files.is_empty() && known.len() > 60, "{files:?}");
}
