//! `util sealer`: its verbs, which ask a sector manager of ours.

use clap::Subcommand;
use damocles_client::connect::NatsSettings;
use damocles_terminal::CliError;

use super::{proving, sectors, session::Session};

/// What to do with what the sector manager knows.
#[derive(Subcommand, Debug)]
pub enum SealerCommand {
    /// See the sectors, and have something done with them
    #[command(subcommand)]
    Sectors(sectors::SectorsCommand),
    /// Proofs of sectors that are sealed
    Proving(proving::ProvingArgs),
}

pub(crate) async fn run(settings: NatsSettings, command: SealerCommand) -> Result<(), CliError> {
    let session = Session::connect(settings).await?;
    match command {
        SealerCommand::Sectors(command) => sectors::run(&session, command).await,
        SealerCommand::Proving(command) => proving::run(&session, command).await,
    }
}
