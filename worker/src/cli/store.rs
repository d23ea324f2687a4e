//! `store`: prepares directories by hand; the worker does the same when it starts.

use std::{path::PathBuf, sync::Arc};

use clap::Subcommand;
use shared_msgs::cli::{CliError, Exit, print};

use crate::store::{attached::AttachedStore, database::Store, location::Location, place};

/// The kinds of directories.
#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Prepare locations of sealing threads
    #[command(after_help = "Example:\n  damocles-worker store sealing-init -l /mnt/nvme1/store /mnt/nvme2/store")]
    SealingInit(LocationArgs),
    /// Prepare attached stores
    #[command(after_help = "Example:\n  damocles-worker store file-init -l /mnt/remote")]
    FileInit(LocationArgs),
}

/// Which directories.
#[derive(clap::Args, Debug)]
pub struct LocationArgs {
    /// The directories; made if they are missing
    #[arg(short, long = "location", value_name = "DIR", num_args = 1.., required = true)]
    pub locations: Vec<PathBuf>,
    /// Take directories that were used elsewhere as new ones: where a disk takes the place of another one
    #[arg(long)]
    pub as_new: bool,
}

/// Prepares them.
pub fn run(command: &StoreCommand) -> Result<(), CliError> {
    let (kind, LocationArgs { locations, as_new }) = match command {
        StoreCommand::SealingInit(args) => ("sealing location", args),
        StoreCommand::FileInit(args) => ("attached store", args),
    };
    for path in locations {
        let failed = |error: String| CliError::new(Exit::Failed, format!("cannot initialise {}: {error}", path.display()));
        let path = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
        // First of all it is made sure that nobody uses the location.
        if matches!(command, StoreCommand::SealingInit(_)) {
            let location = Location::at(&path).map_err(|error| failed(error.to_string()))?;
            let store = Store::file(&location.store_file(), Arc::default());
            location.make(&store).map_err(|error| failed(error.to_string()))?;
        } else {
            AttachedStore::make_directories(&path).map_err(|error| failed(error.to_string()))?;
        }
        place::mark(&path, *as_new).map_err(|error| failed(error.to_string()))?;
        print(&format!("{}: {kind} ready\n", path.display()))?;
    }
    Ok(())
}
