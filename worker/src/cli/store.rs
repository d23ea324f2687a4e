//! `store`: prepares directories by hand; the worker does the same when it starts.

use std::{path::PathBuf, sync::Arc};

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
}

/// Which directories.
#[derive(clap::Args, Debug)]
pub struct LocationArgs {
    /// The directories; made if they are missing
    #[arg(short, long = "location", value_name = "DIR", num_args = 1.., required = true)]
    pub locations: Vec<PathBuf>,
}

/// Prepares them.
pub fn run(command: &StoreCommand) -> Result<(), CliError> {
    let (kind, locations) = match command {
        StoreCommand::SealingInit(args) => ("sealing location", &args.locations),
        StoreCommand::FileInit(args) => ("attached store", &args.locations),
    };
    for path in locations {
        let failed = |error: String| CliError::new(Exit::Failed, format!("cannot initialise {}: {error}", path.display()));
        let ready = match command {
            StoreCommand::SealingInit(_) => {
                let location = Location::initialise(path).map_err(|error| failed(error.to_string()))?;
                Store::open(&location.store_file(), Arc::default()).map_err(|error| failed(error.to_string()))?;
                location.path().to_owned()
            }
            StoreCommand::FileInit(_) => AttachedStore::initialise(path).map_err(|error| failed(error.to_string()))?,
        };
        print(&format!("{}: {kind} ready\n", ready.display()))?;
    }
    Ok(())
}
