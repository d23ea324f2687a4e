//! The worker's process: start-up in phases, each consuming the one before. What it does then, and
//! how it stops, is [`crate::worker`].
//!
//! ```text
//!  Opened (stores locked, names checked) -> Connected (NATS, now or later) -> worker::Parts
//! ```
//! Its life: [`Opened::open`] makes what is missing and locks the locations, before anybody hears
//! of the worker; [`Opened::connect`] waits for no server; [`Connected::run`] starts the processors,
//! puts the [`Parts`] together and works until it is asked to stop. A phase that fails says what to
//! do ([`StartError`]), and its locks end with the process.
//!
//! What always holds:
//! - No two threads have one location, and no two attached stores one directory or one name,
//!   however they are spelled.
//! - Where another process has a location, this one does not start. Any other fault of a store, or
//!   a disk that is not mounted, holds up its own thread only.
//! - Processes that an earlier run has left are looked for only in locations whose store is open
//!   here: in others they may be somebody else's.
//! - Nothing is sealed without a store that can be written to, unless no plan keeps anything.
//!
//! Tests: the scenarios `stores::attached`, `stores::broken`, `cli::configuration`,
//! `bus::nats_outage` and `processors::deaths`.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use damocles_client::{
    connect::{ConnectError, Link, NatsSettings},
    nats::Connection,
};
use damocles_daemon::tasks::{TaskEnded, Tasks};
use futures::Stream;
use shared_msgs::name::WorkerName;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    bus::NatsBus,
    clock,
    config::{AttachedConfig, Config, ThreadConfig},
    plan::driver::Driver,
    processor::Processors,
    stage::Shared,
    store::{
        attached::AttachedStore,
        database::{Outgoing, Store, StoreError},
        location::Location,
        place::Places,
        sector_store::{self, SectorStore},
    },
    worker::{Parts, ThreadParts},
};

/// Why a worker does not start, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No thread is configured, so there is nothing to do.
    #[error("the configuration has no [[sealing_thread]]: add one with its location")]
    NoThreads,
    /// Two threads share a location.
    #[error(
        "sealing_thread #{first} ({first_path}) and #{second} ({second_path}) are the same location: give each its own"
    )]
    SameLocation {
        /// Index of the first.
        first: usize,
        /// As the configuration spells it.
        first_path: String,
        /// Index of the second.
        second: usize,
        /// As the configuration spells it.
        second_path: String,
    },
    /// There is nothing to prove or unseal either.
    #[error(
        "the configuration has no [[attached]]: add the stores that have the sectors, or are to have them"
    )]
    NoStore,
    /// Nothing can be kept.
    #[error(
        "no attached store can be written to: add an [[attached]] without readonly, or finished sectors have nowhere to go"
    )]
    NoWritableStore,
    /// Two attached stores are one.
    #[error("the attached stores {first} and {second} are the same directory: remove one of them")]
    SameStore {
        /// As the configuration spells it.
        first: String,
        /// As the configuration spells it.
        second: String,
    },
    /// A name must tell where a sector is.
    #[error(
        "the attached stores {first} and {second} have the same name {name:?}: give each its own"
    )]
    SameStoreName {
        /// As the configuration spells it.
        first: String,
        /// As the configuration spells it.
        second: String,
        /// The name that both of them have.
        name: String,
    },
    /// Stores cannot be looked for.
    #[error("{0}")]
    Scan(io::Error),
    /// A directory cannot be made.
    #[error("cannot initialise {path}: {error}")]
    Initialise {
        /// The directory, as the configuration spells it.
        path: String,
        /// What the operating system says.
        error: io::Error,
    },
    /// What directories were used before cannot be read.
    #[error(
        "{0}: it says which disk belongs where; if all of them are mounted, remove it, and it is made anew"
    )]
    Places(io::Error),
    /// A thread's store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The options for NATS can never work.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Something in it has ended: it must not go on half alive.
    #[error(transparent)]
    TaskEnded(#[from] TaskEnded),
}

// Where a thread is, and what became of opening its store.
struct Place {
    location: Location,
    store: Store,
    opened: Result<(), StoreError>,
}

/// A worker whose stores are open: no other process can have them.
pub struct Opened {
    config: Config,
    threads: Vec<Place>,
    places: Arc<Places>,
    outgoing: Arc<Outgoing>,
    attached: Vec<AttachedStore>,
}

