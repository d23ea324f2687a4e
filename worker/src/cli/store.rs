//! `store`: prepares directories by hand, as the worker does when it starts; shows and removes what is left in them.

mod scan;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Subcommand;
use shared_msgs::cli::{CliError, Exit, print};

use crate::store::{attached::AttachedStore, database::Store, location::Location};

/// The kinds of directories.
#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Prepare locations of sealing threads
    #[command(after_help = "Example:\n  damocles-worker store sealing-init -l /mnt/nvme1/store /mnt/nvme2/store")]
    SealingInit(LocationArgs),
    /// Prepare attached stores
    #[command(after_help = "Example:\n  damocles-worker store file-init -l /mnt/remote")]
    FileInit(LocationArgs),
    /// Show files of sectors that no thread works on, and remove them
    #[command(after_help = "A thread that learns that somebody else has finished its sector keeps the files aside
and takes the next one. Files that no record speaks of (not in hand) are found only
while no worker has the location.

Examples:
  damocles-worker store scan -c worker.toml
  damocles-worker store scan -l /mnt/nvme1/store /mnt/nvme2/store -o json
  damocles-worker store scan -c worker.toml --remove s-t010000-2
  damocles-worker store scan -c worker.toml --remove-all -f")]
    Scan(scan::ScanArgs),
}

/// Which directories.
#[derive(clap::Args, Debug)]
pub struct LocationArgs {
    /// The directories; made if they are missing
    #[arg(short, long = "location", value_name = "DIR", num_args = 1.., required = true)]
    pub locations: Vec<PathBuf>,
}

/// Does it.
pub fn run(command: &StoreCommand) -> Result<(), CliError> {
    match command {
        StoreCommand::SealingInit(args) => prepare(args, "sealing location", |path| {
            let location = Location::initialise(path).map_err(|error| error.to_string())?;
            Store::open(&location.store_file(), Arc::default()).map_err(|error| error.to_string())?;
            Ok(location.path().to_owned())
        }),
        StoreCommand::FileInit(args) => {
            prepare(args, "attached store", |path| AttachedStore::initialise(path).map_err(|error| error.to_string()))
        }
        StoreCommand::Scan(args) => scan::run(args),
    }
}

fn prepare(args: &LocationArgs, kind: &str, initialise: fn(&Path) -> Result<PathBuf, String>) -> Result<(), CliError> {
    for path in &args.locations {
        let failed = |error| CliError::new(Exit::Failed, format!("cannot initialise {}: {error}", path.display()));
        print(&format!("{}: {kind} ready\n", initialise(path).map_err(failed)?.display()))?;
    }
    Ok(())
}
