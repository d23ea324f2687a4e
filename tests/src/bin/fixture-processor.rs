//! `fixture-processor`: an external processor of the damocles line protocol whose answers, and
//! misdeeds, a test chooses.
//!
//! ```text
//!  > c2 processor ready
//!  < {"id":1,"task":{…}}
//!  > {"id":1,"err_msg":null,"output":{"proof":[0,0,…]}}
//! ```
//! The outputs are of the right shape and nothing more: a worker takes the proofs with
//! `sealing.ignore_proof_check`. At the end of its stdin it answers what it was asked, and ends;
//! with `--hold` it ends at once.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// Bytes of a Groth16 proof of a 2 KiB sector.
const PROOF_BYTES: usize = 192;
const LONG_LINE_BYTES: usize = 50 << 20;
const FAILURE: i32 = 3;
const STAY: Duration = Duration::from_secs(10);

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
    /// Does this where it should do something better
    #[arg(long)]
    misbehave: Option<Misdeed>,
    /// Misbehaves only so many times
    #[arg(long, requires_all = ["misbehave", "count_file"], conflicts_with = "fail")]
    misbehave_times: Option<u64>,
    /// Says so and goes on when it is asked to end (TERM), and for a while when its stdin ends
    #[arg(long)]
    ignore_term: bool,
    /// Yields so many bytes more: pc1 and c1
    #[arg(long, default_value_t = 0)]
    more_bytes: usize,
    /// Remembers the failures and misdeeds of earlier runs
    #[arg(long)]
    count_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Stage {
    AddPieces,
    TreeD,
    CommD,
    Pc1,
    Pc2,
    SynthProof,
    C1,
    C2,
    VerifySeal,
    SnapEncode,
    SnapVanilla,
    SnapProve,
    VerifySnap,
    SnapDecode,
    Unseal,
    PieceCommitment,
    Transfer,
    WindowPost,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Misdeed {
    /// Ends before it is ready
    DieAtStart,
    /// Is never ready
    HangAtStart,
    /// Ends as soon as it is ready
    DieWhenReady,
    /// Ends when it gets a task
    Die,
    /// Prints a half of its answer
    Garbage,
    /// Prints a line that is no answer, and then its answer
    Stray,
    /// Prints a line of 50 MB that is no answer
    LongLine,
    /// Answers, and answers again
    Twice,
    /// Answers somebody else first
    UnknownId,
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    if args.ignore_term {
        ignore_term()?;
    }
    match args.misdeed(&[Misdeed::DieAtStart, Misdeed::HangAtStart])? {
        Some(Misdeed::DieAtStart) => die(),
        Some(_) => return io::copy(&mut io::stdin().lock(), &mut io::sink()).map(drop),
        None => {}
    }
    writeln!(io::stdout(), "{} processor ready", args.stage.name())?;
    if args.misdeed(&[Misdeed::DieWhenReady])?.is_some() {
        die();
    }
    let (tasks, received) = mpsc::channel();
    let (holds, stays) = (args.hold.is_some(), args.ignore_term);
    let answering = thread::spawn(move || answer_all(&args, &received));
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        // Nobody answers any more once stdout is closed.
        let _ = tasks.send(request["id"].clone());
    }
    drop(tasks);
    if stays {
        // Longer than anybody waits for its end, and not for ever: nobody may be left to kill it.
        thread::sleep(STAY);
    }
    if holds { Ok(()) } else { answering.join().unwrap_or(Ok(())) }
}

#[expect(clippy::disallowed_methods, reason = "a process that dies leaves nothing in order")]
fn die() -> ! {
    process::exit(FAILURE)
}

fn ignore_term() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut asked = {
        let _entered = runtime.enter();
        signal(SignalKind::terminate())?
    };
    thread::spawn(move || {
        while runtime.block_on(asked.recv()).is_some() {
            let _ = writeln!(io::stderr(), "asked to end, and does not");
        }
    });
    Ok(())
}

fn answer_all(args: &Args, ids: &mpsc::Receiver<Value>) -> io::Result<()> {
    for id in ids {
        if let Some(gate) = &args.hold {
            File::open(gate)?;
        }
        let answer = match args.failure()? {
            Some(message) => json!({"id": id, "err_msg": message, "output": null}),
            None => {
                json!({"id": id, "err_msg": null, "output": args.stage.output(args.more_bytes)})
            }
        };
        let mut stdout = io::stdout().lock();
        let misdeeds = [
            Misdeed::Die,
            Misdeed::Garbage,
            Misdeed::Stray,
            Misdeed::LongLine,
            Misdeed::Twice,
            Misdeed::UnknownId,
        ];
        match args.misdeed(&misdeeds)? {
            Some(Misdeed::Die) => die(),
            Some(Misdeed::Garbage) => {
                let answer = answer.to_string();
                writeln!(stdout, "{}", &answer[..answer.len() / 2])?
            }
            Some(Misdeed::Stray) => writeln!(stdout, "half of it is done\n{answer}")?,
            Some(Misdeed::LongLine) => writeln!(stdout, "{}", "x".repeat(LONG_LINE_BYTES))?,
            Some(Misdeed::Twice) => writeln!(stdout, "{answer}\n{answer}")?,
            Some(Misdeed::UnknownId) => writeln!(
                stdout,
                "{}\n{answer}",
                json!({"id": 4711, "err_msg": "not yours", "output": null})
            )?,
            Some(Misdeed::DieAtStart | Misdeed::HangAtStart | Misdeed::DieWhenReady) | None => {
                writeln!(stdout, "{answer}")?
            }
        }
    }
    Ok(())
}

impl Stage {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn output(self, more_bytes: usize) -> Value {
        let (proof, commitment) = (vec![0; PROOF_BYTES], [0; 32]);
        match self {
            Stage::AddPieces => json!([]),
            Stage::TreeD | Stage::SynthProof | Stage::Transfer => json!(true),
            Stage::VerifySeal | Stage::VerifySnap => json!(true),
            Stage::CommD | Stage::PieceCommitment => json!(commitment),
            Stage::Pc1 | Stage::C1 if more_bytes > 0 => json!({"more": "x".repeat(more_bytes)}),
            Stage::Pc1 | Stage::C1 => json!({}),
            Stage::Pc2 => {
                json!({"registered_proof": "StackedDrg2KiBV1_1", "comm_r": commitment, "comm_d": commitment})
            }
            Stage::C2 => json!({"proof": proof}),
            Stage::SnapEncode => {
                json!({"comm_r_new": commitment, "comm_r_last_new": commitment, "comm_d_new": commitment})
            }
            Stage::SnapVanilla => json!([proof]),
            Stage::SnapProve => json!(proof),
            Stage::SnapDecode | Stage::Unseal => json!(0),
            Stage::WindowPost => json!({"proofs": [BASE64.encode(proof)], "faults": []}),
        }
    }
}

impl Args {
    fn failure(&self) -> io::Result<Option<&str>> {
        match (&self.fail_times, &self.count_file) {
            (Some(times), Some(file)) => {
                Ok(if count_one(file, *times)? { self.fail.as_deref() } else { None })
            }
            _ => Ok(self.fail.as_deref()),
        }
    }

    // What it was told to do at this moment, if that is one of these, and not often enough done
    // yet.
    fn misdeed(&self, of: &[Misdeed]) -> io::Result<Option<Misdeed>> {
        let told = self.misbehave.filter(|misdeed| of.contains(misdeed));
        match (told, &self.misbehave_times, &self.count_file) {
            (Some(_), Some(times), Some(file)) => {
                Ok(if count_one(file, *times)? { told } else { None })
            }
            _ => Ok(told),
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
