//! `generator groth-params`: one part after the other, each whole before it gets its name.

use std::{path::Path, time::Duration};

use damocles_terminal::{CliError, Exit, Stop, note};
use indicatif::HumanBytes;
use shared_msgs::{duration::human_secs, sector_manager::SectorSize};
use tokio::{
    task::spawn_blocking,
    time::{Instant, interval},
};

use super::{
    GrothParamsArgs, Purpose,
    progress::{Progress, line},
};
use sealing_proofs::parameters::{
    DevelopmentSize, Part,
    files::{Claim, Found},
    parameter_cache_dir,
};

pub(super) async fn run(args: &GrothParamsArgs) -> Result<(), CliError> {
    let size = development_size(args.sector_size)?;
    if args.sector_size != SectorSize::S2KiB {
        note("parameters for sectors larger than 2KiB take hours and tens of GiB of memory");
    }
    note(
        "these are development parameters: never use them on mainnet, whose parameters are downloaded",
    );
    let directory = args.path.clone().unwrap_or_else(parameter_cache_dir);
    let mut stop = Stop::listen()?;
    let _claim = claim(&directory, &mut stop).await?;
    for part in args.purpose.parts() {
        provide(*part, size, args.sector_size, &directory, &mut stop).await?;
    }
    Ok(())
}

async fn provide(
    part: Part,
    size: DevelopmentSize,
    shown: SectorSize,
    directory: &Path,
    stop: &mut Stop,
) -> Result<(), CliError> {
    let name = format!("{} {}", shown.name(), part.name());
    let shown_directory = directory.display();
    match part.find(size, directory).map_err(failed)? {
        Found::Whole => {
            line(&format!("{name}: already in {shown_directory}"));
            return Ok(());
        }
        Found::KeyMissing => {
            part.complete(size, directory).map_err(failed)?;
            line(&format!(
                "{name}: already in {shown_directory}, the verifying key was written anew"
            ));
            return Ok(());
        }
        Found::Broken(path) => {
            note(&format!("{} is no whole file, it is replaced", path.display()))
        }
        Found::Missing => {}
    }
    let started = Instant::now();
    let progress = Progress::start(&name);
    let making = progress.wait("making parameters", spawn_blocking(move || part.make(size)), stop);
    let made = making.await?.map_err(failed)?.map_err(failed)?;
    // Not to be interrupted: it takes seconds, and a signal is seen right after it.
    progress.say("writing");
    let bytes = made.keep(directory).map_err(failed)?;
    progress.end();
    line(&format!(
        "{name}: made in {}, {} in {shown_directory}",
        human_secs(started.elapsed()),
        HumanBytes(bytes)
    ));
    Ok(())
}

async fn claim(directory: &Path, stop: &mut Stop) -> Result<Claim, CliError> {
    let take = || Claim::try_take(directory).map_err(failed);
    if let Some(claim) = take()? {
        return Ok(claim);
    }
    let progress = Progress::start(&directory.display().to_string());
    let mut again = interval(Duration::from_millis(200));
    let taking = async {
        loop {
            again.tick().await;
            if let Some(claim) = take().transpose() {
                return claim;
            }
        }
    };
    let claim = progress.wait("waiting for another generator", taking, stop).await?;
    progress.end();
    claim
}

fn failed(error: impl ToString) -> CliError {
    CliError::new(Exit::Failed, error)
}

fn development_size(size: SectorSize) -> Result<DevelopmentSize, CliError> {
    DevelopmentSize::of(size.bytes()).ok_or_else(|| {
        let name = size.name();
        let message = format!("parameters for {name} sectors cannot be made here: those of the network come from its trusted setup");
        CliError::new(Exit::Usage, message)
            .hint(format!("download them into FIL_PROOFS_PARAMETER_CACHE, e.g. with `lotus fetch-params {name}`"))
    })
}

impl Purpose {
    // What is ready soonest comes first.
    fn parts(self) -> &'static [Part] {
        match self {
            Purpose::Porep => &[Part::Aggregation, Part::PoRep],
            Purpose::Update => &[Part::Update],
            Purpose::WindowPost => &[Part::WindowPost],
            Purpose::All => &[Part::WindowPost, Part::Aggregation, Part::Update, Part::PoRep],
        }
    }
}