impl Opened {
    /// Makes what is missing, checks, and locks the locations. What is remembered of them is in the
    /// state directory. A thread whose store cannot be used does not keep the others from starting.
    pub fn open(config: Config, state_directory: &Path) -> Result<Self, StartError> {
        if config.threads.is_empty() {
            return Err(StartError::NoThreads);
        }
        let places = Arc::new(Places::load(state_directory).map_err(StartError::Places)?);
        let locations = locate(&config.threads)?;
        let attached = attach(&config, &places)?;
        let outgoing = Arc::<Outgoing>::default();
        let threads = open_stores(locations, &outgoing, &places)?;
        Ok(Opened { config, threads, places, outgoing, attached })
    }

    /// Connects, now or as soon as NATS is there.
    pub async fn connect(
        self,
        name: WorkerName,
        settings: NatsSettings,
    ) -> Result<Connected, StartError> {
        let client_name = format!("damocles-worker {name}");
        let (Connection { client, .. }, link) = settings.connect_daemon(&client_name).await?;
        Ok(Connected { opened: self, name, settings, client, link })
    }
}

/// A worker that has its way to NATS, whether NATS is there or not.
pub struct Connected {
    opened: Opened,
    name: WorkerName,
    settings: NatsSettings,
    client: async_nats::Client,
    link: watch::Receiver<Link>,
}

impl Connected {
    /// Seals until it is `asked` to stop. Asked once more, stages that run are given up at once.
    pub async fn run(
        self,
        asked: impl Stream<Item = &'static str> + Send + Unpin,
    ) -> Result<(), StartError> {
        let Connected { opened, name, settings, client, link } = self;
        let Opened { config, threads, places, outgoing, attached } = opened;
        let bus = Arc::new(NatsBus {
            client,
            link,
            prefix: settings.prefix.clone(),
            worker: name.clone(),
            encoding: settings.encoding,
            timeout: settings.timeout,
            lease_ttl: settings.lease_ttl,
        });
        let tasks = Tasks::new();
        // Of a location whose store is not open, somebody else may have the processors.
        let opened: Vec<_> = threads
            .iter()
            .filter(|place| place.opened.is_ok())
            .map(|place| place.location.clone())
            .collect();
        let processors = Processors::start(&tasks.0, &config.processors, &opened);
        let shared = Arc::new(Shared {
            worker: name.to_string(),
            sector_manager: bus.clone(),
            processors,
            attached,
            local_pieces_dirs: config.local_pieces_dirs,
            static_tree_d: config.static_tree_d,
            piece_token: config.processors.piece_token,
        });
        let threads = threads.into_iter().zip(config.threads).map(|(place, config)| {
            let Place { location, store, opened } = place;
            ThreadParts { location, store, opened, config }
        });
        let parts = Parts {
            name,
            prefix: settings.prefix.clone(),
            ping_interval: config.ping_interval,
            grace: config.grace,
            store_patience: settings.store_patience,
            threads: threads.collect(),
            outgoing,
            places,
            steps: Arc::new(Driver { shared: shared.clone() }),
            bus,
            clock: clock::system,
            tasks,
        };
        let ready = parts.take_up().await;
        let worker = &ready.worker;
        info!(worker = %worker.name, threads = worker.threads.len(), servers = settings.servers(), "sealing");
        Ok(ready.run(asked, shared.processors.stop()).await?)
    }
}

/// An attached store, with what it is called.
pub(crate) struct NamedStore {
    /// Its directory, as the configuration spells it.
    pub(crate) location: PathBuf,
    /// Nothing is written to it.
    pub(crate) readonly: bool,
    name: String,
    earlier_name: Option<String>,
    meta: BTreeMap<String, String>,
}

