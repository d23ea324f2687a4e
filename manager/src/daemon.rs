//! A manager's life, from its connection to its end. It owns no state, so it may end anywhere, and
//! another one answers.
//!
//! ```text
//!  connect ──▶ subscribe states ──▶ load ──▶ join queue groups, "ready" ──▶ shutdown: leave them, finish, drain, close
//!   (waits for NATS)                (or: no JetStream)
//! ```
//! It hears the workers' states before it loads what is stored of them, so that none is missed
//! between the two. Who answers for the sector manager, a mock or a relay, does over the same connection.
//!
//! What always holds:
//! - Nothing is answered before the registry has what is stored, or there is no JetStream to load it
//!   from.
//! - Each of its tasks lasts as long as the manager: one that ends before ends it, and is named.
//! - Once it is asked to stop it leaves the queue groups, so that requests go to others, and answers
//!   those that it has; neither this nor leaving the bus takes for ever.
//! - The address of the pieces is taken before anybody can hear of it.
//!
//! Tests: this module's, and the scenarios `managers::several`, `bus::half_alive`,
//! `bus::state_bucket` and `mock::*`.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, connection::State, service::ServiceExt};
use damocles_client::connect::{Link, NatsSettings};
use damocles_daemon::tasks::endless;
use damocles_terminal::{CliError, Exit};
use futures::{FutureExt, future::Shared};
use shared_msgs::subject::{API_QUEUE, Prefix, SECTOR_MANAGER_QUEUE};
use tokio::{net::TcpListener, sync::watch};
use tracing::{info, warn};

use crate::{
    bus::{
        SharedRegistry, api::Api, bucket_watch, ingest::Ingest, leases::Leases, responder,
        stillness, streams,
    },
    mock::{Mock, Offer, PiecesOffer, http, pieces::PieceFiles},
    relay::{self, Relay, RelayTo},
};

const SERVICE_NAME: &str = "damocles-manager";
// For the connection to drain.
const GRACE: Duration = Duration::from_secs(3);

/// Who answers for the sector manager, beside the manager itself.
#[derive(Clone, Debug)]
pub(crate) enum SectorManager {
    /// Another one does, or another program.
    Elsewhere,
    /// A mock, which offers this.
    Mock(Offer),
    /// A damocles sector manager that already runs.
    Relay(RelayTo),
}

// The same with what it needs taken.
enum Answering {
    Elsewhere,
    Mock(Offer, Option<ServedPieces>),
    Relay(RelayTo),
}

/// Runs a manager until `shutdown`, and beside it what answers for the sector manager.
pub(crate) async fn run(
    settings: &NatsSettings,
    sector_manager: SectorManager,
    shutdown: impl Future<Output = ()>,
) -> Result<(), CliError> {
    let answering = match sector_manager {
        SectorManager::Elsewhere => Answering::Elsewhere,
        SectorManager::Relay(to) => Answering::Relay(to),
        SectorManager::Mock(offer) => {
            let served = match &offer.pieces {
                Some(pieces) => Some(offer_pieces(pieces).await?),
                None => None,
            };
            Answering::Mock(offer, served)
        }
    };
    let (connection, link) = settings.connect_daemon("damocles-manager").await?;
    let client = connection.client.clone();
    let prefix = &settings.prefix;
    let registry = SharedRegistry::new(prefix.clone(), settings.store_patience);
    let ingest = Ingest::new(prefix.clone(), registry.clone());
    let states = client.subscribe(prefix.state_of_all()).await.map_err(closed)?;
    let (loaded_sender, loaded) = watch::channel(false);

    let (bucket_trouble, trouble) = watch::channel(None);
    let leases = Leases::new(prefix.clone(), registry.clone(), settings.lease_ttl);

    let following = async {
        tokio::select! {
            ended = endless("hears the workers' states", ingest.live(states)) => ended,
            ended = endless("follows the state bucket", ingest.stored(&client, link.clone(), loaded_sender)) => ended,
            ended = endless("follows the workers' leases", leases.follow(&client, link.clone())) => ended,
            ended = endless("watches whether states are stored", stillness::watch(&registry, settings.store_patience)) => ended,
            ended = endless("keeps the stream of events", streams::keep_events(&client, prefix, link.clone())) => ended,
            ended = endless("watches the state bucket", bucket_watch::watch(&client, prefix, link.clone(), bucket_trouble)) => ended,
        }
    };
    let api = Api::new(connection, prefix.clone(), registry.clone(), trouble, settings.timeout);
    let serving = serve(&client, prefix, api, answering, loaded, shutdown);
    tokio::select! {
        served = serving => served?,
        ended = following => return Err(CliError::new(Exit::Failed, ended)),
    }
    close(&client, link).await;
    Ok(())
}

