//! The NATS server's clock as this worker knows it: a request says until when, by that clock, it may
//! be carried out.
//!
//! Tests: the scenarios `once::late`, and the simulation.

use std::time::Duration;

use damocles_client::{backoff::Backoff, connect::Link, server_clock::ServerClock};
use tokio::{sync::watch, time::sleep};

use crate::link::connected;

// Two clocks go apart by some milliseconds in a minute.
const AGAIN: Duration = Duration::from_secs(30);
// The bucket whose leader tells the time is made while the first question is on its way.
const SOON: Backoff = Backoff::new(Duration::from_millis(30), Duration::from_secs(5));

/// Whoever can be asked for the server's time.
pub trait ServerTime: Send + Sync {
    /// Unix milliseconds by the server's clock. The error is a sentence.
    fn server_time_ms(&self) -> impl Future<Output = Result<i64, String>> + Send;
}

// What was read a while ago says less and less.
fn is_better(new: &ServerClock, old: &ServerClock) -> bool {
    new.doubt() <= old.doubt() + old.age() / 1_000 + Duration::from_millis(5)
}

/// Reads the clock after each connect, and again from time to time. A reading outlives the
/// connection.
pub async fn keep<T: ServerTime>(
    server: &T,
    mut link: watch::Receiver<Link>,
    clock: watch::Sender<Option<ServerClock>>,
) {
    let mut soon = SOON;
    while connected(&mut link).await {
        link.borrow_and_update();
        let pause = match ServerClock::told(server.server_time_ms()).await {
            Some(new) if clock.borrow().is_none_or(|old| is_better(&new, &old)) => {
                soon.reset();
                clock.send_replace(Some(new));
                AGAIN
            }
            _ => soon.pause(),
        };
        tokio::select! {
            () = sleep(pause) => {}
            changed = link.changed() => match changed {
                Ok(()) => soon.reset(),
                Err(_) => return,
            },
        }
    }
}
