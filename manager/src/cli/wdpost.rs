//! `util worker wdpost`: the window-PoSt jobs of the mock sector manager.

use std::time::Duration;

use clap::{Args, Subcommand};
use damocles_terminal::{
    CliError, Exit, Output, ReplyOutput, json, jsonl, print_done,
    table::{LookArgs, Row, Table, show},
};
use shared_msgs::{
    duration::{human, human_secs},
    sectors::{JobStatus, ListWdpostJobs, RemoveWdpostJobs, ResetWdpostJobs, WdpostJobView},
};

use super::session::{Session, next_page};

const COLUMNS: [&str; 8] =
    ["Job", "Miner", "Sectors", "State", "Worker", "Age", "Elapsed", "Result"];

const WIDE_COLUMNS: [&str; 2] = ["Proof", "Seed"];

/// What to do with the window-PoSt jobs.
#[derive(Subcommand, Debug)]
pub enum WdpostCommand {
    /// List the window-PoSt jobs
    #[command(after_help = "Examples:
  damocles-manager util worker wdpost list
  damocles-manager util worker wdpost list -o jsonl \\
      | jq -r 'select(.status == \"failed\") | .error'")]
    List(ListArgs),
    /// Make jobs ready again: their worker loses them, and what they yielded is forgotten
    #[command(after_help = "Examples:
  damocles-manager util worker wdpost reset \\
      019a5e0e-6d9c-7cc3-98a7-0c2e6d7e5c11
  damocles-manager util worker wdpost reset --all")]
    Reset(JobsArgs),
    /// Forget jobs, whatever their state
    #[command(after_help = "Examples:
  damocles-manager util worker wdpost remove \\
      019a5e0e-6d9c-7cc3-98a7-0c2e6d7e5c11
  damocles-manager util worker wdpost remove --all")]
    Remove(JobsArgs),
    /// Forget all jobs, as damocles-manager does it
    #[command(
        after_help = "Example:\n  damocles-manager util worker wdpost remove-all --really-do-it"
    )]
    RemoveAll(RemoveAllArgs),
}

#[derive(Args, Debug)]
pub struct RemoveAllArgs {
    /// Nothing is forgotten without it
    #[arg(long, required = true)]
    pub really_do_it: bool,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Those that have ended too, as they are here anyhow
    #[arg(long, hide = true)]
    pub all: bool,
    /// With the proof type and the randomness of each; -o wide too
    #[arg(long)]
    pub detail: bool,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Args, Debug)]
pub struct JobsArgs {
    /// The jobs, as `list` shows them
    #[arg(value_name = "JOB", required_unless_present = "all")]
    pub jobs: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "jobs")]
    pub all: bool,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

impl JobsArgs {
    fn chosen(&self) -> Option<Vec<String>> {
        (!self.all).then(|| self.jobs.clone())
    }

    fn print(&self, jobs: &Vec<String>, what: &str) -> Result<(), CliError> {
        if jobs.is_empty() {
            return Err(CliError::new(Exit::NotFound, "there are no jobs"));
        }
        print_done(jobs, &format!("{what}: {}", jobs.join(", ")), self.output)
    }
}