type ServedPieces = (TcpListener, Arc<PieceFiles>);

// The address is taken before anybody can hear of it.
async fn offer_pieces(offer: &PiecesOffer) -> Result<ServedPieces, CliError> {
    let PiecesOffer { directory, listen, url } = offer;
    let failed = |what: String, error: std::io::Error| {
        CliError::new(Exit::Failed, format!("{what}: {error}"))
    };
    std::fs::read_dir(directory).map_err(|error| {
        failed(format!("the directory of pieces {} cannot be read", directory.display()), error)
            .hint("name another one with --pieces")
    })?;
    let (listener, bound) = http::bind(*listen).await.map_err(|error| {
        failed(format!("pieces cannot be served on {listen}"), error)
            .hint("name another address with --http-listen")
    })?;
    let url = url.clone().unwrap_or_else(|| format!("http://{bound}"));
    info!(directory = %directory.display(), address = %bound, url, "pieces");
    Ok((listener, Arc::new(PieceFiles::new(directory.clone(), url))))
}

async fn serve(
    client: &Client,
    prefix: &Prefix,
    api: Api,
    sector_manager: Answering,
    mut loaded: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), CliError> {
    let stop = shutdown.shared();
    tokio::select! {
        _ = loaded.wait_for(|loaded| *loaded) => {}
        () = stop.clone() => return Ok(()),
    }
    let requests =
        client.queue_subscribe(prefix.api("*"), API_QUEUE.into()).await.map_err(closed)?;
    // So that `nats service ls` shows who answers. Requests go to a queue group of their own.
    let _listed = client
        .service_builder()
        .description(format!("damocles manager, {}", prefix.api("*")))
        .start(SERVICE_NAME, env!("CARGO_PKG_VERSION"))
        .await
        .map_err(closed)?;
    let takes_long = |subject: &str| Api::takes_long(last_token(subject));
    let answering = responder::serve(
        client,
        requests,
        responder::PLACES,
        stop.clone(),
        takes_long,
        async |subject: &str, body| api.handle(last_token(subject), body).await,
    );
    let answering = until_stop("answers the tools", answering, &stop);
    let beside = async {
        match sector_manager {
            Answering::Elsewhere => {
                info!(%prefix, "ready");
                Ok(())
            }
            Answering::Mock(offer, served) => mock(client, prefix, offer, served, &stop).await,
            Answering::Relay(to) => relayed(client, prefix, to, &stop).await,
        }
    };
    tokio::try_join!(answering, beside)?;
    Ok(())
}

