//! Which commit the programs are built from, and of what day, for `--version`.
//!
//! Both come from git, so that two builds of a commit are alike; `SOURCE_DATE_EPOCH` (Unix seconds)
//! is the day where it is set. Sources that are no clone of their own say `unknown`.

use std::{
    env,
    path::Path,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let (commit, mut date) = committed().unwrap_or_else(|| ("unknown".into(), "unknown".into()));
    if let Some(day) = env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| day(&seconds)) {
        date = day;
    }
    println!("cargo:rustc-env=DAMOCLES_COMMIT={commit}");
    println!("cargo:rustc-env=DAMOCLES_DATE={date}");
}

fn day(seconds: &str) -> Option<String> {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))?;
    Some(humantime::format_rfc3339(time).to_string().get(..10)?.to_owned())
}

fn committed() -> Option<(String, String)> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    // Unpacked inside another clone, the sources have nothing to do with its commits.
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?
        != sources.canonicalize().ok()?
    {
        return None;
    }
    // The log of HEAD grows with every commit and checkout. Without one nobody commits here.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let said = git(&["log", "-1", "--abbrev=12", "--format=%h %cs"])?;
    let (commit, date) = said.split_once(' ')?;
    Some((commit.to_owned(), date.to_owned()))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}
