//! `fixture-screen HOW`: watches something that never changes, as a tool does, until SIGUSR1; then
//! it ends by an error, or panics.

use std::process::ExitCode;

use damocles_daemon::log::Format;
use damocles_terminal::{
    CliError, Exit, Logging, Output,
    screen::{Frame, Frames, watched},
    table::{LookArgs, Row, Shown, Table},
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

fn main() -> ExitCode {
    let panics = std::env::args().nth(1).is_some_and(|how| how == "panic");
    let logging = Logging { by_default: "warn", format: Format::Text };
    damocles_terminal::run(logging, &mut Builder::new_current_thread(), || {
        watched(Output::Table, LookArgs::default(), |frames| watch(frames, panics))
    })
}

#[expect(clippy::panic, reason = "it is what a test asked for")]
async fn watch(frames: Frames, panics: bool) -> Result<(), CliError> {
    let mut ends = signal(SignalKind::user_defined1())?;
    let table = Table::new(&["Name"], vec![Row::new(vec!["w1".into()])]);
    frames.show(Frame { shown: Shown::Table(table), ..Frame::default() }).await;
    ends.recv().await;
    match panics {
        true => panic!("as it was asked to"),
        false => Err(CliError::new(Exit::Failed, "as it was asked to")),
    }
}