async fn mock(
    client: &Client,
    prefix: &Prefix,
    offer: Offer,
    served: Option<ServedPieces>,
    stop: &Shared<impl Future<Output = ()>>,
) -> Result<(), CliError> {
    let queued = |subject| client.queue_subscribe(subject, SECTOR_MANAGER_QUEUE.into());
    let of_workers = queued(prefix.sector_manager_of_all()).await.map_err(closed)?;
    let of_operators = queued(prefix.sectors("*")).await.map_err(closed)?;
    client.flush().await.map_err(closed)?;
    info!(%prefix, miners = ?offer.miners, "ready, with a mock sector manager");
    let files = served.as_ref().map(|(_, files)| files.clone());
    let mock = Mock::new(client.clone(), prefix.clone(), offer, files);
    let places = responder::PLACES;
    let offering = async {
        let workers = async |subject: &str, body| mock.handle_worker(subject, body).await;
        let operators =
            async |subject: &str, body| mock.handle_operator(last_token(subject), body).await;
        tokio::join!(
            responder::serve(client, of_workers, places, stop.clone(), |_| false, workers),
            responder::serve(client, of_operators, places, stop.clone(), |_| false, operators),
        );
    };
    let offering = until_stop("answers for the sector manager", offering, stop);
    let serving_pieces = async {
        if let Some((listener, files)) = served {
            // So that the first one who asks need not wait for it.
            let serving = async {
                drop(tokio::join!(http::serve(listener, files.clone(), stop.clone()), files.scan()))
            };
            until_stop("serves pieces", serving, stop).await?;
        }
        Ok(())
    };
    tokio::try_join!(offering, serving_pieces)?;
    Ok(())
}

async fn relayed(
    client: &Client,
    prefix: &Prefix,
    to: RelayTo,
    stop: &Shared<impl Future<Output = ()>>,
) -> Result<(), CliError> {
    let address = to.address.clone();
    let relay = Relay::new(client.clone(), prefix.clone(), to)
        .map_err(|error| CliError::new(Exit::Failed, error))?;
    tokio::select! {
        reached = relay.reached() => reached.map_err(|error| CliError::new(Exit::Failed, error))?,
        () = stop.clone() => return Ok(()),
    }
    let subject = prefix.sector_manager_of_all();
    let requests =
        client.queue_subscribe(subject, SECTOR_MANAGER_QUEUE.into()).await.map_err(closed)?;
    client.flush().await.map_err(closed)?;
    info!(%prefix, sector_manager = %address, "ready, with a relay");
    let answering = responder::serve(
        client,
        requests,
        relay::PLACES,
        stop.clone(),
        |_| false,
        async |subject: &str, body| relay.handle_worker(subject, body).await,
    );
    let known = async {
        tokio::select! {
            known = relay.stay_known() => known.map_err(closed),
            () = stop.clone() => Ok(()),
        }
    };
    tokio::try_join!(until_stop("answers for the sector manager", answering, stop), known)?;
    Ok(())
}

// What ends when the manager is asked to stop, and not before.
async fn until_stop(
    does: &str,
    work: impl Future<Output = ()>,
    stop: &Shared<impl Future<Output = ()>>,
) -> Result<(), CliError> {
    let ended = endless(does, work).await;
    if stop.clone().now_or_never().is_some() {
        Ok(())
    } else {
        Err(CliError::new(Exit::Failed, ended))
    }
}

fn last_token(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or_default()
}

fn closed(error: impl std::fmt::Display) -> CliError {
    CliError::new(Exit::Failed, format!("the connection to NATS cannot be used: {error}"))
}

// What was answered last must leave the machine: `drain` returns before it has.
async fn close(client: &Client, mut link: watch::Receiver<Link>) {
    if client.connection_state() != State::Connected {
        return info!("stopped without a connection to NATS");
    }
    let drained = async {
        client.drain().await.ok()?;
        link.wait_for(|link| *link == Link::Closed).await.ok().map(|_| ())
    };
    match tokio::time::timeout(GRACE, drained).await {
        Ok(Some(())) => info!("stopped"),
        _ => warn!("stopped; the connection to NATS did not drain in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ends_before_the_manager_is_asked_to_is_its_failure() {
        let running = std::future::pending::<()>().boxed().shared();
        let ended = until_stop("answers the tools", async {}, &running).await.unwrap_err();
        assert_eq!(
            ended.message,
            "the task that answers the tools has ended: it has nothing left to do"
        );
        let panicked =
            until_stop("answers the tools", async { panic!("x") }, &running).await.unwrap_err();
        assert_eq!(panicked.message, "the task that answers the tools has ended: panicked: x");
        let stopping = std::future::ready(()).boxed().shared();
        assert!(until_stop("answers the tools", async {}, &stopping).await.is_ok());
    }
}
