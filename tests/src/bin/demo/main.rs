//! `make demo`: NATS, a mock manager and a worker with the mock configuration, a session with them
//! as a user has it, and then everything stays up until Ctrl-C. With `DEMO_ONCE=1` it ends after
//! the session.
//!
//! ```text
//!  Place::take --> System::start --> session::run --> stays up --Ctrl-C | a program ends--> System::stop
//! ```
//! The harness panics with a sentence when something does not happen; here that sentence is the
//! demo's error.

mod place;
mod session;
mod system;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{place::Place, system::System};

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(payload.downcast_ref::<&str>().copied());
        complain(text.unwrap_or("failed"));
    }));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.to_string()),
    };
    let once = std::env::var("DEMO_ONCE").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    match runtime.block_on(async { tokio::spawn(demo(once)).await }) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => complain(&error),
        // The hook has said why.
        Err(_) => ExitCode::FAILURE,
    }
}

async fn demo(once: bool) -> Result<(), String> {
    let place = Place::take()?;
    let cannot_listen = |error: io::Error| format!("cannot listen for signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot_listen)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot_listen)?;

    let mut system = System::start(&place).await;
    let url = system.nats_url();
    let outcome = tokio::select! {
        shown = session::run(&url, once) => shown,
        ended = system.one_ended() => Err(ended),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    let stopped = system.stop().await;
    outcome.and(stopped)
}

fn complain(error: &str) -> ExitCode {
    // Nobody is left to tell when stderr is gone too.
    let _ = writeln!(io::stderr(), "demo: {error}");
    ExitCode::FAILURE
}
