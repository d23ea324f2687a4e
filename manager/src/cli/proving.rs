//! `util sealer proving`: having sealed sectors proven.

use clap::{Args, Subcommand};
use damocles_terminal::{CliError, Exit, ReplyOutput, note, print_done};
use shared_msgs::{id::Id, sector_manager::SectorId, sectors::SimulateWdpost};

use super::session::Session;

#[derive(Subcommand, Debug)]
pub enum ProvingCommand {
    /// Queue a window-PoSt job for threads of plan wdpost, as a deadline would
    #[command(
        after_help = "Without a SECTOR it proves all finished sectors of the miner whose replica's commitment is known; that of a sector of
plan niporep is not, as it has no pre-commit. `damocles-manager util worker wdpost list` shows what becomes of the job.

Examples:
  damocles-manager util sealer proving simulate-wdpost --miner 10000
  damocles-manager util sealer proving simulate-wdpost --miner 10000 \\
      s-t010000-2 s-t010000-3"
    )]
    SimulateWdpost(SimulateArgs),
}

#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// The miner's actor id, e.g. 10000 for t010000
    #[arg(long, value_name = "ACTOR_ID")]
    pub miner: u64,
    /// The sectors, e.g. s-t010000-2 [default: all that can be proven]
    #[arg(value_name = "SECTOR")]
    pub sectors: Vec<SectorId>,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

pub(super) async fn run(session: &Session, command: ProvingCommand) -> Result<(), CliError> {
    let ProvingCommand::SimulateWdpost(SimulateArgs { miner, sectors, output }) = command;
    if let Some(other) = sectors.iter().find(|sector| sector.miner != miner) {
        return Err(CliError::new(Exit::Usage, format!("{other} is no sector of miner t0{miner}")));
    }
    let request = SimulateWdpost {
        id: Id::generate(),
        miner,
        sectors: sectors.iter().map(|sector| sector.number).collect(),
    };
    let queued = session.ask_sectors(&request).await?;
    print_done(
        &queued,
        &format!("job {}: {} sectors to prove", queued.job, queued.sectors),
        output,
    )?;
    if queued.left_out > 0 {
        note(&format!(
            "{} finished sectors are left out: their replica's commitment is not known",
            queued.left_out
        ));
    }
    Ok(())
}