pub(super) async fn run(session: &Session, command: WdpostCommand) -> Result<(), CliError> {
    match command {
        WdpostCommand::List(args) => list(session, &args).await,
        WdpostCommand::Reset(args) => {
            let jobs = session.ask_sectors(&ResetWdpostJobs { jobs: args.chosen() }).await?;
            args.print(&jobs, "ready again")
        }
        WdpostCommand::Remove(args) => {
            let jobs = session.ask_sectors(&RemoveWdpostJobs { jobs: args.chosen() }).await?;
            args.print(&jobs, "removed")
        }
        WdpostCommand::RemoveAll(RemoveAllArgs { output, .. }) => {
            let args = JobsArgs { jobs: vec![], all: true, output };
            let jobs = session.ask_sectors(&RemoveWdpostJobs { jobs: args.chosen() }).await?;
            args.print(&jobs, "removed")
        }
    }
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), CliError> {
    let mut jobs: Vec<WdpostJobView> = Vec::new();
    let mut after = None;
    loop {
        let page =
            session.read_sectors(&ListWdpostJobs { after: after.clone(), limit: None }).await?;
        jobs.extend(page.jobs);
        after = next_page(&after, page.next)?;
        if after.is_none() {
            break;
        }
    }
    let is_wide = args.detail || args.output == Output::Wide;
    let more: &[&str] = if is_wide { &WIDE_COLUMNS } else { &[] };
    let columns = [&COLUMNS[..], more].concat();
    let row = |job: &WdpostJobView| {
        let mut row = row(job);
        row.extend([job.proof_type.clone(), hex(&job.seed)]);
        row.truncate(columns.len());
        Row::new(row).failing(job.error.is_some())
    };
    let rows = || jobs.iter().map(row).collect();
    let shown = match args.output {
        Output::Json => json(&jobs)?.into(),
        Output::Jsonl => jsonl(&jobs)?.into(),
        Output::Plain | Output::Table | Output::Wide => Table::new(&columns, rows()).into(),
    };
    show(&shown, args.look)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn row(job: &WdpostJobView) -> Vec<String> {
    let elapsed =
        job.elapsed_ms.map_or("-".into(), |elapsed| human(Duration::from_millis(elapsed)));
    vec![
        job.id.clone(),
        job.miner.to_string(),
        job.sectors.to_string(),
        job.status.name().into(),
        job.worker.clone().unwrap_or_else(|| "-".into()),
        human_secs(Duration::from_millis(job.age_ms)),
        elapsed,
        result(job),
    ]
}

fn result(job: &WdpostJobView) -> String {
    match (&job.error, &job.output) {
        (Some(error), _) => error.clone(),
        (None, Some(output)) => {
            let bytes: usize = output.proofs.iter().map(|proof| proof.0.len()).sum();
            let faults: Vec<_> = output.faults.iter().map(u64::to_string).collect();
            let proof = format!("{bytes} bytes of proof");
            if faults.is_empty() { proof } else { format!("{proof}, faults: {}", faults.join(" ")) }
        }
        (None, None) if job.status == JobStatus::Finished => "nothing".into(),
        (None, None) => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(json: serde_json::Value) -> WdpostJobView {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_table_says_who_has_a_job_and_what_came_of_it() {
        let job = |more: serde_json::Value| {
            let mut job = json!({"id": "j", "miner": 10000, "sectors": 2, "status": "ready", "age_ms": 61_999});
            job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            row(&view(job))
        };
        let proof = json!({"proofs": ["AQID"], "faults": []});
        let rows = vec![
            job(json!({})),
            job(json!({"status": "running", "worker": "w1", "elapsed_ms": 1_500})),
            job(json!({"status": "finished", "worker": "w1", "elapsed_ms": 800, "output": proof})),
            job(
                json!({"status": "finished", "worker": "w1", "elapsed_ms": 800, "output": {"proofs": [], "faults": [2, 5]}}),
            ),
            job(
                json!({"status": "failed", "worker": "w1", "elapsed_ms": 800, "error": "no parameters"}),
            ),
        ];
        let expected = "\
Job  Miner  Sectors  State     Worker  Age   Elapsed  Result
j    10000  2        ready     -       1m1s  -        -
j    10000  2        running   w1      1m1s  1.500s   -
j    10000  2        finished  w1      1m1s  800ms    3 bytes of proof
j    10000  2        finished  w1      1m1s  800ms    0 bytes of proof, faults: 2 5
j    10000  2        failed    w1      1m1s  800ms    no parameters
";
        assert_eq!(damocles_terminal::table(&COLUMNS, rows), expected);
    }
}
