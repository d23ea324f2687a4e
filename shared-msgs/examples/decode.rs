//! Reads a worker's state from stdin, in JSON or MessagePack, and says what its threads do.
//!
//! ```text
//! nats kv get --raw DAMOCLES_STATE w1 | cargo run -p shared-msgs --example decode
//! ```

use std::{
    error::Error,
    io::{self, Read, Write},
};

use shared_msgs::{codec::decode, snapshot::WorkerSnapshot};

fn main() -> Result<(), Box<dyn Error>> {
    let mut payload = Vec::new();
    io::stdin().read_to_end(&mut payload)?;
    let worker: WorkerSnapshot = decode(&payload)?;
    for thread in &worker.threads {
        let sector = thread.sector_id.as_deref().unwrap_or("no sector");
        let (index, state, status) = (thread.index, &thread.state, thread.status.name());
        writeln!(io::stdout(), "{} #{index}: {sector}, {state}, {status}", worker.name)?;
    }
    Ok(())
}
