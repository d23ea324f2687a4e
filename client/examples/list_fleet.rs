//! Lists the workers of a system, as its managers know them, and the threads of each that answers.
//!
//! ```text
//! cargo run -p damocles-client --example list_fleet [SERVER]
//! ```

use std::{
    error::Error,
    io::{self, Write},
};

use damocles_client::{connect::NatsOptions, system::System, worker_client::OrderError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options =
        NatsOptions { server: std::env::args().nth(1).map(Into::into), ..NatsOptions::default() };
    let system = System::connect(&options, "list_fleet").await?;
    run(&system, &mut io::stdout()).await
}

/// Writes a line for each worker and for each of its threads.
pub(crate) async fn run(system: &System, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let (workers, notes) = system.workers().await?;
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    for worker in workers {
        writeln!(out, "{}: heard from {} ms ago", worker.name, worker.last_ping_ms)?;
        match system.worker(worker.name.parse()?).list().await {
            Ok(now) => {
                for thread in now.threads {
                    let sector = thread.sector_id.as_deref().unwrap_or("no sector");
                    writeln!(out, "  #{} {sector}: {}", thread.index, thread.state)?;
                }
            }
            Err(OrderError::NotDelivered(_)) => writeln!(out, "  is not there")?,
            Err(error) => writeln!(out, "  {error}")?,
        }
    }
    Ok(())
}
