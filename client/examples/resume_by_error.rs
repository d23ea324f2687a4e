//! Resumes all threads that an error like this has paused, wherever they are, and says what became
//! of each.
//!
//! ```text
//! cargo run -p damocles-client --example resume_by_error PATTERN [SERVER]
//! ```

use std::{
    error::Error,
    io::{self, Write},
};

use damocles_client::{
    bulk::fleet::Fleet, connect::NatsOptions, system::System, worker_client::signed,
};
use shared_msgs::{
    command::{CommandRequest, Verb},
    selector::Selector,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let pattern = args.next().ok_or("which error? name a regular expression")?;
    let options = NatsOptions { server: args.next().map(Into::into), ..NatsOptions::default() };
    let system = System::connect(&options, "resume_by_error").await?;
    run(&system, &pattern, &mut io::stdout()).await
}

/// Writes a line for each thread that was selected, and for each worker that has not answered.
pub(crate) async fn run(
    system: &System,
    pattern: &str,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let selector = Selector {
        status: vec!["paused".into()],
        error: Some(pattern.into()),
        ..Selector::default()
    };
    let selection = selector.compile()?;
    // Whoever reports is to answer; where that cannot be known, all there is to do is to wait.
    let reports = system.reports().await.ok();
    let expected = reports.map(|reports| Fleet::of(reports.workers, &selection).expected);
    // Signed once: however often it is sent, each thread acts once.
    let request = signed(CommandRequest {
        reason: Some("the cause is mended".into()),
        ..CommandRequest::to_all(selector)
    });
    let gathered = system.order_all(Verb::Resume, &request, expected).await?;
    for reply in &gathered.replies {
        for thread in &reply.threads {
            let (worker, index) = (&reply.worker, thread.index);
            match (&thread.outcome, &thread.error) {
                (Some(outcome), _) => writeln!(out, "{worker} #{index}: {outcome:?}")?,
                (None, Some(error)) => writeln!(out, "{worker} #{index}: {}", error.message)?,
                (None, None) => writeln!(out, "{worker} #{index}: it does not say")?,
            }
        }
    }
    for (worker, refusal) in &gathered.refused {
        writeln!(out, "{worker}: {}", refusal.message)?;
    }
    for worker in &gathered.missing {
        writeln!(out, "{worker}: no answer, its outcome is unknown")?;
    }
    Ok(())
}
