//! `check`: whether a worker could start with a configuration, and do its work. Nothing is made,
//! changed or registered, and a store is locked for no longer than it is read.

use std::path::Path;

use async_nats::{Client, jetstream};
use clap::Args;
use damocles_client::{
    connect::{NatsOptions, NatsSettings},
    lease,
};
use damocles_terminal::{CliError, ReplyOutput, checks::Checks, counted};
use shared_msgs::{codec::decode, lease::Lease, name::WorkerName};

use crate::{
    config::{Config, ThreadConfig, hot},
    daemon::{locate, name_stores},
    processor::{placement, processes::Process, program, settings::Settings},
    store::{
        database::{Look, StoreError},
        files::writable,
        location::Location,
        place::{Places, state_directory},
    },
};

mod sector_manager;

/// How to print what was found.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ReplyOutput,
}

pub(crate) async fn run(nats: &NatsOptions, file: &Path, args: &CheckArgs) -> Result<(), CliError> {
    let mut checks = Checks::default();
    let check = format!("configuration {}", file.display());
    match Config::load(file) {
        Err(error) => checks.mistakes(&check, &error),
        Ok((config, warnings)) => {
            let threads = counted(config.threads.len(), "sealing thread");
            let stores = counted(config.attached.len(), "attached store");
            checks.fine(check.as_str(), format!("{threads}, {stores}"));
            for warning in warnings {
                checks.warn(check.as_str(), warning);
            }
            disks(&mut checks, &config);
            processors(&mut checks, &config);
            bus(&mut checks, nats, &config).await;
        }
    }
    checks.finish(args.output)
}

fn disks(checks: &mut Checks, config: &Config) {
    let state = state_directory();
    let check = format!("state directory {}", state.display());
    let places = match Places::load(&state) {
        Ok(places) => {
            checks.looked(check, writable(&state));
            places
        }
        Err(error) => return checks.failed(check, error, None),
    };
    match locate(&config.threads) {
        Ok(_) if config.threads.is_empty() => {
            checks.failed("sealing threads", crate::daemon::StartError::NoThreads, None);
        }
        Ok(locations) => {
            for (index, (thread, location)) in config.threads.iter().zip(&locations).enumerate() {
                let check = format!("sealing_thread #{index} {}", thread.location.display());
                self::location(checks, &check, location, &places);
                own_file(checks, &check, thread);
            }
        }
        Err(error) => checks.failed("sealing threads", error, None),
    }
    // Those that are configured are looked at even if they cannot be used together.
    let mut stores: Vec<_> =
        config.attached.iter().map(|store| (store.location.clone(), store.readonly)).collect();
    match name_stores(config) {
        Ok(named) => {
            let found = named.into_iter().skip(stores.len());
            stores.extend(found.map(|store| (store.location, store.readonly)));
        }
        Err(error) => checks.failed("attached stores", error, None),
    }
    for (index, (location, readonly)) in stores.iter().enumerate() {
        let check = format!("attached #{index} {}", location.display());
        checks.looked(check, attached(location, *readonly, &places));
    }
    for directory in &config.local_pieces_dirs {
        let check = format!("local_pieces_dirs {}", directory.display());
        if directory.is_dir() {
            checks.looked(check, writable(directory));
        } else {
            checks.failed(check, "there is no such directory", Some("make it, or leave it out"));
        }
    }
}

fn location(checks: &mut Checks, check: &str, location: &Location, places: &Places) {
    let usable = match writable(location.path()) {
        Ok(usable) => usable,
        Err(error) => return checks.failed(check, error, None),
    };
    match location.look(places) {
        Ok(Look::None) => checks.fine(check, format!("{usable}; its store is made at the start")),
        Ok(Look::TooLarge) => {
            checks.fine(check, format!("{usable}; its store was not closed, the start repairs it"));
        }
        Ok(Look::Read { record, closed }) => {
            let store = if closed { "is whole" } else { "is repaired at the start" };
            let in_hand = record.as_ref().and_then(|record| Some(record.sector()?.allocated.id));
            let hand = in_hand.map_or_else(|| "no sector".to_owned(), |sector| sector.to_string());
            checks.fine(check, format!("{usable}; its store {store}, with {hand} in hand"));
        }
        Err(StoreError::InUse(path)) => {
            let by = match Process::holding(Path::new(&path)) {
                Some(holder) => format!("process {} ({})", holder.pid, holder.name),
                None => "another process".to_owned(),
            };
            let way_out = "a second worker cannot start beside it: stop that process first, unless it is this worker";
            checks.failed(check, format!("{path} is in use by {by}"), Some(way_out));
        }
        Err(error) => checks.failed(check, error, None),
    }
}

