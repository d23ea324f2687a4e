//! `util worker list --watch`: the managers are asked again whenever a worker reports, and once a
//! second for what no message tells: silence, and leases that have run out.

use async_nats::Subscriber;
use damocles_client::connect::{Link, NatsSettings};
use damocles_terminal::{
    CliError, Exit, Output, jsonl,
    screen::{Frame, Frames, TICK, pace, watched},
    table::{Look, Shown},
};
use futures::{FutureExt, StreamExt};
use shared_msgs::api::WorkerView;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Line, ListArgs, Listing, list, shown};
use crate::cli::session::Session;

pub(in crate::cli) async fn run(settings: NatsSettings, args: &ListArgs) -> Result<(), CliError> {
    watched(args.output, args.look, |frames| watch(settings, args, frames)).await
}

async fn watch(settings: NatsSettings, args: &ListArgs, frames: Frames) -> Result<(), CliError> {
    let (session, link) = Session::connect_to_stay(settings).await?;
    let Session { connection, settings, .. } = &session;
    let subject = settings.prefix.state_of_all();
    let unsubscribed = connection.unsubscribed(&*subject);
    let states = connection.client.subscribe(subject).await;
    let states = states.map_err(|error| CliError::new(Exit::Failed, error))?;
    tokio::select! {
        ended = follow(&session, states, link, args, frames) => ended,
        denial = unsubscribed => Err(denial.into()),
    }
}

async fn follow(
    session: &Session,
    mut states: Subscriber,
    mut link: watch::Receiver<Link>,
    args: &ListArgs,
    frames: Frames,
) -> Result<(), CliError> {
    let mut frame = Frame::default();
    loop {
        if !matches!(*link.borrow_and_update(), Link::Up(_)) {
            if frames.on_terminal {
                // Elsewhere the log has said so.
                frame.notes =
                    vec!["the connection to NATS is lost: this is what was known then".into()];
                frames.show(frame.clone()).await;
            }
            let up = link.wait_for(|link| matches!(link, Link::Up(_))).await;
            up.map_err(|_| CliError::new(Exit::Failed, "the connection to NATS was closed"))?;
        }
        let began = Instant::now();
        let asked = tokio::select! {
            asked = list(session, args) => asked,
            _ = link.changed() => continue,
        };
        match asked {
            Ok(Listing { lines, notes }) => {
                frame = Frame {
                    shown: text(&lines, args.output)?,
                    content: text(&still(lines.clone()), args.output)?.text(&Look::default()),
                    notes,
                }
            }
            // It would be refused for ever.
            Err(error) if error.exit == Exit::Refused => return Err(error),
            Err(error) => {
                frame.notes = vec![format!("{}; this is what was known before", error.message)]
            }
        }
        frames.show(frame.clone()).await;
        let took = began.elapsed();
        tokio::select! {
            () = async { states.next().await; } => {}
            () = sleep(TICK) => {}
            _ = link.changed() => continue,
        }
        pace(began, took).await;
        // What was reported meanwhile is in the next list.
        while states.next().now_or_never().flatten().is_some() {}
    }
}

fn text(lines: &[Line], output: Output) -> Result<Shown, CliError> {
    match output {
        // A document a line, so that a reader knows where it ends.
        Output::Json => jsonl(&[lines]).map(Shown::from),
        _ => shown(lines, output),
    }
}

// The same without ages, which move by themselves.
fn still(mut lines: Vec<Line>) -> Vec<Line> {
    for Line { worker: WorkerView { last_ping_ms, unstored_ms, report, .. }, .. } in &mut lines {
        *last_ping_ms = 0;
        unstored_ms.iter_mut().for_each(|elapsed| *elapsed = 0);
        for standstill in report.history_stands_still.iter_mut().chain(&mut report.unreachable) {
            standstill.elapsed_ms = 0;
        }
    }
    lines
}
