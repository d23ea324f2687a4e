//! `util sealer proving`: having sealed sectors proven.

use clap::{Args, Subcommand};
use damocles_terminal::{CliError, Exit, ReplyOutput, note, print_done};
use shared_msgs::{id::Id, sector_manager::SectorId, sectors::SimulateWdpost};

use super::{sectors::actor, session::Session};

/// Of which miner, and what.
#[derive(Args, Debug)]
pub struct ProvingArgs {
    /// The miner: its actor id, 10000, or t010000
    #[arg(long, value_name = "ACTOR_ID", global = true, value_parser = actor)]
    pub miner: Option<u64>,
    #[command(subcommand)]
    pub command: ProvingCommand,
}

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
    /// The deadline, as damocles-manager wants it: here there are none
    #[arg(long, value_name = "N", hide = true)]
    pub ddl_idx: Option<u64>,
    /// The partition of it
    #[arg(long, value_name = "N", hide = true)]
    pub partition_idx: Option<u64>,
    /// Its faulty sectors too
    #[arg(long, hide = true)]
    pub include_faulty: bool,
    /// The sectors, e.g. s-t010000-2 [default: all that can be proven]
    #[arg(value_name = "SECTOR")]
    pub sectors: Vec<SectorId>,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

pub(super) async fn run(session: &Session, args: ProvingArgs) -> Result<(), CliError> {
    let ProvingArgs { miner, command } = args;
    let ProvingCommand::SimulateWdpost(simulated) = command;
    let SimulateArgs { sectors, output, ddl_idx, partition_idx, .. } = simulated;
    let Some(miner) = miner else {
        return Err(CliError::new(Exit::Usage, "--miner is missing: say whose sectors to prove"));
    };
    if ddl_idx.or(partition_idx).is_some() {
        note(
            "the mock sector manager has no deadlines and partitions: sectors are chosen by name, or all of them",
        );
    }
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