fn own_file(checks: &mut Checks, check: &str, thread: &ThreadConfig) {
    if !thread.location.join(hot::FILE_NAME).exists() {
        return;
    }
    let check = format!("{check}, its {}", hot::FILE_NAME);
    match thread.hot.read(&thread.location) {
        Ok((plan, _)) => checks.fine(check, format!("plan {plan}")),
        Err(error) => checks.failed(check, error, None),
    }
}

fn attached(location: &Path, readonly: bool, places: &Places) -> Result<String, String> {
    let path = std::path::absolute(location).map_err(|error| error.to_string())?;
    if !readonly || places.remembered(&path).is_some() {
        places.look(&path).map_err(|error| error.to_string())?;
    }
    if !readonly {
        return writable(&path).map(Into::into);
    }
    match path.read_dir() {
        Ok(_) => Ok("can be read; nothing is written to it".into()),
        Err(error) => Err(format!("cannot be read: {error}; is its disk mounted?")),
    }
}

fn processors(checks: &mut Checks, config: &Config) {
    let stages = config.processors.stages.iter().map(|(stage, of)| (stage.as_str(), of));
    let all = stages.chain([("sealing_daemons", &config.processors.daemons)]);
    for (kind, processors) in all {
        for (index, settings) in processors.iter().enumerate() {
            processor(checks, format!("processors.{kind} #{index}"), settings);
        }
    }
}

fn processor(checks: &mut Checks, check: String, settings: &Settings) {
    match &settings.bin {
        None => checks.fine(check.as_str(), "runs this program"),
        Some(bin) => match program::find(bin, settings) {
            Ok(path) => checks.fine(check.as_str(), format!("runs {}", path.display())),
            Err(error) => {
                let way_out = "name a program with its path, or put it on the PATH of the worker";
                checks.failed(check.as_str(), error, Some(way_out));
            }
        },
    }
    for doubt in placement::doubts(settings) {
        checks.warn(check.as_str(), doubt);
    }
}

async fn bus(checks: &mut Checks, nats: &NatsOptions, config: &Config) {
    let settings = match NatsSettings::new(nats, &config.nats) {
        Ok(settings) => settings,
        Err(error) => return checks.refused("[nats]", error),
    };
    let name = match super::target::name(None, config.name.as_deref(), &settings) {
        Ok(name) => name,
        Err(error) => return checks.failed("worker.name", error.message, None),
    };
    checks.fine("worker.name", &name);
    if let Some(client) = checks.nats(&settings, "damocles-worker check").await {
        holder(checks, &client, &settings, &name).await;
        sector_manager::check(checks, &client, &settings, &name).await;
    }
}

// Whether another process holds the name; without a lease bucket nobody does.
async fn holder(checks: &mut Checks, client: &Client, settings: &NatsSettings, name: &WorkerName) {
    let jetstream = jetstream::new(client.clone());
    let Ok(Some((bucket, _))) = lease::existing_bucket(&jetstream, &settings.prefix).await else {
        return;
    };
    let check = format!("lease of {name}");
    match bucket.get(shared_msgs::lease::key(name)).await {
        Ok(None) => checks.fine(check, "nobody holds it"),
        Ok(Some(entry)) => match decode::<Lease>(&entry) {
            Ok(Lease { pid, host, .. }) => checks.warn(
                check,
                format!(
                    "it is held by process {pid} on {host}: a second one of the name stands by"
                ),
            ),
            Err(error) => checks.failed(check, format!("its entry cannot be read: {error}"), None),
        },
        Err(error) => checks.failed(check, format!("it cannot be read: {error}"), None),
    }
}
