//! Each page of `docs/decisions` is in the index, and each that the code names is there.
#![expect(clippy::unwrap_used, reason = "a helper says what went wrong by failing the test")]

use std::{collections::BTreeSet, fs, path::Path};

use e2e::repository;

fn number_of(name: &str) -> Option<String> {
    let (number, rest) = name.split_once('-')?;
    (number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()) && rest.ends_with(".md"))
        .then(|| number.to_owned())
}

fn pages() -> BTreeSet<String> {
    let entries = fs::read_dir(repository().join("docs/decisions")).unwrap();
    entries.filter_map(|entry| number_of(entry.unwrap().file_name().to_str()?)).collect()
}

// The numbers in lines such as «Decisions 013, 033 in `docs/decisions`.»
fn named_below(directory: &Path, named: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_below(&path, named);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| {
                line.starts_with("//! Decision") && line.ends_with("in `docs/decisions`.")
            });
            let words = lines.flat_map(|line| line.split([' ', ',']));
            named.extend(
                words
                    .filter(|word| {
                        word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit())
                    })
                    .map(Into::into),
            );
        }
    }
}

#[test]
fn every_page_is_in_the_index_and_says_what_follows() {
    let index = fs::read_to_string(repository().join("docs/decisions/README.md")).unwrap();
    let pages = pages();
    assert!(pages.len() > 40);
    for entry in fs::read_dir(repository().join("docs/decisions")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(number) = number_of(&name) else { continue };
        assert!(index.contains(&format!("[{number}]({name})")), "{name} is not in the index");
        let text = fs::read_to_string(&path).unwrap();
        for part in ["**Context.**", "**Decision.**", "**Consequence.**"] {
            assert!(text.contains(part), "{name} has no {part}");
        }
    }
}

#[test]
fn every_decision_that_the_code_names_has_a_page() {
    let mut named = BTreeSet::new();
    for part in
        ["shared-msgs", "client", "wire", "daemon", "terminal", "proofs", "worker", "manager"]
    {
        named_below(&repository().join(part).join("src"), &mut named);
    }
    assert!(named.len() > 35, "{named:?}");
    let pages = pages();
    let missing: Vec<_> = named.difference(&pages).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
