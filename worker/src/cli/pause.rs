//! `worker pause`: pauses one thread.

use clap::{Args, ValueEnum};
use shared_msgs::{
    cli::{CliError, json, jsonl, print},
    command::{CommandReply, CommandRequest},
    worker_client::{WorkerClient, caller, sentence},
};

/// Which thread to pause.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// The thread's index, as in `list`
    #[arg(short, long)]
    pub index: u32,
    /// Why, for the worker's log
    #[arg(long)]
    pub reason: Option<String>,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

/// How a command's outcome is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReplyOutput {
    /// One sentence
    #[default]
    Plain,
    /// One JSON document
    Json,
    /// One JSON object on one line
    Jsonl,
}

/// Pauses.
pub async fn run(worker: &WorkerClient, args: &PauseArgs) -> Result<(), CliError> {
    let request = CommandRequest { by: Some(caller()), reason: args.reason.clone(), ..CommandRequest::to(args.index) };
    print_reply(&worker.pause(&request).await?, args.output)
}

/// Prints what a command did.
pub(super) fn print_reply(reply: &CommandReply, output: ReplyOutput) -> Result<(), CliError> {
    print(&match output {
        ReplyOutput::Plain => sentence(reply) + "\n",
        ReplyOutput::Json => json(reply)?,
        ReplyOutput::Jsonl => jsonl(std::slice::from_ref(reply))?,
    })
}
