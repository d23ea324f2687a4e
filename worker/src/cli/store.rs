//! `store`: prepares directories by hand, as the worker does when it starts; shows and removes what
//! is left in them.

mod scan;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Subcommand;
use damocles_terminal::{CliError, Exit, print, printable};

use crate::store::{attached::AttachedStore, database::Store, location::Location, place};

#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Prepare locations of sealing threads
    #[command(
        after_help = "Example:\n  damocles-worker store sealing-init -l /mnt/nvme1/store /mnt/nvme2/store"
    )]
    SealingInit(LocationArgs),
    /// Prepare attached stores
    #[command(after_help = "Example:\n  damocles-worker store file-init -l /mnt/remote")]
    FileInit(LocationArgs),
    /// Show files of sectors that no thread works on, and remove them
    #[command(
        after_help = "A thread that learns that somebody else has finished its sector keeps the files aside
and takes the next one. Files that no record speaks of (not in hand) are found only
while no worker has the location.

Examples:
  damocles-worker store scan -c worker.toml
  damocles-worker store scan -l /mnt/nvme1/store /mnt/nvme2/store -o json
  damocles-worker store scan -c worker.toml --remove s-t010000-2
  damocles-worker store scan -c worker.toml --remove-all -f"
    )]
    Scan(scan::ScanArgs),
}

#[derive(clap::Args, Debug)]
pub struct LocationArgs {
    /// The directories; made if they are missing
    #[arg(
        short,
        long = "location",
        alias = "loc",
        value_name = "DIR",
        num_args = 1..,
        required = true
    )]
    pub locations: Vec<PathBuf>,
    /// Take directories that were used elsewhere as new ones: where a disk takes the place of
    /// another one
    #[arg(long)]
    pub as_new: bool,
}

pub(crate) async fn run(command: &StoreCommand, config: Option<&Path>) -> Result<(), CliError> {
    match command {
        // First of all it is made sure that nobody uses the location.
        StoreCommand::SealingInit(args) => prepare(args, "sealing location", |path| {
            let location = Location::at(path).map_err(|error| error.to_string())?;
            let store = Store::file(&location.store_file(), Arc::default());
            location.make(&store).map_err(|error| error.to_string())
        }),
        StoreCommand::FileInit(args) => prepare(args, "attached store", |path| {
            AttachedStore::make_directories(path).map_err(|error| error.to_string())
        }),
        StoreCommand::Scan(args) => scan::run(args, config).await,
    }
}

fn prepare(
    args: &LocationArgs,
    kind: &str,
    make: fn(&Path) -> Result<(), String>,
) -> Result<(), CliError> {
    for path in &args.locations {
        let failed = |error: String| {
            CliError::new(Exit::Failed, format!("cannot initialise {}: {error}", path.display()))
        };
        let path = std::path::absolute(path).map_err(|error| failed(error.to_string()))?;
        make(&path).map_err(failed)?;
        place::mark(&path, args.as_new).map_err(|error| failed(error.to_string()))?;
        print(&format!("{}: {kind} ready\n", printable(&path.display().to_string())))?;
    }
    Ok(())
}
