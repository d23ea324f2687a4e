//! Follows what happens to all workers: what has happened in the last hour, and then each event as
//! it is stored.
//!
//! ```text
//! cargo run -p damocles-client --example follow_events [SERVER]
//! ```

use std::{
    error::Error,
    io::{self, Write},
    time::Duration,
};

use damocles_client::{
    connect::{NatsOptions, NatsSettings},
    history::{History, Query, Read, Since},
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options =
        NatsOptions { server: std::env::args().nth(1).map(Into::into), ..NatsOptions::default() };
    let settings = NatsSettings::new(&options, &NatsOptions::default())?;
    run(&settings, &mut io::stdout(), usize::MAX).await
}

/// Writes a line for each event, until there were so many.
pub(crate) async fn run(
    settings: &NatsSettings,
    out: &mut impl Write,
    events: usize,
) -> Result<(), Box<dyn Error>> {
    // This connection comes back by itself after each outage.
    let (connection, _) = settings.connect_daemon("follow_events").await?;
    let query = Query { since: Some(Since::Ago(HOUR)), ..Query::default() };
    let following = History::follow(&connection, &settings.prefix, query, settings.timeout);
    let mut history = following.await?;
    let mut written = 0;
    while written < events {
        match history.next().await? {
            Some(Read::Event(recorded)) => {
                let event = &recorded.event;
                let thread = event.index.map(|index| format!(" #{index}")).unwrap_or_default();
                let state = event.to.as_deref().unwrap_or_default();
                writeln!(out, "{}{thread}: {} {state}", recorded.worker, recorded.kind)?;
                written += 1;
            }
            Some(Read::Unreadable { seq, why, .. }) => writeln!(out, "event {seq}: {why}")?,
            Some(Read::StreamGone(why)) => writeln!(out, "the stream {why}")?,
            None => break,
        }
    }
    Ok(())
}
