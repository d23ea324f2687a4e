//! The worker's own program as an external processor: answers over the line protocol what the
//! built-in code yields.

use std::{
    io::{self, BufRead},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
};

use damocles_terminal::{CliError, Exit, jsonl, print};
use serde_json::value::RawValue;
use tokio::{io::Interest, net::unix::pipe, sync::mpsc, task::JoinSet};
use tracing::{error, warn};

use super::{
    protocol::{Request, Response, ready_line},
    task::Task,
};
use crate::failure::Failure;

/// Answers every task of a stage that comes in, side by side, until the input ends and the last one
/// is answered, or nobody reads the answers any more: then the worker is gone, and its next one
/// starts the stage again.
pub(crate) async fn serve<T: Task>() -> Result<(), CliError> {
    let (lines, mut received) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    });
    print(&format!("{}\n", ready_line(T::STAGE)))?;
    let answer_all = async {
        let mut tasks = JoinSet::new();
        while let Some(line) = received.recv().await {
            let line = line.map_err(|error| {
                CliError::new(Exit::Failed, format!("stdin cannot be read: {error}"))
            })?;
            tasks.spawn_blocking(move || answer::<T>(&line));
            while let Some(answered) = tasks.try_join_next() {
                settle(answered)?;
            }
        }
        while let Some(answered) = tasks.join_next().await {
            settle(answered)?;
        }
        Ok(())
    };
    tokio::select! {
        biased;
        answered = answer_all => answered,
        () = reader_gone() => Err(CliError::new(Exit::Failed, "nobody reads the answers any more: is the worker gone?")),
    }
}

fn settle(answered: Result<Result<(), CliError>, tokio::task::JoinError>) -> Result<(), CliError> {
    answered.map_err(|error| CliError::new(Exit::Failed, error))?
}

// A task that cannot be read is answered if it has an id.
fn answer<T: Task>(line: &[u8]) -> Result<(), CliError> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let Request { id, task } = match serde_json::from_slice::<Request<Box<RawValue>>>(line) {
        Ok(request) => request,
        Err(error) => {
            warn!(stage = T::STAGE, %error, "a line that is no request");
            return Ok(());
        }
    };
    let result = match serde_json::from_str::<T>(task.get()) {
        Ok(task) => run(task),
        Err(error) => Err(Failure::permanent(format!("this is no task of {}: {error}", T::STAGE))),
    };
    print(&jsonl(&[Response::new(id, result)])?)
}

fn run<T: Task>(task: T) -> Result<T::Output, Failure> {
    // The proofs library asserts here and there; nothing of ours is touched after that.
    catch_unwind(AssertUnwindSafe(|| task.run_builtin())).unwrap_or_else(|panic| {
        error!(stage = T::STAGE, "panicked");
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let said = said.map(|said| format!(": {said}")).unwrap_or_default();
        Err(Failure::told(format!(
            "{} panicked inside the proofs library, see the processor's log{said}",
            T::STAGE
        )))
    })
}

// Resolves when the other end of stdout is closed; never if stdout is no pipe.
async fn reader_gone() {
    // Only its readiness is looked at, so it stays as blocking as it is.
    let copy =
        io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    if let Ok(stdout) = copy
        && stdout.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
