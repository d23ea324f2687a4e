//! `generator`: makes what proofs need in development. Progress is for people, and goes to stderr.

#[cfg(feature = "builtin-proofs")]
mod groth_params;
#[cfg(feature = "builtin-proofs")]
mod parents_cache;
#[cfg(feature = "builtin-proofs")]
mod progress;
#[cfg(feature = "builtin-proofs")]
mod tree_d;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use damocles_terminal::{CliError, sector_size};
use shared_msgs::sector_manager::SectorSize;

#[derive(Subcommand, Debug)]
pub enum GeneratorCommand {
    /// Make Groth16 parameters for development, never for mainnet
    #[command(
        after_help = "They are drawn on this machine: good enough to try everything with small sectors, worth nothing on a real
network, whose parameters are downloaded. What is there already is kept. 2KiB takes about 20 minutes on 2 cores,
of which window-post is 8 seconds; the larger sizes take hours.

Examples:
  damocles-worker generator groth-params --sector-size 2KiB
  damocles-worker generator groth-params --sector-size 2KiB --for window-post \\
      --path ./parameters
  FIL_PROOFS_PARAMETER_CACHE=./parameters damocles-worker daemon -c worker.toml"
    )]
    GrothParams(GrothParamsArgs),
    /// Make or check the parents cache that PC1 reads, before the first sector of a machine needs
    /// it
    #[command(
        after_help = "PC1 does this itself where it is missing. It has 1.75 times the sector's size: 56 GiB for 32GiB.
One that nobody has noted to be whole is compared with what it should be, and made again if it differs.

Examples:
  damocles-worker generator parents-cache --sector-size 32GiB
  damocles-worker generator parents-cache --sector-size 32GiB \\
      --path /mnt/nvme/filecoin-parents
  FIL_PROOFS_PARENT_CACHE=/mnt/nvme/filecoin-parents \\
      damocles-worker daemon -c worker.toml"
    )]
    ParentsCache(ParentsCacheArgs),
    /// Make tree-d of a sector of zeros, for processors.static_tree_d
    #[command(
        after_help = "Sectors without deals have it in common, and TreeD takes it as it is. It has twice the sector's size: 64 GiB for 32GiB.

Example:
  damocles-worker generator tree-d --sector-size 32GiB --path /mnt/nvme/tree-d-32GiB"
    )]
    TreeD(TreeDArgs),
}

/// Which tree, and where to.
#[derive(Args, Debug)]
pub struct TreeDArgs {
    /// The sectors' size; -s too
    #[arg(long, value_parser = sector_size(), ignore_case = true)]
    pub sector_size: SectorSize,
    /// The directory for sc-02-data-tree-d.dat
    #[arg(short, long, value_name = "DIR")]
    pub path: PathBuf,
}

/// Which parents cache, and where to.
#[derive(Args, Debug)]
pub struct ParentsCacheArgs {
    /// The sectors' size
    #[arg(long, value_parser = sector_size(), ignore_case = true)]
    pub sector_size: SectorSize,
    /// The kind of PoRep, for each has a graph of its own
    #[arg(long = "for", value_enum, default_value_t = PorepKind::Interactive)]
    pub kind: PorepKind,
    /// The directory [default: FIL_PROOFS_PARENT_CACHE, else the one of the proofs library]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

/// Which parameters, and where to.
#[derive(Args, Debug)]
pub struct GrothParamsArgs {
    /// The sectors' size; those of mainnet, 32GiB and 64GiB, have parameters that are downloaded
    #[arg(long, value_parser = sector_size(), ignore_case = true)]
    pub sector_size: SectorSize,
    /// Which proofs they are for; porep is for snapup too, which begins with a sealed sector
    #[arg(long = "for", value_enum, default_value_t = Purpose::All)]
    pub purpose: Purpose,
    /// The directory [default: FIL_PROOFS_PARAMETER_CACHE, else the one of the proofs library]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PorepKind {
    /// With a seed from the chain
    Interactive,
    /// With synthetic challenges (FIP-0059)
    Synthetic,
    /// Of the plan niporep (FIP-0092)
    NonInteractive,
}

/// What the parameters are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// Sealing, in all its forms
    Porep,
    /// Putting deals into sealed sectors
    Update,
    /// Proving that sectors are still there
    WindowPost,
    /// Everything
    All,
}

/// Makes what the command names.
#[cfg(feature = "builtin-proofs")]
pub(crate) async fn run(command: &GeneratorCommand) -> Result<(), CliError> {
    match command {
        GeneratorCommand::GrothParams(args) => groth_params::run(args).await,
        GeneratorCommand::ParentsCache(args) => parents_cache::run(args).await,
        GeneratorCommand::TreeD(args) => tree_d::run(args).await,
    }
}

#[cfg(not(feature = "builtin-proofs"))]
pub(crate) async fn run(_: &GeneratorCommand) -> Result<(), CliError> {
    use damocles_terminal::Exit;

    let error = CliError::new(
        Exit::Failed,
        "this damocles-worker is built without builtin-proofs: it knows neither circuits nor graphs",
    );
    Err(error.hint("build one with the default features; it can write the files for this one too"))
}
