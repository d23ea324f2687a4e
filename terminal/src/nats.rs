//! The connection of a command that goes on until it is told to end.

use damocles_client::{
    connect::{Link, NatsSettings},
    nats::Connection,
};
use tokio::{sync::watch, time::timeout};

use crate::CliError;

/// Connects for a command that goes on until it is told to end, over outages too. NATS must be
/// there at first.
pub async fn connect_to_stay(
    settings: &NatsSettings,
    client_name: &str,
) -> Result<(Connection, watch::Receiver<Link>), CliError> {
    // What can never work is said at once, by a connection that does not try again.
    settings.connect_once(client_name).await?;
    let (connection, mut link) = settings.connect_daemon(client_name).await?;
    // If it takes longer, NATS has gone meanwhile, and whoever waits for it says so.
    let _ = timeout(settings.timeout, link.wait_for(|link| matches!(link, Link::Up(_)))).await;
    Ok((connection, link))
}