/// Finds and names the attached stores. Refuses those that are one directory or have one name, and
/// if there is none that finished sectors can go to. Makes nothing.
pub(crate) fn name_stores(config: &Config) -> Result<Vec<NamedStore>, StartError> {
    let configured = config.attached.iter().cloned().map(|store| {
        let AttachedConfig { name, location, readonly } = store;
        SectorStore { location, name, readonly, meta: BTreeMap::new() }
    });
    let found = sector_store::scan(&config.scan_persist_stores).map_err(StartError::Scan)?;
    let mut stores: Vec<NamedStore> = vec![];
    let mut seen: HashMap<PathBuf, String> = HashMap::new();
    for store in configured.chain(found) {
        let spelled = store.location.display().to_string();
        let at = Location::at(&store.location)
            .map_err(|error| StartError::Initialise { path: spelled.clone(), error })?;
        let canonical = at.canonical().unwrap_or_else(|_| at.path().to_owned());
        if let Some(first) = seen.insert(canonical.clone(), spelled.clone()) {
            return Err(StartError::SameStore { first, second: spelled });
        }
        let SectorStore { location, name: given, readonly, meta } = store;
        let name = given.clone().unwrap_or_else(|| canonical.display().to_string());
        if let Some(first) = stores.iter().find(|earlier| earlier.name == name) {
            let first = first.location.display().to_string();
            return Err(StartError::SameStoreName { first, second: spelled, name });
        }
        let earlier_name = (given.is_none() && name != spelled).then_some(spelled);
        stores.push(NamedStore { location, readonly, name, earlier_name, meta });
    }
    if stores.is_empty() {
        return Err(StartError::NoStore);
    }
    // A thread's own file may give it another plan than the worker's.
    let plan = |thread: &ThreadConfig| {
        thread.hot.read(&thread.location).map_or(thread.hot.plan, |(plan, _)| plan)
    };
    if stores.iter().all(|store| store.readonly)
        && config.threads.iter().any(|thread| plan(thread).persists())
    {
        return Err(StartError::NoWritableStore);
    }
    Ok(stores)
}

fn attach(config: &Config, places: &Places) -> Result<Vec<AttachedStore>, StartError> {
    let attach = |named: NamedStore| {
        let NamedStore { location, readonly, name, earlier_name, meta } = named;
        let attached =
            AttachedStore::attach(name, &location, readonly, places).map_err(|error| {
                StartError::Initialise { path: location.display().to_string(), error }
            })?;
        if let Err(error) = attached.path.canonicalize() {
            // Whoever needs it waits for it.
            warn!(path = %attached.path.display(), %error, "an attached store is not there");
        }
        Ok(AttachedStore { earlier_name, meta, ..attached })
    };
    name_stores(config)?.into_iter().map(attach).collect()
}

/// The threads' locations. Refuses those that are one directory. Makes nothing.
pub(crate) fn locate(threads: &[ThreadConfig]) -> Result<Vec<Location>, StartError> {
    let mut locations = Vec::with_capacity(threads.len());
    let mut seen: HashMap<PathBuf, usize> = HashMap::new();
    for (second, thread) in threads.iter().enumerate() {
        let refused =
            |error| StartError::Initialise { path: thread.location.display().to_string(), error };
        let location = Location::at(&thread.location).map_err(refused)?;
        if let Some(first) = seen.insert(location.canonical().map_err(refused)?, second) {
            let spelled = |index: usize| threads[index].location.display().to_string();
            return Err(StartError::SameLocation {
                first,
                first_path: spelled(first),
                second,
                second_path: spelled(second),
            });
        }
        locations.push(location);
    }
    Ok(locations)
}

// Side by side: a new store costs several syncs of its disk, and a worker may have tens of them.
fn open_stores(
    locations: Vec<Location>,
    outgoing: &Arc<Outgoing>,
    places: &Places,
) -> Result<Vec<Place>, StoreError> {
    let stores: Vec<_> = locations
        .iter()
        .map(|location| Store::file(&location.store_file(), outgoing.clone()))
        .collect();
    let opened: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> = locations
            .iter()
            .zip(&stores)
            .map(|(location, store)| scope.spawn(|| location.open(store, places)))
            .collect();
        let ended = opening.into_iter().zip(&locations).map(|(opening, location)| {
            let path = location.store_file().display().to_string();
            opening.join().unwrap_or_else(|_| {
                Err(StoreError::Damaged { path, error: "opening it panicked".into() })
            })
        });
        ended.collect()
    });
    let places = locations.into_iter().zip(stores).zip(opened).map(
        |((location, store), opened)| match opened {
            // Nobody can be beside another process.
            Err(in_use @ StoreError::InUse(_)) => Err(in_use),
            opened => Ok(Place { location, store, opened }),
        },
    );
    places.collect()
}
