//! `fixture-processor`: an external processor of the damocles line protocol whose answers a test chooses.
//!
//! ```text
//!  > c2 processor ready
//!  < {"id":1,"task":{…}}
//!  > {"id":1,"err_msg":null,"output":{"proof":[0,0,…]}}
//! ```
//! The proof is no proof: a worker takes it with `sealing.ignore_proof_check`. At the end of its stdin it answers what it
//! was asked, and ends; with `--hold` it ends at once.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

/// Bytes of a Groth16 proof of a 2 KiB sector.
const PROOF_BYTES: usize = 192;

#[derive(Parser)]
struct Args {
    /// The stage to answer for
    stage: Stage,
    /// Answers only when this FIFO can be opened for reading
    #[arg(long)]
    hold: Option<PathBuf>,
    /// Answers with this error
    #[arg(long)]
    fail: Option<String>,
    /// Fails only so many times
    #[arg(long, requires_all = ["fail", "count_file"])]
    fail_times: Option<u64>,
    /// Remembers the failures of earlier runs
    #[arg(long)]
    count_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stage {
    C2,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let Stage::C2 = args.stage;
    writeln!(io::stdout(), "c2 processor ready")?;
    let (tasks, received) = mpsc::channel();
    let holds = args.hold.is_some();
    let answering = thread::spawn(move || answer_all(&args, &received));
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        // Nobody answers any more once stdout is closed.
        let _ = tasks.send(request["id"].clone());
    }
    drop(tasks);
    if holds { Ok(()) } else { answering.join().unwrap_or(Ok(())) }
}

fn answer_all(args: &Args, ids: &mpsc::Receiver<Value>) -> io::Result<()> {
    for id in ids {
        if let Some(gate) = &args.hold {
            File::open(gate)?;
        }
        let answer = match args.failure()? {
            Some(message) => json!({"id": id, "err_msg": message, "output": null}),
            None => json!({"id": id, "err_msg": null, "output": {"proof": vec![0; PROOF_BYTES]}}),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}

impl Args {
    fn failure(&self) -> io::Result<Option<&str>> {
        match (&self.fail_times, &self.count_file) {
            (Some(times), Some(file)) => Ok(if count_one(file, *times)? { self.fail.as_deref() } else { None }),
            _ => Ok(self.fail.as_deref()),
        }
    }
}

// One byte in the file for each failure. Returns whether this is one of the first `limit`.
fn count_one(file: &Path, limit: u64) -> io::Result<bool> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    let one_more = file.metadata()?.len() < limit;
    if one_more {
        file.write_all(b".")?;
    }
    Ok(one_more)
}
