//! `util sealer`: its verbs, which ask a sector manager of ours.

use clap::Subcommand;
use damocles_client::connect::NatsSettings;
use damocles_terminal::CliError;

use super::{proving, sectors, session::Session};

/// What to do with what the sector manager knows.
#[derive(Subcommand, Debug)]
pub enum Sealer {
    /// See the sectors, and have something done with them
    #[command(subcommand)]
    Sectors(sectors::Verb),
    /// Proofs of sectors that are sealed
    #[command(subcommand)]
    Proving(proving::Verb),
}

/// Runs a verb.
pub async fn run(settings: NatsSettings, verb: Sealer) -> Result<(), CliError> {
    let session = Session::connect(settings).await?;
    match verb {
        Sealer::Sectors(verb) => sectors::run(&session, verb).await,
        Sealer::Proving(verb) => proving::run(&session, verb).await,
    }
}
